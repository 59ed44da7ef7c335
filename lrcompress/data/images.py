"""A folder of class folders of images, read with Pillow."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.data.reader import is_there
from lrcompress.errors import DatasetError, MissingExtraError, one_line
from lrcompress.files import regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
# Pillow goes by the content, and would hand what it takes for EPS to Ghostscript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
TEST_FRACTION = 0.2
# What people call the folders of the parts: Train, training_set, "Validation Set", test-images, ...
PART_NAMES = {
    "train": re.compile(r"train(ing)?"),
    "val": re.compile(r"val|valid|validation|validate|dev"),
    "test": re.compile(r"test(ing|s)?|eval(uation)?|holdout"),
}
PART_WORDS = re.compile(r"(set|data|dataset|images?|imgs?|samples?|split)$")


class Images:
    """A folder with a folder of images for each class."""

    says = "a folder of class folders of images"

    def serves(self, word: Any) -> bool:
        """Return whether a word names a folder."""
        return isinstance(word, str) and is_there(Path(word), folder=True)

    def read(self, word: str, folder: Path | None, seed: int) -> tuple[str, dict[str, Any]]:
        """Read the images."""
        return word, read_image_folder(Path(word), seed)


def read_image_folder(folder: Path, seed: int) -> dict[str, NDArray[Any]]:
    """Read class folders of images of one size, in folders for training and test data or split by a seed; uint8."""
    # Classes are numbered in the sorted order of their folders' names, as Keras does. Without a test part the
    # validation part is the test data.
    parts = _parts(folder)
    if "train" not in parts or len(parts) == 1:
        alone = parts.get("train", folder)
        x, y = _read_classes(alone, _folders(alone))
        train, test = _split(y, seed)
        return {"x_train": x[train], "y_train": y[train], "x_test": x[test], "y_test": y[test]}
    if "test" not in parts:
        parts["test"] = parts.pop("val")
    classes = _folders(parts["train"])
    arrays: dict[str, NDArray[Any]] = {}
    for part, path in parts.items():
        if _folders(path) != classes:
            msg = (
                f"{parts['train']} and {path} have different class folders "
                f"({', '.join(sorted(set(classes) ^ set(_folders(path))))}); expected the same."
            )
            raise DatasetError(msg, code="dataset_labels")
        arrays[f"x_{part}"], arrays[f"y_{part}"] = _read_classes(path, classes)
    return _one_mode(arrays)


def _parts(folder: Path) -> dict[str, Path]:
    """Return the folders of the parts by "train", "val" and "test"; none where they are classes."""
    found: dict[str, Path] = {}
    others = []
    for name in _folders(folder):
        plain = re.sub(r"[^a-z]", "", name.lower())
        words = {plain, PART_WORDS.sub("", plain)}
        part = next(
            (p for p, called in PART_NAMES.items() if any(map(called.fullmatch, words))), ""
        )
        if not part:
            others.append(name)
        elif part in found:
            msg = f"{folder} holds {found[part].name} and {name}; expected one folder of {part} data: move one away."
            raise DatasetError(msg, code="dataset_parts")
        else:
            found[part] = folder / name
    if found and others:
        if any(_folders(path) for path in found.values()):
            msg = (
                f"{folder} holds {', '.join(path.name for path in found.values())} beside {', '.join(others[:5])}; "
                "expected folders of parts (train, test) or of classes: move the others away."
            )
            raise DatasetError(msg, code="dataset_parts")
        return {}  # a class may be called train, among planes and ships
    return found


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in one, without those that systems and archives leave."""
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted(name for name in names if not name.startswith((".", "__")))


def _one_mode(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the parts all in colour where any is."""
    inputs = {key: array for key, array in arrays.items() if key.startswith("x_")}
    channels = max(array.shape[-1] for array in inputs.values())
    return arrays | {
        key: array.repeat(channels // array.shape[-1], axis=-1) for key, array in inputs.items()
    }


def _read_classes(folder: Path, classes: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    import numpy as np

    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        msg = "Reading images needs Pillow; install it with: python -m pip install pillow."
        raise MissingExtraError(msg) from error
    files = [(path, k) for k, name in enumerate(classes) for path in _images(folder / name)]
    if len(classes) < 2 or not files:
        msg = (
            f"{folder} has {len(classes)} class folders with {len(files)} images; expected a folder "
            f"for each class with images ({', '.join(sorted(SUFFIXES))})."
        )
        raise DatasetError(msg)
    pictures: list[NDArray[np.uint8]] = []
    for path, _ in files:
        try:
            with warnings.catch_warnings():
                # More pixels than any sample has: a small file that claims much memory.
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(regular(path), formats=FORMATS) as image:
                    picture = _pixels(image)
        except UnidentifiedImageError as error:
            msg = f"Cannot read image {path}; expected the content of {', '.join(FORMATS)}: remove it or replace it."
            raise DatasetError(msg) from error
        except Exception as error:  # decoders of damaged images raise anything
            msg = f"Cannot read image {path} ({one_line(error)}); remove it or replace it."
            raise DatasetError(msg) from error
        if pictures and picture.shape[:2] != pictures[0].shape[:2]:
            msg = (
                f"Image {path} has shape {picture.shape[:2]}, the first one {pictures[0].shape[:2]}; "
                "expected images of one size: resize them first."
            )
            raise DatasetError(msg, code="dataset_shape")
        pictures.append(picture if picture.ndim == 3 else picture[..., None])
    channels = max(picture.shape[-1] for picture in pictures)
    x = np.stack([np.repeat(p, channels // p.shape[-1], axis=-1) for p in pictures])
    return x, np.array([k for _, k in files], dtype=np.int64)


def _pixels(image: Any) -> NDArray[np.uint8]:  # a Pillow image
    """Return the pixels of an image in 8 bits: (height, width) where it is grey, else (..., 3)."""
    import numpy as np

    wide = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if wide:
        # 65,535 is white, as 255 is.
        return np.asarray(np.rint(np.asarray(image, np.float64) / 257), np.uint8)
    if image.mode in ("I", "F"):
        what = "32-bit integers" if image.mode == "I" else "floating-point numbers"
        msg = f"its pixels are {what}, whose black and white are not known; expected 8 or 16 bits: save it so"
        raise ValueError(msg)
    grey = image.mode in ("1", "L", "LA", "La")
    return np.asarray(image.convert("L" if grey else "RGB"), dtype=np.uint8)


def _images(folder: Path) -> list[Path]:
    """Return the images at any depth; macOS writes `._name` beside a file that it copied."""
    paths = (p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    return sorted(
        p for p in paths
        if not any(part.startswith((".", "__")) for part in p.relative_to(folder).parts)
    )  # fmt: skip


def _split(y: NDArray[np.int64], seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return masks of the training and the test samples, the same share of every class."""
    import numpy as np

    rng = np.random.default_rng(seed)
    test = np.zeros(len(y), dtype=bool)
    for number in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == number))
        test[members[: max(1, round(TEST_FRACTION * len(members)))]] = True
    if test.all():
        msg = "Every class folder holds one image only; expected enough to split, or train/ and test/."
        raise DatasetError(msg)
    return ~test, test
