"""The formats that models are exported to, and what each needs; nothing here starts Keras."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from lrcompress.errors import MissingExtraError, OutputError


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        name: As the user says it.
        keras_name: As Keras says it.
        suffix: What its files end in; empty for a folder.
        packages: What writes and runs it beside TensorFlow.
    """

    name: str
    keras_name: str
    suffix: str
    packages: tuple[str, ...] = ()

    @property
    def is_folder(self) -> bool:
        """Whether it is no single file."""
        return not self.suffix


FORMATS = {
    entry.name: entry
    for entry in (
        Format("litert", "litert", ".tflite", ("ai_edge_litert",)),
        Format("onnx", "onnx", ".onnx", ("tf2onnx", "onnx", "onnxruntime")),
        Format("saved-model", "tf_saved_model", ""),
    )
}


def choose(
    model: Path, name: str | None, output: Path | None, *, int8: bool
) -> tuple[Format, Path]:
    """Return the format and the output, each by the other where only that is given.

    Args:
        model: The model file.
        name: A format, or None.
        output: A file or folder, or None.
        int8: Whether weights are to be 8-bit integers.

    Raises:
        OutputError: If there is no such format, or the output or int8 do not go with it.
    """
    if name is None and output is not None:
        name = next((f.name for f in FORMATS.values() if f.suffix == output.suffix.lower()), None)
    elif name is None:
        name = "litert"
    if name not in FORMATS:
        what = f"format {name!r}" if name else f"output {output}"
        msg = (
            f"Received {what}; expected .tflite for LiteRT, .onnx for ONNX, a folder without a suffix "
            "for a SavedModel, or one of the formats litert, onnx and saved-model."
        )
        raise OutputError(msg, code="output_suffix")
    form = FORMATS[name]
    if int8 and name != "litert":
        msg = f"Weights in 8 bits are for LiteRT; received format {name}: leave out int8, or export to .tflite."
        raise OutputError(msg, code="int8_format")
    if output is None:
        stem = f"{model.stem}-int8" if int8 else model.stem
        return form, model.with_name(stem + (form.suffix or f"-{name}"))
    if form.suffix and output.suffix.lower() != form.suffix:
        msg = f"Output {output} must end in {form.suffix} for format {name}."
        raise OutputError(msg, code="output_suffix")
    return form, output


def check_packages(form: Format) -> None:
    """Refuse a format whose packages are missing.

    Raises:
        MissingExtraError: If one is missing.
    """
    missing = [name for name in form.packages if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(name.replace("_", "-") for name in missing)
        msg = f'Format {form.name} needs {names}; install with: pip install "lrcompress[export]".'
        raise MissingExtraError(msg)
