"""Models in the formats of other runtimes, run and compared there; the targets are a file each.

Importing this loads neither NumPy nor Keras: options of the command line list what there is.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from lrcompress.errors import DatasetError, MissingExtraError, OutputError
from lrcompress.files import names
from lrcompress.runtimes.litert import LiteRT
from lrcompress.runtimes.onnx import Onnx
from lrcompress.runtimes.saved_model import SavedModel
from lrcompress.runtimes.target import Int8 as Int8
from lrcompress.runtimes.target import Runtime as Runtime
from lrcompress.runtimes.target import Target as Target

# By name; the first is taken where nothing else is said.
TARGETS: dict[str, Target] = {target.name: target for target in (LiteRT(), Onnx(), SavedModel())}


def choose(
    model: Path, name: str | None, output: Path | None, *, int8: Int8
) -> tuple[Target, Path]:
    """Return the target and the output, each by the other where only that is given; refuse one that lacks packages."""
    if int8 not in (False, True, "full"):
        msg = f"Received int8={int8!r}; expected False, True for the weights, or 'full'."
        raise OutputError(msg, code="int8_format")
    targets = list(TARGETS.values())
    if name is None and output is not None:
        name = next((t.name for t in targets if t.suffix == output.suffix.lower()), None)
    elif name is None:
        name = targets[0].name
    if name not in TARGETS:
        what = f"format {name!r}" if name else f"output {output}"
        *first, last = TARGETS
        msg = (
            f"Received {what}; expected {', '.join(target.says for target in targets)}, "
            f"or one of the formats {', '.join(first)} and {last}."
        )
        raise OutputError(msg, code="output_suffix")
    target = TARGETS[name]
    if int8 and not target.has_int8:
        able = [other for other in targets if other.has_int8]
        msg = (
            f"8-bit integers are for {' and '.join(other.title for other in able)}; received format "
            f"{name}: leave out int8, or export to {' or '.join(other.suffix for other in able)}."
        )
        raise OutputError(msg, code="int8_format")
    if output is None:
        output = names.beside(model, names.INT8[int8] + end_of(target))
    elif target.suffix and output.suffix.lower() != target.suffix:
        msg = f"Output {output} must end in {target.suffix} for format {name}."
        raise OutputError(msg, code="output_suffix")
    missing = [name for name in target.packages if importlib.util.find_spec(name) is None]
    if missing:
        called = " ".join(name.replace("_", "-") for name in missing)
        needed = called.replace(" ", ", ")
        msg = f"Format {name} needs {needed}; install with: python -m pip install {called}."
        raise MissingExtraError(msg)
    return target, output


def check_calibration(int8: Int8, *, has_data: bool) -> None:
    """Refuse to calibrate 8-bit activations without data."""
    if int8 == "full" and not has_data:
        msg = (
            "8-bit integers throughout are calibrated on inputs, and no data set is named: give --dataset, or "
            "take --int8 alone, which needs none."
        )
        raise DatasetError(msg, code="no_dataset")


def end_of(target: Target) -> str:
    """Return what names of a target's outputs end in where the user gives none."""
    return target.suffix or f"-{target.name}"
