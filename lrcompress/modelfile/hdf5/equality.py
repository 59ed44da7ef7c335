"""Whether arrays of two HDF5 files are the same, byte by byte where both lie there in one piece."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lrcompress.modelfile.hdf5.window import ReadWindow

_PIECE_BYTES = 2**20
_SLICE_BYTES = 2**24


def same_array(old: h5py.Dataset, before: ReadWindow, new: h5py.Dataset, after: ReadWindow) -> bool:
    """Return whether two arrays, with the bytes of their files, agree in type, attributes and bytes."""
    if old.id.get_type() != new.id.get_type() or old.shape != new.shape:
        return False
    expected, found = dict(old.attrs), dict(new.attrs)
    if set(expected) != set(found) or not all(equal(expected[n], found[n]) for n in expected):
        return False
    here, there = _place(old), _place(new)
    if here is None or there is None:
        pairs = zip(_slices(old), _slices(new), strict=True)
    else:
        size = _bytes(old)
        pairs = zip(_pieces(before, here, size), _pieces(after, there, size), strict=True)
    return all(a == b for a, b in pairs)


def holds(dataset: h5py.Dataset, raw: ReadWindow, values: NDArray[Any]) -> bool:
    """Return whether an array of a file, whose bytes are `raw`, is exactly `values`."""
    if dataset.dtype != values.dtype or dataset.shape != values.shape:
        return False
    start = _place(dataset)
    if start is None:
        return bool(np.asarray(dataset[()]).tobytes() == values.tobytes())
    given = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    expected = (given[at : at + _PIECE_BYTES] for at in range(0, len(given), _PIECE_BYTES))
    pieces = _pieces(raw, start, len(given))
    return all(a == b.tobytes() for a, b in zip(pieces, expected, strict=True))


def equal(expected: Any, found: Any) -> bool:  # noqa: ANN401 - whatever h5py gives
    """Return whether two attributes are equal, text as text: h5py gives bytes or str by type."""
    if isinstance(expected, h5py.Empty) or isinstance(found, h5py.Empty):
        return bool(type(expected) is type(found))
    one, other = np.asarray(expected).tolist(), np.asarray(found).tolist()
    return bool(one == other) or repr(one) == repr(other)  # of NaN


def _place(dataset: h5py.Dataset) -> int | None:
    """Return where the values of an array stand in its file, None if not as one piece."""
    if dataset.dtype.kind == "O" or dataset.id.get_storage_size() != _bytes(dataset):
        return None
    start: int | None = dataset.id.get_offset()
    return start


def _bytes(dataset: h5py.Dataset) -> int:
    """Return the bytes of an array's values as stored, if not packed."""
    return int(math.prod(dataset.shape) * dataset.id.get_type().get_size())


def _pieces(raw: ReadWindow, start: int, size: int) -> Iterator[bytes]:
    """Yield some bytes of a file, a megabyte at a time."""
    for at in range(0, size, _PIECE_BYTES):
        yield raw.read_at(start + at, min(_PIECE_BYTES, size - at))


def _slices(dataset: h5py.Dataset) -> Iterator[object]:
    """Yield the values of an array in comparable form, a few rows at a time."""
    if dataset.dtype.kind == "O":
        yield np.ravel(dataset[()]).tolist()
    elif not dataset.shape:
        yield np.asarray(dataset[()]).tobytes()
    else:
        row = max(math.prod(dataset.shape[1:]) * dataset.dtype.itemsize, 1)
        step = max(_SLICE_BYTES // row, 1)
        for start in range(0, dataset.shape[0], step):
            yield np.asarray(dataset[start : start + step]).tobytes()
