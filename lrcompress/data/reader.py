"""What reads one kind of data set, and the names of the arrays that it finds.

These are ``x_train``, ``y_train``, ``x_test`` and ``y_test``, or for a model with several
inputs or outputs ``x_train.NAME`` and so on; ``x_val`` and ``y_val``, ``sample_weight_train`` and so on,
and ``class_weight`` may be there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from lrcompress.errors import DatasetError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
VALIDATION = ("x_val", "y_val")
# What a part has; the names of arrays are these with the part behind.
ROLES = ("x", "y", "sample_weight")
OPTIONAL = ("sample_weight_train", "sample_weight_val", "sample_weight_test", "class_weight")
# Other usual names.
_SAME = {
    f"{key}_{other}": f"{key}_val"
    for key in ("x", "y", "sample_weight") for other in ("valid", "validation")
}  # fmt: skip


class Reader(Protocol):
    """Reads the data sets that certain words stand for.

    Attributes:
        says: Its phrase in the help and in errors; empty for what no word on a command line names.
    """

    says: str

    def serves(self, word: Any) -> bool:
        """Return whether a data set, as the user gives it, is one for this reader."""
        ...

    def read(self, word: Any, folder: Path | None, seed: int) -> tuple[str, dict[str, Any]]:
        """Return where the data are from, and their arrays by name.

        Args:
            word: What the user gives.
            folder: First folder in which a name is sought.
            seed: Of every split.
        """
        ...


def is_there(path: Path, *, folder: bool = False) -> bool:
    """Return whether a file or folder is there; one with too long a name, or in a closed folder, is not."""
    try:
        return path.is_dir() if folder else path.is_file()
    except OSError:
        return False


def wanted_names(names: Iterable[str]) -> list[str] | None:
    """Return which of some names make up a data set, None if there are no training inputs."""
    names = list(names)
    parts = {name: _usual(name.split(".", 1)[0]) for name in names}
    found = set(parts.values())
    if "x_train" not in found:
        return None
    wanted = {*ARRAYS, *OPTIONAL}
    # Inputs alone are something to choose on only where nothing has labels.
    if set(VALIDATION) <= found or found.isdisjoint(("y_train", "y_test")):
        wanted |= set(VALIDATION)
    return [name for name in names if parts[name] in wanted]


def validation_names(names: Iterable[str]) -> list[str] | None:
    """Return which of some names are data to choose on: ``x_val`` and ``y_val``, else ``x`` and ``y``."""
    parts = {name: _usual(name.split(".", 1)[0]) for name in names}
    for wanted in ({*VALIDATION, "sample_weight_val"}, set(ROLES)):
        found = [name for name, part in parts.items() if part in wanted]
        if "x" in {parts[name].removesuffix("_val") for name in found}:
            return found
    return None


def _usual(part: str) -> str:
    """Return the name that is used here for what others call otherwise: x_val for x_valid."""
    return _SAME.get(part, part)


def grouped(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return arrays with those named ``KEY.NAME`` in dictionaries under ``KEY``; not both may be there."""
    found: dict[str, Any] = {}
    for key, array in arrays.items():
        part, dot, name = key.partition(".")
        if dot and part in arrays:
            msg = f"The data hold {part} and {key}; expected one array {part}, or {part}.NAME for each."
            raise DatasetError(msg, code="dataset_shape")
        if dot:
            found.setdefault(_usual(part), {})[name] = array
        else:
            found[_usual(key)] = array
    return found
