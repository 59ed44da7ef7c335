"""The data sets and scalings known by name, and the folders in which data are sought; loads no NumPy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from lrcompress.provenance import NAMED

__all__ = ["BUNDLED", "NAMED", "SCALINGS", "is_there", "locate", "search_folders"]

BUNDLED = Path(__file__).parent.parent / "data"
# Beside these a scaling may divide by any number.
SCALINGS = ("as-is", "/255", "/127.5-1", "standardized")


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
