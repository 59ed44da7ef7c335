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

import numpy as np

from lrcompress.errors import DatasetError, UnknownDatasetError, did_you_mean
from lrcompress.progress import Progress, nothing, silent
from lrcompress.training.assembling import (
    ARRAYS,
    VALIDATION,
    Dataset,
    assemble,
    grouped,
    validation_names,
    wanted_names,
)
from lrcompress.training.labels import class_numbers
from lrcompress.training.named import NAMED, is_there, locate, search_folders
from lrcompress.training.npz import read_npz

__all__ = ["ARRAYS", "NAMED", "Dataset", "class_numbers", "load", "locate", "search_folders"]


def load(
    spec: str,
    data_dir: Path | None = None,
    *,
    validation: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
    before_keras: Callable[[], None] = nothing,
) -> Dataset:
    """Load a data set.

    Args:
        spec: A name of `NAMED`, a `.npz` file, a folder of class folders of images, or
            ``package.module:function`` returning the four arrays, the two pairs of
            `keras.datasets`, or a dictionary of them; see `lrcompress.training.assembling` for
            the names.
        data_dir: First folder in which a name is sought.
        validation: A `.npz` file of data to choose on, see `_validation`; these go before `x_val`
            of the data set.
        seed: For the split of an image folder that has no `train` and `test`.
        progress: Told of a download.
        before_keras: Called before Keras is loaded, which happens only for a download.

    Raises:
        UnknownDatasetError: If `spec` is none of these.
        DatasetError: If the data cannot be read or are malformed.
    """
    path = Path(spec)
    if spec in NAMED:
        found = locate(spec, data_dir)
        if found is None:
            before_keras()
            progress(f"download {spec}", 0, 1, {})
        source, arrays = _from_npz(found) if found else _from_keras(spec, data_dir)
    elif path.suffix == ".npz":
        source, arrays = _from_npz(path)
    elif is_there(path.is_dir):
        from lrcompress.training.images import read_image_folder

        source, arrays = spec, read_image_folder(path, seed)
    elif ":" in spec and not is_there(path.exists):
        source, arrays = spec, _call(spec)
    else:
        raise UnknownDatasetError(_unknown(spec))
    return assemble(spec, source, arrays if validation is None else arrays | _validation(validation))


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


def _validation(spec: str) -> dict[str, Any]:
    """Return ``x_val``, ``y_val`` and any weights of a `.npz` file that holds them, or ``x`` and ``y``."""
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
            f"Cannot import {function_name!r} from {module_name!r} ({_first_line(error)}); expected "
            "package.module:function, importable from the current directory."
        )
        raise DatasetError(msg) from error
    try:
        arrays = _named(function())
        if isinstance(arrays, dict):
            # What is missing becomes an array without a shape, which is refused by name.
            names = wanted_names(arrays) or [*ARRAYS]
            given = {key: arrays.get(key) for key in names}
            return grouped({k: _as_arrays(v) for k, v in given.items() if k in ARRAYS or v is not None})
    except Exception as error:  # whatever the user's own code says
        msg = (
            f"{spec} failed ({type(error).__name__}: {_first_line(error)}); expected a function "
            f"without arguments that returns the arrays {', '.join(ARRAYS)}."
        )
        raise DatasetError(msg) from error
    msg = f"{spec} returned {type(arrays).__name__}; expected the arrays {', '.join(ARRAYS)}."
    raise DatasetError(msg)


def _named(arrays: Any) -> Any:
    """Return arrays by name where they came in order: four, or the pairs of `keras.datasets`."""
    if not isinstance(arrays, (tuple, list)):
        return arrays
    if len(arrays) == len(ARRAYS):
        return dict(zip(ARRAYS, arrays, strict=True))
    if len(arrays) == 2 and all(isinstance(p, (tuple, list)) and len(p) == 2 for p in arrays):
        return dict(zip(ARRAYS, (array for pair in arrays for array in pair), strict=True))
    return arrays


def _as_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): np.asarray(array) for name, array in value.items()}
    return np.asarray(value)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
