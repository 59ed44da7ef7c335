"""What an HDF5 file holds once it is checked: names, text, arrays, and whether two of them agree."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lrcompress.modelfile.hdf5.space import ReadWindow

# Arrays are compared in pieces of their file, or in slices where they do not lie in it as one.
_PIECE_BYTES = 2**20
_SLICE_BYTES = 2**24


@dataclass(frozen=True)
class StoredArray:
    """One HDF5 dataset as the file declares it; nothing of it has been read."""

    source: str  # its path as spelt in the file
    shape: tuple[int, ...]
    dtype: str  # NumPy's name, or bfloat16 where Keras says so in an attribute
    stored: int  # bytes it takes in the file

    @property
    def size(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Index:
    """Every group and array of a file, by path with `/` between parts, also where Windows left a backslash."""

    groups: dict[str, str] = field(default_factory=dict)  # as spelt in the file
    arrays: dict[str, StoredArray] = field(default_factory=dict)

    def under(self, prefix: str) -> Iterator[tuple[str, StoredArray]]:
        """Yield path and array of everything below the group `prefix`."""
        start = prefix + "/"
        for place in range(bisect.bisect_left(self._sorted, start), len(self._sorted)):
            path = self._sorted[place]
            if not path.startswith(start):
                return
            yield path, self.arrays[path]

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self.arrays)


def text(value: object) -> str | None:
    """Return an attribute's value as text, or None where it is not text."""
    if isinstance(value, str):
        # h5py passes bytes that are not UTF-8 on as characters of their own.
        value = value.encode("utf-8")
    return value.decode("utf-8") if isinstance(value, bytes) else None


def names(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names, also where Keras split it into numbered parts past 64,512 bytes."""
    parts = name_parts(group, attribute)
    found = [text(item) for part in parts for item in np.ravel(group.attrs[part]).tolist()]
    if None in found:
        msg = f"{attribute} of {group.name} holds something that is not a name"
        raise ValueError(msg)
    return [name for name in found if name is not None]


def name_parts(group: h5py.Group, attribute: str) -> list[str]:
    """Return the attributes that make up a list of names: itself, or its numbered parts."""
    if attribute in group.attrs:
        value = group.attrs[attribute]
        # Keras writes an empty list as an empty array of floats.
        return [attribute] if np.size(value) else []
    parts: list[str] = []
    while f"{attribute}{len(parts)}" in group.attrs:
        parts.append(f"{attribute}{len(parts)}")
    return parts


def read_array(file: h5py.File, array: StoredArray) -> NDArray[Any]:
    """Return an array in its stored type; bfloat16, which NumPy lacks, as float32 (exactly)."""
    values: NDArray[Any] = np.asarray(file[array.source][()])
    if array.dtype == "bfloat16":
        bits = np.ascontiguousarray(values).view(np.uint16).astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32)
    return values


def cast(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return `values` rounded to `dtype`; to bfloat16 in the opaque two bytes that Keras writes."""
    with np.errstate(over="ignore"):  # inf is caught by the caller, with a sentence
        wide = np.ascontiguousarray(values, np.float32 if dtype == "bfloat16" else np.dtype(dtype))
    if dtype != "bfloat16":
        return wide
    # To nearest, ties to even.
    bits = wide.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    # Rounding up must not turn a NaN into infinity or a number.
    halves = np.where(np.isnan(wide), np.uint32(0x7FC0), rounded >> np.uint32(16))
    return halves.astype(np.uint16).view("V2")


def parents(path: str) -> list[str]:
    """Return all groups above an object, the nearest first."""
    found = []
    while path := path.rpartition("/")[0]:
        found.append(path)
    return found


def same_array(old: h5py.Dataset, before: ReadWindow, new: h5py.Dataset, after: ReadWindow) -> bool:
    """Return whether two arrays, with the bytes of their files, agree in type, attributes and bytes."""
    if old.id.get_type() != new.id.get_type() or old.shape != new.shape:
        return False
    expected, found = dict(old.attrs), dict(new.attrs)
    if set(expected) != set(found) or not all(equal(expected[n], found[n]) for n in expected):
        return False
    return all(a == b for a, b in zip(_stored(old, before), _stored(new, after), strict=True))


def holds(dataset: h5py.Dataset, raw: ReadWindow, values: NDArray[Any]) -> bool:
    """Return whether an array of a file, whose bytes are `raw`, is exactly `values`."""
    if dataset.dtype != values.dtype or dataset.shape != values.shape:
        return False
    given = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    pieces = (given[at : at + _PIECE_BYTES] for at in range(0, len(given), _PIECE_BYTES))
    return all(a == b.tobytes() for a, b in zip(_stored(dataset, raw), pieces, strict=True))


def equal(expected: Any, found: Any) -> bool:  # noqa: ANN401 - whatever h5py gives
    """Return whether two attributes are equal, text as text: h5py gives bytes or str by type."""
    if isinstance(expected, h5py.Empty) or isinstance(found, h5py.Empty):
        return bool(type(expected) is type(found))
    one, other = np.asarray(expected).tolist(), np.asarray(found).tolist()
    return bool(one == other) or repr(one) == repr(other)  # of NaN


def _stored(dataset: h5py.Dataset, raw: ReadWindow) -> Iterator[object]:
    """Yield the values of an array in comparable form: as they lie in its file, where that is in one piece."""
    size = int(math.prod(dataset.shape) * dataset.id.get_type().get_size())
    start = dataset.id.get_offset()
    if dataset.dtype.kind == "O":
        yield np.ravel(dataset[()]).tolist()
    elif start is not None and dataset.id.get_storage_size() == size:
        for at in range(0, size, _PIECE_BYTES):
            yield raw.read_at(start + at, min(_PIECE_BYTES, size - at))
    elif not dataset.shape:
        yield np.asarray(dataset[()]).tobytes()
    elif size:
        row = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
        step = max(_SLICE_BYTES // row, 1)
        for at in range(0, dataset.shape[0], step):
            yield np.asarray(dataset[at : at + step]).tobytes()
