"""Groups that keep many links outside their header, as HDF5 does where a name is beyond ASCII."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from struct import unpack_from

from lrcompress.modelfile.hdf5.space import NOWHERE, Space

_ROW = 4
_FIRST, _LARGEST = 512, 65_536
# Rows of direct blocks: two of the first size, then one for each doubling up to the largest.
_ROWS = 9
# What a block begins with, its checksum left out.
_HEAD = 17
_ID_BYTES, _RECORD_BYTES, _NODE_BYTES = 7, 11, 512


def dense_links(space: Space, heap: int, tree: int) -> Iterator[bytes]:
    """Yield the links of a group as messages, in the order of the heap; a tree finds them by name."""
    starts, blocks = _blocks(space, heap)
    free = 0
    found = sorted(unpack_from("<IHB", r[5:] + r[4:5]) for r in _records(space, tree))
    for offset, size, kind in found:
        at = bisect_right(starts, offset) - 1
        inner = offset - starts[at]
        if kind or offset < free or not size or inner < _HEAD or inner + size > len(blocks[at]):
            space.fail("a link that is not in its heap")
        free = offset + size
        yield blocks[at][inner : inner + size]


def _blocks(space: Space, address: int) -> tuple[list[int], list[bytes]]:
    """Return where each block of a heap begins in it, and its bytes."""
    head = space.take(address, 146, "a heap of links")
    signature, version, id_bytes, filters, flags, most = unpack_from("<4sBHHBI", head)
    huge_id, huge, _, _, _, _, _, _, *rest = unpack_from("<12Q", head, 14)
    width, first, largest, bits, _, root, rows = unpack_from("<HQQHHQH", head, 110)
    own = (signature, version, id_bytes, filters, flags & ~2, huge_id, huge, *rest)
    if own != (b"FRHP", 0, _ID_BYTES, 0, 0, 0, NOWHERE, 0, 0, 0, 0):
        space.fail("an invalid heap of links")
    if (width, first, largest, bits) != (_ROW, _FIRST, _LARGEST, 32) or most > _LARGEST:
        space.fail("a heap of links of another form")
    if rows > _ROWS:
        space.refuse("a group of more links than any model")
    addresses = [root]
    if rows:
        block = space.take(root, 21 + 8 * _ROW * rows, "a list of blocks")
        if block[:5] != b"FHIB\0" or unpack_from("<QI", block, 5) != (address, 0):
            space.fail("an invalid list of blocks")
        addresses = list(unpack_from(f"<{_ROW * rows}Q", block, 17))
    starts, blocks, at = [], [], 0
    for number, place in enumerate(addresses):
        size = _FIRST << max(number // _ROW - 1, 0)
        if place != NOWHERE:
            block = space.take(place, size, "a block of links")
            if block[:5] != b"FHDB\0" or unpack_from("<QI", block, 5) != (address, at):
                space.fail("an invalid block of links")
            starts.append(at)
            blocks.append(block)
        at += size
    if not starts or starts[0]:
        space.fail("a heap of links without links")
    return starts, blocks


def _records(space: Space, address: int) -> Iterator[bytes]:
    """Yield the records of a tree of names."""
    head = space.take(address, 38, "a tree of links")
    own, depth, _, _, root, count, total = unpack_from("<12sHBBQHQ", head)
    if unpack_from("<5sBIH", own) != (b"BTHD\0", 5, _NODE_BYTES, _RECORD_BYTES) or depth > 3:
        space.fail("an invalid tree of links")
    seen = 0
    below = {depth: [(root, count)]}
    for level in range(depth, -1, -1):
        for place, records in below.get(level, []):
            data = space.take(place, _NODE_BYTES, "a part of a tree of links")
            mark = b"BTIN\0\5" if level else b"BTLF\0\5"
            step = 0 if not level else 9 if level == 1 else 11
            whole = 10 + records * (_RECORD_BYTES + step) + step
            if data[:6] != mark or not records or whole > _NODE_BYTES:
                space.fail("an invalid part of a tree of links")
            seen += records
            for n in range(records):
                yield data[6 + n * _RECORD_BYTES : 6 + (n + 1) * _RECORD_BYTES]
            for n in range(records + 1 if level else 0):
                child, used = unpack_from("<QB", data, 6 + records * _RECORD_BYTES + n * step)
                below.setdefault(level - 1, []).append((child, used))
    if seen != total:
        space.fail("a tree of links that does not fit together")
