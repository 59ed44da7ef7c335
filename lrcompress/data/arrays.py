"""Inputs and labels of models with one or several inputs or outputs, handled alike.

A model with one input takes an array; one with several takes a dictionary of arrays by the names
of its inputs. The first axis of every array is the samples. Numbers that are none are found in data, in
weights and in outputs before a figure is made of them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError, NotFiniteError

Arrays = NDArray[Any] | dict[str, NDArray[Any]]
# Numbers looked at in one go.
PIECE = 2**22
LARGEST = float(np.finfo(np.float32).max)


def count(x: Arrays) -> int:
    """Return the number of samples."""
    return len(next(iter(x.values())) if isinstance(x, dict) else x)


def only(x: dict[str, NDArray[Any]]) -> Arrays:
    """Return the array itself where there is one."""
    return x if len(x) > 1 else next(iter(x.values()))


def take(x: Arrays, index: slice | NDArray[Any]) -> Arrays:
    """Return some samples: a slice of them, or those at some positions."""
    if isinstance(x, dict):
        return {name: array[index] for name, array in x.items()}
    return x[index]


def evenly(x: Arrays, most: int) -> Arrays:
    """Return at most so many samples, evenly spread."""
    samples = count(x)
    return x if most >= samples else take(x, np.arange(most) * samples // most)


def shuffled(x: Arrays, most: int) -> NDArray[np.int64]:
    """Return the positions of at most so many samples in random order, the same ones each time."""
    return np.random.default_rng(0).permutation(count(x))[:most]


def chunks(samples: int, size: int) -> Iterator[slice]:
    """Yield the slices that samples are gone through in, `size` at a time."""
    for start in range(0, samples, size):
        yield slice(start, min(start + size, samples))


def reaching_back(part: slice, size: int) -> slice:
    """Return a part that is as large as the others: the last one with some samples before it again."""
    # An engine would compile a model anew for a batch of another size.
    return slice(max(0, part.stop - size), part.stop)


def finite(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where values are numbers that Keras can compute with: float32 ends at 3.4e38."""
    if values.dtype.kind != "f":
        return np.ones(values.shape, np.bool_)
    if values.dtype.itemsize > 4:
        return np.asarray(np.abs(values) <= LARGEST)  # not so where it is NaN
    return np.asarray(np.isfinite(values))


def check_array(array: NDArray[Any], what: str, code: str = "dataset_not_finite") -> None:
    """Refuse an array of data that holds NaN or infinity, or is too large for float32."""
    if array.dtype.kind != "f" or array.ndim == 0:
        return
    rows = max(1, PIECE // max(1, array[:1].size))
    wrong = [
        start + np.flatnonzero(~finite(part).reshape(len(part), -1).all(axis=1))
        for start in range(0, len(array), rows)
        for part in [np.asarray(array[start : start + rows])]
    ]
    found = np.concatenate(wrong) if wrong else np.empty(0, int)
    if len(found):
        msg = (
            f"{what} holds NaN or infinity in {len(found):,} of {len(array):,} rows, the first is row "
            f"{found[0]} (counted from 0); expected finite numbers: leave those samples out, or fill the gaps."
        )
        raise DatasetError(msg, code=code)


def check_weights(model: Any, path: Path) -> None:
    """Refuse a Keras model with NaN or infinity among its weights: no figure about it would be one."""
    found = {}
    for variable in model.weights:
        # What NumPy has no type for (bfloat16) has one of the same range.
        values = np.asarray(variable)
        values = values if values.dtype.kind in "fiub" else values.astype(np.float32)
        wrong = int((~finite(values)).sum())
        if wrong:
            found[getattr(variable, "path", variable.name)] = f"{wrong:,} of {values.size:,}"
    if found:
        some = ", ".join(f"{name} {wrong}" for name, wrong in list(found.items())[:5])
        more = f" and {len(found) - 5} more arrays" if len(found) > 5 else ""
        msg = (
            f"{path} holds NaN or infinity among its weights ({some}{more}); expected finite numbers: "
            "the training that made it diverged, take an earlier model."
        )
        raise NotFiniteError(msg)


def check_outputs(model: Any, output: str, values: NDArray[Any], first: int) -> None:
    """Refuse outputs that are no numbers."""
    # One NaN or infinity makes the sum one: all numbers are looked at only where that is so.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):
            return
    rows = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if len(rows):
        msg = (
            f"Model {model.name} gives NaN or infinity at output {output} for {len(rows):,} of samples {first} to "
            f"{first + len(values) - 1}, the first is {first + rows[0]} (counted from 0); expected finite "
            "numbers: check the model, the data and their --scaling."
        )
        raise NotFiniteError(msg)


def digest(arrays: Arrays) -> int:
    """Return a checksum of arrays, in which another data set of the same size shows."""
    parts = [arrays[name] for name in sorted(arrays)] if isinstance(arrays, dict) else [arrays]
    found = 0
    for part in parts:
        found = zlib.crc32(np.ascontiguousarray(part).data.cast("B"), found)
    return found
