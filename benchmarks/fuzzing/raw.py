"""Mutations of a file as bytes, most of them where a format keeps its structure."""

from __future__ import annotations

from random import Random

# Where HDF5 and zip keep what leads to everything else.
_SIGNATURES = (
    b"\x89HDF", b"TREE", b"HEAP", b"SNOD", b"GCOL", b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"BTHD",
    b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06",
)  # fmt: skip
_REACH = 160
_ODD_BYTES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)


def flip(rng: Random, data: bytes) -> bytes:
    """Flip one to eight bits anywhere."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def structure(rng: Random, data: bytes) -> bytes:
    """Change one to four bytes behind a signature of the format: headers, trees, heaps."""
    places = []
    for signature in _SIGNATURES:
        at = data.find(signature)
        while at >= 0:
            places.append(at)
            at = data.find(signature, at + 1)
    changed = bytearray(data)
    start = rng.choice(places)
    for _ in range(rng.randint(1, 4)):
        at = start + rng.randrange(_REACH)
        if at < len(changed):
            changed[at] = rng.choice(_ODD_BYTES) if rng.random() < 0.5 else rng.randrange(256)
    return bytes(changed)


def header(rng: Random, data: bytes) -> bytes:
    """Change one to four of the first two thousand bytes."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(min(len(changed), 2048))] = rng.randrange(256)
    return bytes(changed)


def overwrite(rng: Random, data: bytes) -> bytes:
    """Overwrite a run with one value or with noise."""
    start, length = rng.randrange(len(data)), rng.randint(1, 4096)
    length = min(length, len(data) - start)
    noise = bytes([rng.choice(_ODD_BYTES)]) * length
    if rng.random() < 0.5:
        noise = rng.randbytes(length)
    return data[:start] + noise + data[start + length :]


def truncate(rng: Random, data: bytes) -> bytes:
    """Cut the end off."""
    return data[: rng.randrange(len(data))]


def insert(rng: Random, data: bytes) -> bytes:
    """Put noise in between, or in front where a format allows it."""
    at = rng.choice((0, rng.randrange(len(data))))
    return data[:at] + rng.randbytes(rng.choice((1, 8, 512, rng.randint(1, 4096)))) + data[at:]


def delete(rng: Random, data: bytes) -> bytes:
    """Take a run out."""
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 4096) :]


def splice(rng: Random, data: bytes, other: bytes) -> bytes:
    """Go on with another file from some place."""
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
