"""A folder of class folders of images, read with Pillow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError, MissingExtraError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
TEST_FRACTION = 0.2


def read_image_folder(folder: Path, seed: int) -> dict[str, NDArray[Any]]:
    """Read ``train/CLASS/*.png`` and ``test/CLASS/*.png``, or ``CLASS/*.png`` and split it.

    Classes are numbered in the sorted order of their folders' names. All images must have the
    size of the first; grey images give (samples, height, width, 1), others (..., 3); uint8.

    Args:
        folder: The folder.
        seed: Of the split: a fifth of each class becomes test data.

    Raises:
        DatasetError: If there are no images, their sizes differ, or the classes of the two parts do.
        MissingExtraError: If Pillow is not installed.
    """
    parts = [folder / "train", folder / "test"]
    if all(part.is_dir() for part in parts):
        classes = _class_names(parts[0])
        if _class_names(parts[1]) != classes:
            msg = f"{parts[0]} and {parts[1]} have different class folders; expected the same."
            raise DatasetError(msg, code="dataset_labels")
        (x_train, y_train), (x_test, y_test) = (_read_classes(part, classes) for part in parts)
    else:
        x, y = _read_classes(folder, _class_names(folder))
        train, test = _split(y, seed)
        x_train, y_train, x_test, y_test = x[train], y[train], x[test], y[test]
    return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}


def _class_names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _read_classes(folder: Path, classes: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        msg = "Reading images needs Pillow; install it with: python -m pip install 'lrcompress[images]'."
        raise MissingExtraError(msg) from error
    files = [(path, k) for k, name in enumerate(classes) for path in _images(folder / name)]
    if len(classes) < 2 or not files:
        msg = (
            f"{folder} has {len(classes)} class folders with {len(files)} images; expected a folder "
            f"for each class with images ({', '.join(sorted(SUFFIXES))})."
        )
        raise DatasetError(msg)
    pictures: list[NDArray[np.uint8]] = []
    mode = ""
    for path, _ in files:
        try:
            with Image.open(path) as image:
                # The first image decides: a data set is grey or it is colour.
                mode = mode or ("L" if image.mode in ("1", "L", "I", "I;16") else "RGB")
                picture = np.asarray(image.convert(mode), dtype=np.uint8)
        except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            msg = f"Cannot read image {path} ({error}); remove it or replace it."
            raise DatasetError(msg) from error
        if pictures and picture.shape != pictures[0].shape:
            msg = (
                f"Image {path} has shape {picture.shape}, the first one {pictures[0].shape}; "
                "expected images of one size: resize them first."
            )
            raise DatasetError(msg, code="dataset_shape")
        pictures.append(picture)
    x = np.stack(pictures)
    return (x[..., None] if x.ndim == 3 else x), np.array([k for _, k in files], dtype=np.int64)


def _images(folder: Path) -> Iterator[Path]:
    return iter(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES))


def _split(y: NDArray[np.int64], seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return masks of the training and the test samples, the same share of every class."""
    rng = np.random.default_rng(seed)
    test = np.zeros(len(y), dtype=bool)
    for number in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == number))
        test[members[: max(1, round(TEST_FRACTION * len(members)))]] = True
    if test.all():
        msg = "Every class folder holds one image only; expected enough to split, or train/ and test/."
        raise DatasetError(msg)
    return ~test, test
