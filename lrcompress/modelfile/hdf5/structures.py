"""What object headers of HDF5's old layout lead to: the names in a group, chunks of an array, text."""

from __future__ import annotations

import math
import zlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from operator import lt, mod
from struct import unpack_from

from lrcompress.modelfile.hdf5.messages import Filters, Shape
from lrcompress.modelfile.hdf5.space import NOWHERE, Space

# The end of a list of free places.
_END = 1
_LONGEST_NAME = 1_024
_DEFLATE, _FLETCHER = 1, 3
# Entries of a node; HDF5 lets a file choose others, which h5py does not.
_GROUP_ENTRIES, _CHUNK_ENTRIES = 32, 64

Place = tuple[int, int]  # of the tree that lists a group, and of the heap of its names
Child = tuple[str, int, Place | None]  # name or path, address, and where a group says it lists
_Node = tuple[int, tuple[bytes, bytes] | None]  # address, and the keys around it
# Of a heap of links: how many blocks a row has, and the sizes of the first block and the largest.
_ROW = 4
_FIRST, _LARGEST = 512, 65_536
# Rows of direct blocks: two of the first size, then one for each doubling up to the largest.
_ROWS = 9
# What a block begins with, its checksum left out.
_HEAD = 17
_ID_BYTES, _RECORD_BYTES, _NODE_BYTES = 7, 11, 512


class Names:
    """The local heap of a group, which holds the names of what is in it."""

    def __init__(self, space: Space, address: int) -> None:
        self._space = space
        head = space.take(address, 32, "a heap")
        signature, version, size, free, segment = unpack_from("<4sB3xQQQ", head)
        if signature != b"HEAP" or version:
            space.fail("an invalid heap")
        self._segment = space.take(segment, size, "the names of a group")
        spans = []
        while free != _END:
            following, length = unpack_from("<QQ", self._segment, free)
            spans.append((free, free + length))
            if length < 16 or free + length > size or 16 * len(spans) > size:
                space.fail("an endless heap")
            free = following
        spans.sort()
        if any(end > start for (_, end), (start, _) in pairwise(spans)):
            space.fail("an endless heap")

    def at(self, offset: int) -> bytes:
        """Return the name at an offset."""
        end = self._segment.find(b"\0", offset, offset + _LONGEST_NAME + 1)
        if end < 0:
            self._space.fail("an endless name")
        return self._segment[offset:end]


class Texts:
    """The global heaps, which hold text of variable length, each piece for one reference."""

    def __init__(self, space: Space) -> None:
        self._space = space
        # Start and size by heap and number; those of what was found before by minus the number.
        self._places: dict[int, dict[int, tuple[int, int]]] = {}

    def check(self, references: bytes) -> None:
        """Follow references of 16 bytes each, none where another led: all text is within the file."""
        for at in range(0, len(references), 16):
            self._find(*unpack_from("<IQI", references, at))

    def read(self, reference: bytes) -> bytes:
        """Return the text that a checked reference leads to."""
        length, address, number = unpack_from("<IQI", reference)
        if not address:
            return b""
        return self._space.peek(self._places[address][-number][0], length, "text")

    def _find(self, length: int, address: int, number: int) -> None:
        """Check that a text of this length is there, and mark it as found."""
        if not address and not length:
            return
        if address not in self._places:
            self._places[address] = self._collection(address)
        objects = self._places[address]
        if -number in objects:
            self._space.refuse("one text in two places")
        start, size = objects.pop(number, (0, -1))
        if size != length:
            self._space.fail(f"text of {length} bytes that are not there")
        objects[-number] = (start, size)

    def _collection(self, address: int) -> dict[int, tuple[int, int]]:
        """Return start and size of each object of a heap, by number."""
        space, what = self._space, "a heap of text"
        signature, size = unpack_from("<8sQ", space.peek(address, 16, what))
        if signature != b"GCOL\1\0\0\0" or size < 32:
            space.fail(f"{what} of a wrong kind")
        heap = space.take(address, size, what)
        found: dict[int, tuple[int, int]] = {}
        at = 16
        while at + 16 <= size:
            number, length = unpack_from("<H6xQ", heap, at)
            if not number:  # what is free comes last
                if length != size - at:
                    space.fail("an endless heap")
                break
            if number in found or at + 16 + length > size:
                space.fail(f"{what} whose objects do not fit")
            found[number] = (address + at + 16, length)
            at += 16 + -(-length // 8) * 8
        return found


def read_names(space: Space, place: Place) -> list[Child]:
    """Return names and addresses in a group, and where a group in it says its own list is."""
    names, found, before = Names(space, place[1]), [], b""
    for used, entries in _leaves(space, place[0], None):
        bounds = [names.at(unpack_from("<Q", entries, 16 * n)[0]) for n in range(used + 1)]
        for n in range(used):
            (node,) = unpack_from("<Q", entries, 16 * n + 8)
            table = space.take(node, 328, "a list of names")
            signature, count = unpack_from("<6sH", table)
            if signature != b"SNOD\1\0" or not 0 < count <= 8:
                space.fail("an invalid list of names")
            for at in range(8, 8 + 40 * count, 40):
                offset, address, kind, tree, heap = unpack_from("<QQI4xQQ", table, at)
                name = names.at(offset)
                if kind > 1 or address == NOWHERE:
                    space.refuse(f"a link at {name.decode()}")
                # HDF5 searches by order: what is out of it, it would not find.
                fits = max(before, bounds[n]) < name <= bounds[n + 1]
                if not fits or b"/" in name or name == b".":
                    space.fail("names out of order")
                before = name
                found.append((name.decode(), address, (tree, heap) if kind else None))
    return found


def read_chunks(space: Space, root: int, shape: Shape, chunk: Shape, filters: Filters) -> int:
    """Check every chunk of an array, unpacked where it is packed, and return the bytes of all."""
    # Behind the shape of a chunk stands the size of an element.
    rank, whole = len(shape), math.prod(chunk)
    entry, corners, step = f"<II{rank}QQQ", f"<{rank + 1}Q", 24 + 8 * rank
    before: Shape = (-1,)
    total = 0
    for used, entries in _leaves(space, root, rank):
        for n in range(used):
            size, skipped, *place, inner, address = unpack_from(entry, entries, n * step)
            corner, following = tuple(place), unpack_from(corners, entries, (n + 1) * step + 8)
            inside = all(map(lt, corner, shape)) and not any(map(mod, corner, chunk))
            if not inside or inner or not before < corner or (*corner, inner) >= following:
                space.fail("a chunk out of its place")
            total, before = total + size, corner
            space.claim(address, size, "a chunk")
            done = [kind for bit, (kind, _) in enumerate(filters) if not skipped >> bit & 1]
            allowed = all(optional for kind, optional in filters if kind not in done)
            if not allowed or skipped >> len(filters):
                space.fail("a chunk packed otherwise")
            if _unpacked_size(space, address, size, done, whole) != whole:
                space.fail("a chunk of another size")
    return total


def _leaves(space: Space, root: int, rank: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield the number of entries in each leaf from left to right, and their keys and addresses."""
    kind, most, key = (0, _GROUP_ENTRIES, 8) if rank is None else (1, _CHUNK_ENTRIES, 16 + 8 * rank)
    # A chunk's key begins with its size, by which nothing is ordered.
    unordered, step = 8 * kind, key + 8
    nodes: list[_Node] = [(root, None)]
    level = None
    while nodes:
        read = [space.take(node, 24 + most * step + key, "a tree") for node, _ in nodes]
        below: list[_Node] = []
        for at, (node, (_, expected)) in enumerate(zip(read, nodes, strict=True)):
            signature, of, depth, used, *beside = unpack_from("<4sBBHQQ", node)
            level = depth if level is None else level
            around = [nodes[n][0] if 0 <= n < len(nodes) else NOWHERE for n in (at - 1, at + 1)]
            if (signature, of, depth, beside) != (b"TREE", kind, level, around) or used > most:
                space.fail("a tree that does not fit together")
            if not used and (level or len(nodes) > 1):
                space.fail("a tree with an empty part")
            keys = [node[n + unordered : n + key] for n in range(24, 25 + used * step, step)]
            if expected not in (None, (keys[0], keys[-1])):
                space.fail("a tree whose parts are out of order")
            if level:
                places = range(24 + key, 24 + used * step, step)
                children = (unpack_from("<Q", node, n)[0] for n in places)
                below += zip(children, pairwise(keys), strict=True)
            else:
                yield used, node[24:]
        nodes, level = below, (level or 0) - 1


def _unpacked_size(space: Space, address: int, size: int, filters: list[int], whole: int) -> int:
    """Return the size of a chunk behind its filters, more than `whole` for all that is too much."""
    if _DEFLATE not in filters:
        return size - 4 * (_FLETCHER in filters)
    data = space.peek(address, size, "a chunk")
    inner = filters.index(_DEFLATE)
    if _FLETCHER in filters[inner:]:
        data = data[:-4]
    unpacking = zlib.decompressobj()
    length = len(unpacking.decompress(data, whole + 5))
    if not unpacking.eof or unpacking.unused_data:
        return -1
    return length - 4 * (_FLETCHER in filters[:inner])


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
