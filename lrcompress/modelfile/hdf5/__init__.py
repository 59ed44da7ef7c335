"""HDF5 files of strangers: every structure is checked before HDF5 itself sees a byte of it."""

from __future__ import annotations

from lrcompress.modelfile.hdf5.arrays import (
    Index,
    StoredArray,
    cast,
    equal,
    holds,
    name_parts,
    names,
    parents,
    read_array,
    same_array,
    text,
)
from lrcompress.modelfile.hdf5.index import read_index
from lrcompress.modelfile.hdf5.space import ReadWindow, WriteWindow

__all__ = [
    "Index",
    "ReadWindow",
    "StoredArray",
    "WriteWindow",
    "cast",
    "equal",
    "holds",
    "name_parts",
    "names",
    "parents",
    "read_array",
    "read_index",
    "same_array",
    "text",
]
