"""The object headers of HDF5's old layout: what an object says of itself, in messages."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from struct import pack, unpack_from
from typing import Any

import numpy as np

from lrcompress.modelfile.hdf5.space import NOWHERE, Space

# Types of messages, by the format's specification, that Keras' files hold.
DATASPACE, DATATYPE, OLD_FILL, FILL, LAYOUT, FILTERS = 0x1, 0x3, 0x4, 0x5, 0x8, 0xB
ATTRIBUTE, CONTINUATION, SYMBOLS = 0xC, 0x10, 0x11
_NIL, _MODIFIED = 0x0, 0x12
# A group with a name beyond ASCII in it lists its links one by one.
LINK_INFO, _LINK, GROUP_INFO = 0x2, 0x6, 0xA
_KNOWN = {
    DATASPACE, DATATYPE, OLD_FILL, FILL, LAYOUT, FILTERS, SYMBOLS, LINK_INFO, GROUP_INFO, _MODIFIED,
}  # fmt: skip
# How the newer layout keeps many attributes.
_ATTRIBUTE_INFO = 0x15
# Constant, and never to be shared; a shared message stands elsewhere.
_FLAGS = 0b101
# HDF5 searches an object's attributes one by one for each. Keras splits a list of names into parts
# of 64 kB, and has a handful of others.
MAX_ATTRIBUTES = 1_000
_MOST_BYTES = 2**62

# Ways to store an array.
CONTIGUOUS, CHUNKED = 1, 2

Shape = tuple[int, ...]
Type = np.dtype[Any]
Filters = list[tuple[int, bool]]


def _types() -> dict[bytes, Type]:
    """Return the types of fixed form by the bytes that spell them."""
    found: dict[bytes, Type] = {}
    for order, big in (("<", 0), (">", 1)):
        for size in (1, 2, 4, 8):
            for kind, signed in (("u", 0), ("i", 8)):
                spelt = pack("<BBxxIHH", 0x10, big | signed, size, 0, 8 * size)
                found[spelt] = np.dtype(f"{order}{kind}{size}")
        for size, exponent, mantissa in ((2, 5, 10), (4, 8, 23), (8, 11, 52)):
            spelt = pack("<BBBxIHH", 0x11, 0x20 | big, 8 * size - 1, size, 0, 8 * size)
            spelt += pack("<BBBBI", mantissa, exponent, 0, mantissa, 2 ** (exponent - 1) - 1)
            found[spelt] = np.dtype(f"{order}f{size}")
    byte = pack("<BBxxIHH", 0x10, 8, 1, 0, 8)
    found[pack("<BHxI", 0x18, 2, 1) + byte + b"FALSE\0\0\0TRUE\0\0\0\0\0\1"] = np.dtype(bool)
    letter = pack("<BBxxIHH", 0x10, 0, 1, 0, 8)
    for padding in (0, 1, 2):
        for characters in (0, 1):
            text = pack("<BBBxI", 0x19, 1 | padding << 4, characters, 16)
            found[text + letter] = np.dtype(object)
    return found


_TYPES = _types()
_LENGTHS = sorted({len(spelt) for spelt in _TYPES})


@dataclass(frozen=True)
class Attribute:
    """An attribute: its type, `object` for text of any length; its shape, None for nothing."""

    dtype: Type
    shape: Shape | None
    data: bytes


@dataclass(frozen=True)
class Header:
    """What an object says of itself: one message of each type, its attributes and links by name."""

    messages: dict[int, bytes] = field(default_factory=dict)
    links: dict[str, int] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)


def read_header(space: Space, address: int) -> Header:
    """Return the messages of an object, whose header must be of the older layout."""
    prefix = space.peek(address, 16, "an object")
    version, messages, links, size = unpack_from("<BxHII", prefix)
    if prefix.startswith(b"OHDR"):
        space.refuse_layout()
    if version != 1:
        space.fail(f"an object of version {version}")
    if links != 1:
        space.refuse(f"an object of {links} names")
    found, seen = Header(), 0
    pending = [space.take(address, 16 + size, "an object")[16:]]
    while pending:
        block, at = pending.pop(0), 0
        while at < len(block):
            kind, size, flags = unpack_from("<HHB", block, at)
            body = block[at + 8 : at + 8 + size]
            at, seen = at + 8 + size, seen + 1
            if at > len(block) or size % 8 or seen > messages:
                space.fail("an object whose messages do not fit")
            if kind == CONTINUATION:
                start, length = unpack_from("<QQ", body)
                pending.append(space.take(start, length, "the rest of an object"))
            elif kind != _NIL:
                _note(space, found, kind, flags, body)
    if seen != messages:
        space.fail(f"an object of {seen} messages instead of {messages}")
    return found


def _note(space: Space, found: Header, kind: int, flags: int, body: bytes) -> None:
    if kind == _ATTRIBUTE_INFO:
        space.refuse_layout()
    if kind == _LINK and not flags & ~_FLAGS:
        name, address = read_link(space, body)
        if name in found.links:
            space.fail(f"two links named {name}")
        found.links[name] = address
        return
    if flags & ~_FLAGS or (kind not in _KNOWN and kind != ATTRIBUTE):
        space.refuse(f"a message of type {kind}, flags {flags}")
    if kind == ATTRIBUTE:
        name, attribute = _attribute(space, body)
        if name in found.attributes or len(found.attributes) == MAX_ATTRIBUTES:
            space.refuse(f"two attributes {name!r}, or more than {MAX_ATTRIBUTES}")
        found.attributes[name] = attribute
    elif kind in found.messages:
        space.fail(f"an object with two messages of type {kind}")
    else:
        found.messages[kind] = body


def read_link(space: Space, body: bytes) -> tuple[str, int]:
    """Return name and address of what a plain link leads to."""
    version, flags = unpack_from("<BB", body)
    at = 2 + (flags >> 2 & 1) * 8
    if version != 1 or flags & ~0b11111:
        space.fail(f"a link of version {version}")
    if flags & 0b1000:
        if body[2]:
            space.refuse("a link to another place")
        at += 1
    if flags & 0b10000:
        at += 1
    width = 1 << (flags & 3)
    size = int.from_bytes(body[at : at + width], "little")
    at += width
    name, address = body[at : at + size], unpack_from("<Q", body, at + size)[0]
    if not name or b"/" in name or b"\0" in name or name == b".":
        space.fail("a link without a name")
    return name.decode(), address


def links_elsewhere(space: Space, header: Header) -> tuple[int, int] | None:
    """Return where a group keeps links outside its header, heap and tree; None if it does not."""
    info, about = (header.messages.pop(kind, None) for kind in (LINK_INFO, GROUP_INFO))
    if info is None or about is None or any(info[:2]) or any(about[:2]):
        space.refuse_layout()
    heap, tree = unpack_from("<QQ", info, 2)
    nowhere = heap == NOWHERE
    if header.messages or nowhere != (tree == NOWHERE) or (header.links and not nowhere):
        space.fail("a group that does not fit together")
    return None if nowhere else (heap, tree)


def _attribute(space: Space, body: bytes) -> tuple[str, Attribute]:
    version, *sizes = unpack_from("<BxHHH", body)
    if version != 1:
        space.fail(f"an attribute of version {version}")
    parts, at = [], 8
    for size in sizes:
        parts.append(body[at : at + size])
        at += -(-size // 8) * 8
    name, end, _ = parts[0].partition(b"\0")
    dtype = read_type(space, parts[1])
    shape, _ = read_shape(space, parts[2], dtype)
    size = 0 if shape is None else math.prod(shape) * stored_size(dtype)
    # Messages are padded to eight bytes.
    if not name or not end or not 0 <= len(body) - at - size < 8:
        space.fail("an attribute whose parts do not fit")
    return name.decode(), Attribute(dtype, shape, body[at : at + size])


def stored_size(dtype: Type) -> int:
    """Return the bytes of one element in the file; text of any length is referred to."""
    return 16 if dtype.hasobject else dtype.itemsize


def read_type(space: Space, data: bytes) -> Type:
    """Return the type of the elements of an array or attribute."""
    for length in _LENGTHS:
        if data[:length] in _TYPES:
            return _TYPES[data[:length]]
    kind, bits, other, size = unpack_from("<BBHI", data)
    if kind == 0x13 and bits & 0xF <= 2 and bits >> 4 <= 1 and not other and size:
        return np.dtype(f"S{size}")
    if kind != 0x15 or bits or other or not size:
        space.refuse("data of an unknown type")
    return np.dtype(f"V{size}")


def read_shape(space: Space, data: bytes, dtype: Type) -> tuple[Shape | None, Shape]:
    """Return a shape, None where there is nothing, and how far it may grow."""
    version, rank, flags, kind = unpack_from("<4B", data)
    if (version, rank, flags, kind) == (2, 0, 0, 2):
        return None, ()
    if version != 1 or rank > 32 or flags > 1:
        space.fail(f"a shape of version {version}, rank {rank}")
    shape = unpack_from(f"<{rank}Q", data, 8)
    most = unpack_from(f"<{rank}Q", data, 8 + 8 * rank) if flags else shape
    if any(limit < n for n, limit in zip(shape, most, strict=True)):
        space.fail("a shape beyond its own limit")
    if math.prod(max(n, 1) for n in shape) * dtype.itemsize > _MOST_BYTES:
        space.refuse(f"an array of shape {shape}")
    return shape, most


def check_fill(space: Space, header: Header, dtype: Type) -> None:
    """Check what an array holds where nothing was written."""
    sizes = []
    if FILL in header.messages:
        body = header.messages[FILL]
        version, *when, defined = unpack_from("<4B", body)
        if version not in (1, 2) or when[0] > 3 or when[1] > 2 or defined > 1:
            space.fail(f"a fill value of version {version}")
        if defined or version == 1:
            sizes.append((unpack_from("<I", body, 4)[0], len(body) - 8))
    if OLD_FILL in header.messages:
        body = header.messages[OLD_FILL]
        sizes.append((unpack_from("<I", body)[0], len(body) - 4))
    for size, room in sizes:
        if size and (size != stored_size(dtype) or size > room or dtype.hasobject):
            space.fail(f"a fill value of {size} bytes")


def read_filters(space: Space, data: bytes | None, dtype: Type) -> Filters:
    """Return the filters of an array, each with whether it may be left out of a piece."""
    if data is None:
        return []
    version, count = unpack_from("<BB", data)
    found: Filters = []
    at = 8
    if version != 1 or not count:
        space.fail(f"{count} filters of version {version}")
    for _ in range(count):
        kind, name, flags, values = unpack_from("<4H", data, at)
        at += 8 + -(-name // 8) * 8
        settings = unpack_from(f"<{values}I", data, at)
        at += 4 * (values + values % 2)
        shuffle, fletcher = settings == (dtype.itemsize,), not values
        fits = {1: values == 1 and settings[0] <= 9, 2: shuffle, 3: fletcher}
        if not fits.get(kind) or flags > 1 or kind in (k for k, _ in found):
            space.refuse(f"an array packed by filter {kind}")
        found.append((kind, bool(flags)))
    if at > len(data):
        space.fail("filters that do not fit")
    return found


def read_layout(space: Space, header: Header) -> tuple[int, bytes]:
    """Return how an array is stored, contiguous or chunked, and the bytes that say where."""
    body = header.messages[LAYOUT]
    version, kind = unpack_from("<BB", body)
    if version == 4:
        space.refuse_layout()
    if version != 3 or kind not in (CONTIGUOUS, CHUNKED):
        space.refuse(f"an array stored in way {kind} of version {version}")
    return kind, body[2:]
