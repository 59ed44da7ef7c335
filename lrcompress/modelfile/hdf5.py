"""Read HDF5 from strangers: list every object once, refuse links, read names, text and arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import ModelFileError

# The largest models have a few thousand arrays; listing one object costs tens of microseconds.
MAX_OBJECTS = 200_000
# Every path is as long as it is deep, so that deep groups cost their depth squared. Configs end at
# this depth too; real files have about ten groups below each other.
MAX_DEPTH = 200
# Each chunk costs microseconds, stored or not. Keras writes no chunks; where others packed a file,
# h5py's own choice makes a few thousand of a gigabyte.
MAX_CHUNKS = 200_000
# A shape bomb declares an enormous array and stores next to nothing. Below the floor a read is
# harmless; above it, real compressed weights stay far within the ratio (they hardly compress).
BOMB_FLOOR_BYTES = 2**28
BOMB_RATIO = 1000
# Fixed-length attributes end at 64 kB; a list of variable strings takes 16 bytes for each.
MAX_ATTRIBUTE_BYTES = 2**24

_PLAIN_TYPES = (
    h5py.h5t.TypeStringID,
    h5py.h5t.TypeIntegerID,
    h5py.h5t.TypeFloatID,
    h5py.h5t.TypeEnumID,  # h5py's booleans
)


@dataclass(frozen=True)
class StoredArray:
    """One HDF5 dataset as the file declares it; nothing of it has been read.

    Attributes:
        source: Its path as spelt in the file.
        shape: Its shape.
        dtype: NumPy's name of its type, ``"bfloat16"`` where Keras says so in an attribute.
        stored: Bytes it takes in the file.
    """

    source: str
    shape: tuple[int, ...]
    dtype: str
    stored: int

    @property
    def size(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Index:
    """Every group and array of a file, by canonical path: `/` between parts, none in front.

    Archives written on Windows have groups with a backslash in their very name, in the place of
    ``layers/dense``; that is their canonical path, and `source` keeps what the file says.
    """

    groups: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, StoredArray] = field(default_factory=dict)

    def under(self, prefix: str) -> Iterator[tuple[str, StoredArray]]:
        """Yield path and array of everything below the group `prefix`."""
        start = prefix + "/"
        return ((path, array) for path, array in self.arrays.items() if path.startswith(start))


def scan(file: h5py.File, path: Path, *, backslashes: bool = False) -> Index:
    """List all objects of an open file, refusing what no Keras version writes.

    Args:
        file: The open file.
        path: Its name, for messages.
        backslashes: Whether a backslash in a name separates groups (archives from Windows).

    Raises:
        ModelFileError: With code ``hostile`` for soft, external and doubled links, external or
            virtual storage, references, shape bombs, groups deeper than `MAX_DEPTH`, or more than
            `MAX_OBJECTS` objects or `MAX_CHUNKS` chunks.
    """
    index = Index()
    seen: set[int] = set()
    chunks = 0
    check_attributes(file, path)
    pending: list[tuple[str, h5py.Group]] = [("", file)]
    while pending:
        prefix, group = pending.pop()
        for name in sorted(group):
            where = prefix + name
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _hostile(path, f"a link at {where}")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise _hostile(path, f"the same object twice, at {where}")
            seen.add(address)
            check_attributes(item, path)
            if len(seen) > MAX_OBJECTS:
                raise _hostile(path, f"more than {MAX_OBJECTS} objects")
            if where.count("/") > MAX_DEPTH:
                raise _hostile(path, f"groups nested deeper than {MAX_DEPTH} levels")
            canonical = where.replace("\\", "/") if backslashes else where
            if canonical in index.groups or canonical in index.arrays:
                raise _hostile(path, f"two objects at {canonical}")
            if isinstance(item, h5py.Group):
                index.groups[canonical] = where
                pending.append((where + "/", item))
            elif isinstance(item, h5py.Dataset):
                index.arrays[canonical] = _describe(item, where, path)
                chunks += _count_chunks(item)
                if chunks > MAX_CHUNKS:
                    raise _hostile(path, f"arrays in more than {MAX_CHUNKS} pieces")
            else:
                raise _hostile(path, f"an object that is neither group nor array at {where}")
    return index


def check_attributes(item: h5py.HLObject, path: Path) -> None:
    """Refuse attributes of types that Keras never writes, before any is read.

    One changed byte can turn a string into a sequence of anything, and HDF5 itself then crashes
    in reading it, which no exception handling survives.

    Args:
        item: A file, group, array or other object.
        path: The file's name, for messages.

    Raises:
        ModelFileError: With code ``hostile``.
    """
    for name in item.attrs:
        identity = item.attrs.get_id(name)
        kind = identity.get_type()
        size = math.prod(identity.shape or ()) * kind.get_size()
        if not isinstance(kind, _PLAIN_TYPES) or size > MAX_ATTRIBUTE_BYTES:
            raise _hostile(path, f"an attribute {name!r} of an odd type or size")


def _describe(dataset: h5py.Dataset, where: str, path: Path) -> StoredArray:
    """Return what a dataset declares, refusing storage that reaches outside or explodes."""
    if dataset.external or dataset.is_virtual:
        raise _hostile(path, f"an array stored elsewhere at {where}")
    if dataset.shape is None:
        raise _hostile(path, f"an array without a shape at {where}")
    plain = isinstance(dataset.id.get_type(), (*_PLAIN_TYPES, h5py.h5t.TypeOpaqueID))
    if not plain:
        raise _hostile(path, f"an array of an unknown type at {where}")
    stored = dataset.id.get_storage_size()
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    if declared > BOMB_FLOOR_BYTES and declared > BOMB_RATIO * stored:
        raise _hostile(path, f"{declared} bytes declared but {stored} stored at {where}")
    dtype = dataset.dtype.name
    if dataset.dtype.kind == "V" and text(dataset.attrs.get("dtype")) == "bfloat16":
        dtype = "bfloat16"
    return StoredArray(where, tuple(int(n) for n in dataset.shape), dtype, int(stored))


def _count_chunks(dataset: h5py.Dataset) -> int:
    """Return the number of pieces that reading a dataset takes one by one."""
    if not dataset.chunks:
        return 1
    return math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))


def _hostile(path: Path, what: str) -> ModelFileError:
    """Return the error for content that Keras never writes."""
    msg = f"{path} holds {what}, which Keras never writes; refused: get it from its source again."
    return ModelFileError(msg, code="hostile")


def text(value: object) -> str | None:
    """Return an attribute's value as text, or None where it is not text.

    Raises:
        UnicodeError: If it is not UTF-8; h5py passes such bytes on as characters of their own.
    """
    if isinstance(value, str):
        value = value.encode("utf-8")
    return value.decode("utf-8") if isinstance(value, bytes) else None


def names(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names, also where Keras split it into numbered parts past 64,512 bytes.

    Args:
        group: Where the attribute stands.
        attribute: ``layer_names`` or ``weight_names``.

    Returns:
        The names in file order; empty where there is none.
    """
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
    """Return `values` as the file will store them in `dtype`.

    Args:
        values: Any real array.
        dtype: A name as in `StoredArray.dtype`.

    Returns:
        The rounded values; for bfloat16 the opaque two-byte form (``V2``) that Keras writes,
        rounded to nearest, ties to even.
    """
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):  # inf is caught by the caller, with a sentence
            return np.ascontiguousarray(values, dtype=np.dtype(dtype))
    wide = np.ascontiguousarray(values, dtype=np.float32)
    bits = wide.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    # Rounding up must not turn a NaN into infinity or a number.
    halves = np.where(np.isnan(wide), np.uint32(0x7FC0), rounded >> np.uint32(16))
    return halves.astype(np.uint16).view("V2")
