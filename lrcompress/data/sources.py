"""Where data sets come from: names, `.npz` files, folders of images, a user's own function.

Nothing here starts Keras, except the download of a named data set that is nowhere on disk.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lrcompress.data import in_memory
from lrcompress.data.dataset import (
    ARRAYS,
    VALIDATION,
    Dataset,
    assemble,
    grouped,
    validation_names,
    wanted_names,
)
from lrcompress.data.labels import class_numbers
from lrcompress.data.named import NAMED, is_there, locate, search_folders
from lrcompress.data.npz import read_npz
from lrcompress.errors import DatasetError, UnknownDatasetError, did_you_mean, one_line
from lrcompress.events import before_keras, progress
from lrcompress.records.provenance import IN_MEMORY, name_of

__all__ = ["ARRAYS", "NAMED", "Dataset", "class_numbers", "load", "locate", "search_folders"]


def load(
    spec: Any,
    data_dir: Path | None = None,
    *,
    validation: Any = None,
    seed: int = 0,
    whole: bool = False,
) -> Dataset:
    """Load a data set.

    Args:
        spec: A name of `NAMED`, a `.npz` file, a folder of class folders of images, or
            ``package.module:function`` returning data; or the data themselves, see `in_memory.read`.
        data_dir: First folder in which a name is sought.
        validation: A `.npz` file of data to choose on, or these themselves, see `_validation`; they go
            before `x_val` of the data set.
        seed: For the split of data that have no test part.
        whole: Whether that part is all of them, where they are only measured.

    Raises:
        UnknownDatasetError: If `spec` is none of these.
        DatasetError: If the data cannot be read or are malformed.
    """
    name = name_of(spec)
    if not isinstance(spec, (str, Path)):
        source, arrays = f"the data {IN_MEMORY}", in_memory.read(spec)
    else:
        source, arrays = _sought(name, data_dir, seed)
    if validation is not None:
        arrays = {k: v for k, v in arrays.items() if not k.endswith("_val")} | _validation(
            validation
        )
    return assemble(name, source, arrays, seed=seed, whole=whole)


def _sought(
    spec: str,
    data_dir: Path | None,
    seed: int,
) -> tuple[str, dict[str, Any]]:
    """Return where data are from, and their arrays by name."""
    path = Path(spec)
    if spec in NAMED:
        found = locate(spec, data_dir)
        if found is not None:
            return _from_npz(found)
        before_keras()
        progress(f"download {spec}", 0, 1)
        return _from_keras(spec, data_dir)
    if path.suffix == ".npz":
        return _from_npz(path)
    if is_there(path.is_dir):
        from lrcompress.data.images import read_image_folder

        return spec, read_image_folder(path, seed)
    if ":" in spec and not is_there(path.exists):
        return spec, _call(spec)
    raise UnknownDatasetError(_unknown(spec))


def _unknown(spec: str) -> str:
    return (
        f"Unknown data set {spec!r}; expected one of {', '.join(NAMED)}, an existing .npz file, a "
        f"folder of class folders of images, or package.module:function.{did_you_mean(spec, NAMED)}"
    )


def _from_npz(path: Path) -> tuple[str, dict[str, Any]]:
    if not is_there(path.is_file):
        msg = f"Data set file {path} does not exist; expected a .npz with {', '.join(ARRAYS)}."
        raise DatasetError(msg)
    return str(path), grouped(read_npz(path, ARRAYS, wanted_names))


def _validation(spec: Any) -> dict[str, Any]:
    """Return ``x_val``, ``y_val`` and any weights of a `.npz` file that holds them, or ``x`` and ``y``."""
    if not isinstance(spec, (str, Path)):
        found = in_memory.read({"val": spec} if not isinstance(spec, dict) else spec)
        return {key: array for key, array in found.items() if key.endswith("_val")}
    path = Path(spec)
    if path.suffix != ".npz" or not is_there(path.is_file):
        msg = (
            f"Validation data {spec} are no existing .npz file; expected one with x_val and y_val, or "
            "x and y, new to the model."
        )
        raise DatasetError(msg)
    arrays = grouped(read_npz(path, VALIDATION, validation_names))
    return {f"{key.removesuffix('_val')}_val": array for key, array in arrays.items()}


def _from_keras(name: str, data_dir: Path | None) -> tuple[str, dict[str, Any]]:
    import keras

    try:
        # Keras announces its download on stdout, which belongs to the results.
        with contextlib.redirect_stdout(io.StringIO()):
            train, test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # whatever the network or the cache says
        folders = ", ".join(str(folder) for folder in search_folders(data_dir))
        msg = (
            f"Data set {name!r} was not found and could not be downloaded. Searched {folders} "
            f"for {name}.npz with {', '.join(ARRAYS)}; put that file there, or name its folder "
            "with --data-dir."
        )
        raise DatasetError(msg, code="dataset_not_found") from error
    arrays = {"x_train": train[0], "y_train": train[1], "x_test": test[0], "y_test": test[1]}
    return f"keras.datasets.{name}", arrays


def _call(spec: str) -> dict[str, Any]:
    module_name, _, function_name = spec.partition(":")
    # A command line does not put the current directory on the path as `python script.py` does.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        function: Callable[[], Any] = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # importing a module runs it
        msg = (
            f"Cannot import {function_name!r} from {module_name!r} ({one_line(error)}); expected "
            "package.module:function, importable from the current directory."
        )
        raise DatasetError(msg) from error
    try:
        found = function()
    except Exception as error:  # whatever the user's own code says
        msg = (
            f"{spec} failed ({type(error).__name__}: {one_line(error)}); expected a function "
            f"without arguments that returns the arrays {', '.join(ARRAYS)}."
        )
        raise DatasetError(msg) from error
    try:
        return in_memory.read(found)
    except DatasetError as error:
        msg = f"{spec} returned {type(found).__name__}: {error}"
        raise DatasetError(msg, code=error.code) from error
