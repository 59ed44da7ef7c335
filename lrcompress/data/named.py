"""The data sets and scalings known by name, and the folders in which data are sought; loads no NumPy."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from typing import Any

from lrcompress.data.reader import ARRAYS, is_there, wanted_names
from lrcompress.errors import DatasetError, did_you_mean
from lrcompress.events import before_keras, progress
from lrcompress.records.provenance import NAMED as NAMED

BUNDLED = Path(__file__).parent.parent / "data"
# Beside these a scaling may divide by any number.
SCALINGS = (
    "as-is", "/255", "/127.5-1", "standardized", "standardized-columns", "per-image", "x-128",
    "caffe", "torch", "bgr", "bgr/255", "bgr/127.5-1",
)  # fmt: skip
DIVIDES = re.compile(r"(?:bgr)?/(\d+(?:\.\d+)?)(-1)?")


def check_scaling(name: str) -> None:
    """Refuse a word that stands for no scaling, before any data are read."""
    match = DIVIDES.fullmatch(name)
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
    return next((path for path in candidates if is_there(path)), None)


class Named:
    """Data sets known by name: bundled, in a folder, or downloaded by Keras."""

    says = f"one of {', '.join(NAMED)}"

    def serves(self, word: Any) -> bool:
        """Return whether a word is one of the names."""
        return isinstance(word, str) and word in NAMED

    def read(self, word: str, folder: Path | None, seed: int) -> tuple[str, dict[str, Any]]:
        """Read the first file of that name, else let Keras download it."""
        from lrcompress.data.npz import read_npz

        found = locate(word, folder)
        if found is not None:
            return str(found), read_npz(found, ARRAYS, wanted_names)
        before_keras()
        progress(f"download {word}", 0, 1)
        import keras

        try:
            # Keras announces its download on stdout, which belongs to the results.
            with contextlib.redirect_stdout(io.StringIO()):
                train, test = getattr(keras.datasets, word).load_data()
        except Exception as error:  # whatever the network or the cache says
            folders = ", ".join(map(str, search_folders(folder)))
            msg = (
                f"Data set {word!r} was not found and could not be downloaded. Searched {folders} "
                f"for {word}.npz with {', '.join(ARRAYS)}; put that file there, or name its folder "
                "with --data-dir."
            )
            raise DatasetError(msg, code="dataset_not_found") from error
        return f"keras.datasets.{word}", dict(zip(ARRAYS, (*train, *test), strict=True))
