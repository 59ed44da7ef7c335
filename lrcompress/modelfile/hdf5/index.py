"""Every structure of an HDF5 file, checked before HDF5 itself sees a byte of it.

HDF5 trusts what it reads: one changed byte can crash the process, hang it or fill its memory. So
each structure must lie within the file, apart from all others, and say nothing but what the library
writes for Keras: superblock 0, object headers of version 1, groups as trees of names. No array is read.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from struct import error as StructError
from struct import unpack_from

from lrcompress.errors import ModelFileError
from lrcompress.modelfile.hdf5 import messages
from lrcompress.modelfile.hdf5.arrays import Index, StoredArray
from lrcompress.modelfile.hdf5.messages import Filters, Header, Shape, Type
from lrcompress.modelfile.hdf5.space import NOWHERE, ReadWindow, Space
from lrcompress.modelfile.hdf5.structures import (
    Child,
    Place,
    Texts,
    dense_links,
    read_chunks,
    read_names,
)
from lrcompress.modelfile.untrusted import HDF5_MAGIC, HDF5_OFFSETS

# The largest models have a few thousand arrays; listing one object costs tens of microseconds.
MAX_OBJECTS = 20_000
# Every path is as long as it is deep, so that deep groups cost their depth squared. Configs end at
# this depth too; real files have about ten groups below each other.
MAX_DEPTH = 200
# Letters of all paths together; real ones have some sixty.
_MOST_LETTERS = 2**25
# Each chunk costs microseconds, stored or not. Keras writes no chunks; where others packed a file,
# h5py's own choice makes a few thousand of a gigabyte.
MAX_CHUNKS = 20_000
# Arrays may become more than the file when they are read: what was never written, and what is
# packed. Weights hardly compress, and Keras packs nothing.
_SPARE_BYTES = 2**24
_SPARE_RATIO = 10


def read_index(file: ReadWindow, path: Path, *, backslashes: bool = False) -> Index:
    """List all objects of an HDF5 file, and refuse it where HDF5 could come to harm."""
    base = next((at for at in HDF5_OFFSETS if file.read_at(at, 8) == HDF5_MAGIC), 0)
    space = Space(file, path, base)
    try:
        walk = _Walk(space, _SPARE_BYTES + _SPARE_RATIO * path.stat().st_size)
        walk.run(*_root(space, base), backslashes)
        space.settle()
    except (StructError, ValueError, LookupError, zlib.error) as error:
        msg = f"{path} is damaged (a structure that does not fit); save or download it again."
        raise ModelFileError(msg, code="truncated") from error
    return walk.index


def _root(space: Space, base: int) -> tuple[int, Place | None]:
    if space.peek(8, 1, "its beginning")[0]:
        space.refuse_layout()
    block = space.take(0, 96, "its beginning")
    leaf, inner, flags, own, unused, end, driver = unpack_from("<HHIQQQQ", block, 16)
    if end > base + space.size:
        space.fail(f"{base + space.size} bytes of {end}")
    fixed = (block[9:16], leaf, inner, flags, own, unused, driver)
    _, address, cached, tree, heap = unpack_from("<QQI4xQQ", block, 56)
    if fixed != (b"\0\0\0\0\x08\x08\0", 4, 16, 0, base, NOWHERE, NOWHERE) or cached > 1:
        space.fail("a beginning that h5py does not write")
    return address, (tree, heap) if cached else None


class _Walk:
    """A walk over all objects of a file, with the sums of what they take."""

    def __init__(self, space: Space, most: int) -> None:
        """Begin; all arrays together take `most` bytes."""
        self._most = most
        self.index = Index()
        self._space, self._texts = space, Texts(space)
        self._objects = self._letters = self._attributes = self._chunks = self._bytes = 0

    def run(self, root: int, place: Place | None, backslashes: bool) -> None:
        pending: list[Child] = [("", root, place)]
        while pending:
            where, address, cached = pending.pop()
            header = messages.read_header(self._space, address)
            self._check_attributes(header)
            canonical = where.replace("\\", "/") if backslashes else where
            if canonical in self.index.groups or canonical in self.index.arrays:
                self._space.refuse(f"two objects at {canonical}")
            symbols = header.messages.pop(messages.SYMBOLS, None)
            if symbols is not None:
                own = unpack_from("<QQ", symbols)
                if cached not in (None, own) or header.messages or header.links:
                    self._space.fail("a group that does not fit together")
                below = read_names(self._space, own)
            elif messages.LINK_INFO in header.messages:
                below = [(name, at, None) for name, at in self._links(header).items()]
            elif where and not cached and not header.links:
                self.index.arrays[canonical] = self._array(where, header)
                continue
            else:
                self._space.fail("an invalid group")
            if where:
                self.index.groups[canonical] = where
            pending += self._counted(where + "/" if where else "", below)

    def _links(self, header: Header) -> dict[str, int]:
        """Return the links of a group that lists them one by one, in its header or elsewhere."""
        elsewhere = messages.links_elsewhere(self._space, header)
        if elsewhere is None:
            return header.links
        found = [messages.read_link(self._space, m) for m in dense_links(self._space, *elsewhere)]
        if len(dict(found)) < len(found):
            self._space.fail("two links of one name")
        return dict(found)

    def _counted(self, prefix: str, below: list[Child]) -> list[Child]:
        """Return what is in a group, last first, each with its path, and count it."""
        found = [(prefix + name, at, own) for name, at, own in below]
        if found and prefix.count("/") > MAX_DEPTH:
            self._space.refuse(f"groups nested deeper than {MAX_DEPTH} levels")
        self._objects += len(found)
        self._letters += sum(len(where) for where, _, _ in found)
        if self._objects > MAX_OBJECTS or self._letters > _MOST_LETTERS:
            self._space.refuse(f"more than {MAX_OBJECTS} objects, or endless names")
        return found[::-1]

    def _check_attributes(self, header: Header) -> None:
        self._attributes += len(header.attributes)
        if self._attributes > MAX_OBJECTS:
            self._space.refuse(f"more than {MAX_OBJECTS} attributes")
        for attribute in header.attributes.values():
            if attribute.dtype.hasobject:
                self._texts.check(attribute.data)

    def _array(self, where: str, header: Header) -> StoredArray:
        """Return what a header declares of an array, all of which is there."""
        space, parts = self._space, header.messages
        if not {messages.DATASPACE, messages.DATATYPE, messages.LAYOUT} <= set(parts):
            space.refuse(f"an object that is neither group nor array at {where}")
        dtype = messages.read_type(space, parts[messages.DATATYPE])
        shape, most = messages.read_shape(space, parts[messages.DATASPACE], dtype)
        if shape is None:
            space.refuse(f"an array without a shape at {where}")
        messages.check_fill(space, header, dtype)
        filters = messages.read_filters(space, parts.get(messages.FILTERS), dtype)
        kind, layout = messages.read_layout(space, header)
        if kind == messages.CHUNKED and not dtype.hasobject:
            stored = self._chunked(layout, shape, most, filters, dtype.itemsize)
        elif kind == messages.CHUNKED or most != shape or filters:
            space.refuse(f"an array stored oddly at {where}")
        else:
            stored = self._contiguous(layout, shape, dtype)
        name = dtype.name
        if dtype.kind == "V" and self._text(header, "dtype") == b"bfloat16":
            name = "bfloat16"
        return StoredArray(where, shape, name, stored)

    def _contiguous(self, layout: bytes, shape: Shape, dtype: Type) -> int:
        """Check an array in one piece and return the bytes it takes."""
        address, size = unpack_from("<QQ", layout)
        if size != math.prod(shape) * messages.stored_size(dtype):
            self._space.fail("an array of two sizes")
        self._spend(size)
        if address == NOWHERE or not size:
            return 0
        self._space.claim(address, size, "an array")
        if dtype.hasobject:
            self._texts.check(self._space.peek(address, size, "an array"))
        return int(size)

    def _chunked(
        self, layout: bytes, shape: Shape, most: Shape, filters: Filters, size: int
    ) -> int:
        """Check an array in chunks and return the bytes they take."""
        rank = len(shape)
        dimensions, root = unpack_from("<BQ", layout)
        chunk = unpack_from(f"<{rank + 1}I", layout, 9)
        if dimensions != rank + 1 or not rank or chunk[-1] != size or not all(chunk):
            self._space.fail("an array whose chunks do not fit")
        if any(c > m for c, m in zip(chunk, most, strict=False)) or math.prod(chunk) >= 2**32:
            self._space.fail("chunks larger than their array")
        expected = math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=False))
        self._chunks += expected
        if self._chunks > MAX_CHUNKS:
            self._space.refuse(f"arrays in more than {MAX_CHUNKS} pieces")
        self._spend(expected * math.prod(chunk))
        return 0 if root == NOWHERE else read_chunks(self._space, root, shape, chunk, filters)

    def _spend(self, size: int) -> None:
        """Count the bytes that an array takes when it is read."""
        self._bytes += size
        if self._bytes > self._most:
            self._space.refuse(f"arrays of {self._bytes} bytes or more")

    def _text(self, header: Header, name: str) -> bytes | None:
        """Return an attribute as text, None where there is none."""
        found = header.attributes.get(name)
        if found is None or found.shape != ():
            return None
        if found.dtype.hasobject:
            return self._texts.read(found.data)
        return found.data.rstrip(b"\0")
