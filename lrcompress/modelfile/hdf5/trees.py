"""The trees of HDF5's old layout: of the names in a group, and of an array's chunks."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from itertools import pairwise
from operator import lt, mod
from struct import unpack_from

from lrcompress.modelfile.hdf5.heaps import Names
from lrcompress.modelfile.hdf5.messages import Filters, Shape
from lrcompress.modelfile.hdf5.space import NOWHERE, Space

_DEFLATE, _FLETCHER = 1, 3
# Entries of a node; HDF5 lets a file choose others, which h5py does not.
_GROUP_ENTRIES, _CHUNK_ENTRIES = 32, 64

Place = tuple[int, int]  # of the tree that lists a group, and of the heap of its names
Child = tuple[str, int, Place | None]  # name or path, address, and where a group says it lists
_Node = tuple[int, tuple[bytes, bytes] | None]  # address, and the keys around it


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
    """Check every chunk of an array, unpack it where it is packed, and return the bytes of all.

    `chunk` is the shape of a chunk with the size of an element behind it.
    """
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
    """Yield the number of entries in each leaf from left to right, and their keys and addresses.

    `rank` is that of the array whose chunks the tree lists, None for a group.
    """
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
