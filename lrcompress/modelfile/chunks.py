"""Trees of HDF5's old layout, and arrays in chunks that they list."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from itertools import pairwise
from operator import lt, mod
from struct import unpack_from

from lrcompress.modelfile.messages import Filters, Shape
from lrcompress.modelfile.space import NOWHERE, Space

_DEFLATE, _FLETCHER = 1, 3
# Entries of a node; HDF5 lets a file choose others, which h5py does not.
_GROUP_ENTRIES, _CHUNK_ENTRIES = 32, 64


def leaves(space: Space, root: int, rank: int | None) -> Iterator[tuple[int, bytes]]:
    """Yield the leaves of a tree from left to right.

    Args:
        space: The file.
        root: Address of the tree.
        rank: Dimensions of the array whose chunks it lists; None for a group.

    Yields:
        Number of entries, and the keys and addresses as they stand in the file.

    Raises:
        ModelFileError: If a node is damaged.
    """
    kind, most, key = (0, _GROUP_ENTRIES, 8) if rank is None else (1, _CHUNK_ENTRIES, 16 + 8 * rank)
    # A chunk's key begins with its size, by which nothing is ordered.
    unordered, step = 8 * kind, key + 8
    nodes: list[tuple[int, tuple[bytes, bytes] | None]] = [(root, None)]
    level = None
    while True:
        read = [space.take(node, 24 + most * step + key, "a tree") for node, _ in nodes]
        below: list[tuple[int, tuple[bytes, bytes] | None]] = []
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
                children = (node[n + key : n + step] for n in range(24, 24 + used * step, step))
                around_each = pairwise(keys)
                below += zip(map(_address, children), around_each, strict=True)
            else:
                yield used, node[24:]
        if not level:
            return
        nodes, level = below, level - 1


def _address(data: bytes) -> int:
    """Return an address as the file spells it."""
    return int.from_bytes(data, "little")


def read_chunks(space: Space, root: int, shape: Shape, chunk: Shape, filters: Filters) -> int:
    """Check every chunk of an array, and unpack it where it is packed.

    Args:
        space: The file.
        root: Address of the tree that lists them.
        shape: Of the array.
        chunk: Shape of a chunk, the size of an element last.
        filters: As from `messages.read_filters`.

    Returns:
        The bytes they take.

    Raises:
        ModelFileError: If one is damaged, out of its place, or not of the size it should be.
    """
    rank, whole = len(shape), math.prod(chunk)
    entry, corners, step = f"<II{rank}QQQ", f"<{rank + 1}Q", 24 + 8 * rank
    before: Shape = (-1,)
    total = 0
    for used, entries in leaves(space, root, rank):
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
