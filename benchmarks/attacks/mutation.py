"""HDF5 files of four layouts with one to three places changed, their checksums made right again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import h5py
import numpy as np
from fuzzing.mutating import Case
from fuzzing.pool import run
from fuzzing.trying import FINDINGS

from attacks._models import hdf5

COUNT = 20_000
SEED = 13
_WORKERS = 2
_LAYOUTS: dict[str, dict[str, Any]] = {
    "earliest": {},
    "v110": {"libver": ("v110", "v110")},
    "latest": {"libver": "latest"},
    "tracked": {"libver": "latest", "track_order": True},
}
# What begins with these ends with a checksum; the others are of the old layout.
_SUMMED = re.compile(
    rb"OHDR|OCHK|FRHP|FHDB|FHIB|BTHD|BTIN|BTLF|SMTB|FSHD|FSSE|EAHD|EAIB|EADB|FAHD|FADB|\x89HDF"
)
_OLD = re.compile(rb"TREE|SNOD|HEAP|GCOL|\x89HDF")
_LONGEST = 1_400
_REACH = 200
_MASK = 2**32 - 1
MORE_MEGABYTES = 300


class Base(NamedTuple):
    """A file to start from: its bytes, what checksums cover, and where structures begin."""

    layout: str
    data: bytes
    summed: list[tuple[int, int]]
    places: list[int]


def lookup3(data: bytes) -> int:
    """Return the checksum of HDF5's newer structures (Jenkins, 2006)."""

    def rotated(x: int, by: int) -> int:
        return (x << by | x >> 32 - by) & _MASK

    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    if not data:
        return c
    padded = data + bytes(-len(data) % 12)
    words = [int.from_bytes(padded[at : at + 4], "little") for at in range(0, len(padded), 4)]
    for at in range(0, len(words), 3):
        a, b, c = (a + words[at]) & _MASK, (b + words[at + 1]) & _MASK, (c + words[at + 2]) & _MASK
        if at + 3 == len(words):
            break
        for by in (4, 6, 8, 16, 19, 4):
            a = (a - c & _MASK) ^ rotated(c, by)
            a, b, c = b, c + b & _MASK, a
    for by in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - rotated(b, by) & _MASK
        a, b, c = b, c, a
    return b


def fill(file: h5py.File) -> None:
    """Add what brings in every structure of a layout."""
    weights, square = file["model_weights"], np.arange(400.0).reshape(20, 20)
    for number in range(12):
        weights.attrs[f"extra{number}"] = f"value {number}"
    for number in range(20):
        file.create_group(f"many/group{number}")
        # Beyond ASCII, the old layout too keeps links in a header, or in heaps if they are many.
        file.create_group(f"größen/größe{number}")
    file.create_group("wenige/größe")
    packing = {"compression": "gzip", "shuffle": True, "fletcher32": True}
    weights.create_dataset("filtered", data=square, chunks=(5, 5), maxshape=(None, 20), **packing)
    weights.create_dataset("tree", data=square, chunks=(5, 5), maxshape=(None, None))
    weights.create_dataset("fixed", data=square[0], chunks=(5,))
    weights.create_dataset("strings", data=["abc"] * 10, dtype=h5py.string_dtype())
    for number in range(10):
        weights["fixed"].attrs[f"a{number}"] = number


def summed(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of what a checksum covers; the four bytes behind it hold the sum."""
    for found in _SUMMED.finditer(data):
        start = found.start()
        for stop in range(start + 8, min(start + _LONGEST, len(data) - 4)):
            if data[stop : stop + 4] == lookup3(data[start:stop]).to_bytes(4, "little"):
                yield start, stop
                break


def bases() -> list[Base]:
    """Return a file of each layout."""
    found = []
    for layout, settings in _LAYOUTS.items():
        data = bytes(hdf5(fill, **settings))
        places = [match.start() for match in (*_OLD.finditer(data), *_SUMMED.finditer(data))]
        found.append(Base(layout, data, list(summed(data)), places))
    return found


def make(files: list[Base], index: int) -> Case:
    """Return a case by its number: each layout in turn."""
    rng, base = Random(f"{SEED}:{index}"), files[index % len(files)]
    data = bytearray(base.data)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place = rng.choice(base.places)
        start, stop = place, place + _REACH
        if base.summed and rng.random() < 0.8:
            start, stop = rng.choice(base.summed)
        at = min(rng.randrange(start + 4, stop), len(data) - 9)
        width = rng.choice((1, 1, 1, 2, 4, 8))
        ones = b"\1" + bytes(width - 1)
        data[at : at + width] = rng.choice(
            (bytes(width), b"\xff" * width, rng.randbytes(width), ones)
        )
        for start, stop in base.summed:
            if start <= at < stop:
                data[stop : stop + 4] = lookup3(bytes(data[start:stop])).to_bytes(4, "little")
    return Case(f"{base.layout}.h5", (base.layout,), bytes(data))


def attack(work: Path, count: int | None) -> dict[str, int]:
    """Inspect, factorize, modernize and merge each file within the limits of `fuzzing.pool`."""
    found: Counter[str] = Counter({f"bad_{finding.replace(' ', '_')}": 0 for finding in FINDINGS})
    lowest = None
    for report in run(partial(make, bases()), iter(range(count or COUNT)), work, _WORKERS):
        kind = report.result.split(":")[0].replace(" ", "_")
        found[f"bad_{kind}" if report.result in FINDINGS else f"{report.kinds[0]}_{kind}"] += 1
        if report.result in FINDINGS:
            print(report.index, report.result, report.detail[-2_000:], flush=True)
        elif report.peak_megabytes:
            lowest = min(lowest or report.peak_megabytes, report.peak_megabytes)
            found["bad_over_memory"] += report.peak_megabytes > lowest + MORE_MEGABYTES
    return dict(sorted(found.items()))
