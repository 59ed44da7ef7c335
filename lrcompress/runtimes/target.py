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


# The files of a SavedModel beside its folders.
_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt", "fingerprint.pb", "keras_metadata.pb")


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


def beside_saved_model(folder: Path) -> str | None:
    """Return what a folder holds that is no part of a SavedModel; None if that is all it holds.

    An asset, a file of any name, must be spoken of in the graph.
    """
    graphs = [folder / name for name in ("saved_model.pb", "saved_model.pbtxt")]
    graph = next((path for path in graphs if path.is_file()), None)
    if graph is None:
        return f"no {graphs[0].name}"
    for path in sorted(folder.rglob("*")):
        first, *rest = path.relative_to(folder).parts
        if first in ("assets", "assets.extra"):
            known = path.is_dir() or path.name.encode() in graph.read_bytes()
        elif first == "variables":
            known = not rest or (path.is_file() and rest[0].startswith("variables."))
        else:
            known = path.is_file() and first in _SAVED_MODEL
        if not known or path.is_symlink() or not (path.is_file() or path.is_dir()):
            return f"{path.relative_to(folder)}, which is no part of a SavedModel"
    return None


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
