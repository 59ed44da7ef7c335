"""The data sets and scalings known by name, and the folders in which data are sought; loads no NumPy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

BUNDLED = Path(__file__).parent.parent / "data"
# Names Keras can download, and what they are.
NAMED = {
    "digits": "8x8 handwritten digits (UCI), 1,437 + 360 images, bundled",
    "mnist": "28x28 handwritten digits, 60,000 + 10,000 images",
    "fashion_mnist": "28x28 pictures of clothes, 60,000 + 10,000 images",
    "cifar10": "32x32 colour pictures of 10 classes, 50,000 + 10,000 images",
    "cifar100": "32x32 colour pictures of 100 classes, 50,000 + 10,000 images",
}
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
