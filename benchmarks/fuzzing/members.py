"""Mutations of a zip archive: its members, and what its headers say about them."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Callable
from random import Random

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_DATE = (1980, 1, 1, 0, 0, 0)
_NAMES = (
    "../x", "/x", "a/../../x", "..\\x", "C:\\x", "assets/x", "x.npz", "data.pkl", "a/data.pkl", "é",
    "config.json ", "CONFIG.JSON", "./config.json", "assets/", "a\nb", "x" * 60_000,
)  # fmt: skip
Members = list[tuple[str, bytes]]


def unpack(data: bytes) -> Members:
    """Return all members in order."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def pack(members: Members, compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive of some members, dated as always."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns about two of one name
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content in members:
                info = zipfile.ZipInfo(name, _DATE)
                archive.writestr(info, content, compression)
    return buffer.getvalue()


def edit(data: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """Return the archive with one member changed."""
    return pack([(n, change(c) if n == name else c) for n, c in unpack(data)])


def rename(rng: Random, data: bytes) -> bytes:
    """Give a member another name."""
    members = unpack(data)
    at = rng.randrange(len(members))
    members[at] = (rng.choice(_NAMES), members[at][1])
    return pack(members)


def double(rng: Random, data: bytes) -> bytes:
    """Put a member in twice."""
    members = unpack(data)
    return pack([*members, rng.choice(members)])


def drop(rng: Random, data: bytes) -> bytes:
    """Leave a member out."""
    members = unpack(data)
    del members[rng.randrange(len(members))]
    return pack(members)


def extra(rng: Random, data: bytes) -> bytes:
    """Add members that are not asked for."""
    more = [(rng.choice(_NAMES), rng.randbytes(rng.choice((0, 9, 5_000)))) for _ in range(2)]
    return pack(unpack(data) + more[: rng.randint(1, 2)])


def packing(rng: Random, data: bytes) -> bytes:
    """Pack the members: legal for zip, though Keras stores them."""
    return pack(
        unpack(data), rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    )


def bomb(rng: Random, data: bytes) -> bytes:
    """Let a member grow enormously when it is unpacked."""
    members = unpack(data)
    name = rng.choice((CONFIG, METADATA, WEIGHTS, "assets/zeros"))
    size = rng.choice((2**22, 2**25, 2**27))
    zeros = rng.choice((b" ", b"\0", b"[")) * size
    old = dict(members).get(name, b"")
    return pack(
        [m for m in members if m[0] != name] + [(name, old + zeros)],
        rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)),
    )


def mixed(rng: Random, data: bytes, other: bytes) -> bytes:
    """Take one member from another archive."""
    theirs = dict(unpack(other))
    name = rng.choice((CONFIG, WEIGHTS, METADATA))
    return edit(data, name, lambda _: theirs[name])


def header(rng: Random, data: bytes) -> bytes:
    """Make a field of a local or central header say something wrong: flags, sums, sizes, places."""
    changed = bytearray(data)
    central = rng.random() < 0.6
    signature = b"PK\x01\x02" if central else b"PK\x03\x04"
    places = []
    at = data.find(signature)
    while at >= 0:
        places.append(at)
        at = data.find(signature, at + 1)
    shift = 2 if central else 0
    # Offset and width: version, flags, method, checksum, both sizes, lengths of name and extra.
    fields = [(4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)]
    offset, width = rng.choice([(o + shift, w) for o, w in fields] + ([(42, 4)] if central else []))
    start = rng.choice(places) + offset
    old = int.from_bytes(changed[start : start + width], "little")
    limit = 256**width
    value = rng.choice(
        (
            0,
            1,
            8,
            9,
            99,
            old ^ 1,
            old + 1,
            old - 1,
            old * 2,
            limit - 1,
            limit // 2,
            rng.randrange(limit),
        )
    )
    changed[start : start + width] = (value % limit).to_bytes(width, "little")
    return bytes(changed)


def ending(rng: Random, data: bytes) -> bytes:
    """Make the end record say something wrong, or put something before or after the archive."""
    at = data.rfind(b"PK\x05\x06")
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(100) + data
    if kind == 1:
        return data + rng.randbytes(rng.choice((1, 100, 70_000)))
    changed = bytearray(data)
    offset, form = rng.choice(((8, "<H"), (10, "<H"), (12, "<I"), (16, "<I"), (20, "<H")))
    (old,) = struct.unpack_from(form, changed, at + offset)
    limit = 256 ** struct.calcsize(form)
    value = rng.choice((0, old + 1, old - 1, limit - 1, rng.randrange(limit))) % limit
    struct.pack_into(form, changed, at + offset, value)
    return bytes(changed)


CHANGES: dict[str, Callable[[Random, bytes], bytes]] = {
    "rename": rename, "double": double, "drop": drop, "extra": extra, "packing": packing,
    "bomb": bomb, "header": header, "ending": ending,
}  # fmt: skip
