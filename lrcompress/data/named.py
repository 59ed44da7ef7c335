"""The data sets and scalings known by name, and the folders in which data are sought; loads no NumPy."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from lrcompress.errors import DatasetError, did_you_mean
from lrcompress.records.provenance import NAMED

__all__ = ["BUNDLED", "NAMED", "SCALINGS", "check_scaling", "is_there", "locate", "search_folders"]

BUNDLED = Path(__file__).parent.parent / "data"
# Beside these a scaling may divide by any number.
SCALINGS = (
    "as-is", "/255", "/127.5-1", "standardized", "standardized-columns", "per-image", "x-128",
    "caffe", "torch", "bgr", "bgr/255", "bgr/127.5-1",
)  # fmt: skip
_DIVIDES = re.compile(r"(?:bgr)?/(\d+(?:\.\d+)?)(-1)?")


def check_scaling(name: str) -> None:
    """Refuse a word that stands for no scaling, before any data are read.

    Raises:
        DatasetError: With code ``scaling``.
    """
    match = _DIVIDES.fullmatch(name)
    if name not in SCALINGS and not (match and float(match[1]) > 0):
        msg = (
            f"Unknown scaling {name!r}; expected {', '.join(SCALINGS)}, or /NUMBER."
            f"{did_you_mean(name, SCALINGS)}"
        )
        raise DatasetError(msg, code="scaling")


def search_folders(data_dir: Path | None = None) -> list[Path]:
    """Return the folders in which `NAME.npz` is sought, in order."""
    folders = [data_dir] if data_dir else []
    if os.environ.get("LRCOMPRESS_DATA"):
        folders.append(Path(os.environ["LRCOMPRESS_DATA"]))
    keras_home = os.environ.get("KERAS_HOME")
    folders.append((Path(keras_home) if keras_home else Path.home() / ".keras") / "datasets")
    return folders


def locate(name: str, data_dir: Path | None = None) -> Path | None:
    """Return the file that holds the named data set, or None if no folder has it."""
    if name == "digits":
        return BUNDLED / "digits.npz"
    candidates = (folder / f"{name}.npz" for folder in search_folders(data_dir))
    return next((path for path in candidates if is_there(path.is_file)), None)


def is_there(check: Callable[[], bool]) -> bool:
    """Ask a path; one with too long a name, or in a closed folder, is not there."""
    try:
        return check()
    except OSError:
        return False
