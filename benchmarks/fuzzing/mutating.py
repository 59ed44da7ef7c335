"""One case: a file chosen and changed one to three times, the same for the same seed and number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from fuzzing import members, objects, raw, texts

LARGEST = 1_200_000
_ZIP = b"PK\x03\x04"
_RAW: dict[str, Callable[[Random, bytes], bytes]] = {
    "flip": raw.flip, "structure": raw.structure, "header": raw.header, "overwrite": raw.overwrite,
    "truncate": raw.truncate, "insert": raw.insert, "delete": raw.delete,
}  # fmt: skip
# Families in the order they are applied: what needs a file that opens comes first.
KINDS = (
    *(f"json {kind}" for kind in texts.CHANGES),
    *(f"hdf5 {kind}" for kind in (*objects.CHANGES, "rewrite")),
    *(f"zip {kind}" for kind in (*members.CHANGES, "mixed")),
    *(f"bytes {kind}" for kind in (*_RAW, "splice")),
)
# Share of each family among the changes.
_SHARES = {"json": 4, "hdf5": 4, "zip": 2, "bytes": 3}
_FALLBACK = "bytes flip"


class Case(NamedTuple):
    """A mutated file: what it was made from, what was done, and its bytes."""

    file: str
    kinds: tuple[str, ...]
    data: bytes


def seed_files(folder: Path) -> list[Path]:
    """Return the model files of a folder that are small enough to be tried thousands of times."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in (".h5", ".hdf5", ".keras") and 0 < path.stat().st_size <= LARGEST
    )


def make(files: list[Path], seed: int, index: int) -> Case:
    """Return one case.

    Args:
        files: The files to start from.
        seed: The run.
        index: Number of the case in it.
    """
    rng = Random(f"{seed}:{index}")
    path = rng.choice(files)
    data = path.read_bytes()
    chosen = {_kind(rng, data) for _ in range(rng.choices((1, 2, 3), (6, 3, 1))[0])}
    done = []
    for kind in sorted(chosen, key=KINDS.index):
        try:
            data = apply(rng, data, kind, files)
        except Exception:  # not every change fits every file
            kind = _FALLBACK
            data = raw.flip(rng, data)
        done.append(kind)
        if not data:
            break
    return Case(path.name, tuple(done), data)


def _kind(rng: Random, data: bytes) -> str:
    """Return a kind of change that fits the format."""
    families = [f for f in _SHARES if f != "zip" or data.startswith(_ZIP)]
    family = rng.choices(families, [_SHARES[f] for f in families])[0]
    return rng.choice([kind for kind in KINDS if kind.startswith(family)])


def apply(rng: Random, data: bytes, kind: str, files: list[Path]) -> bytes:
    """Return `data` with one change; raises whatever it raises where the change does not fit."""
    family, name = kind.split()
    zipped = data.startswith(_ZIP)
    if family == "json":
        return _json(rng, data, name)
    if family == "hdf5":
        if zipped:
            return members.edit(data, members.WEIGHTS, lambda w: objects.change(rng, w, name))
        return objects.change(rng, data, name)
    if family == "zip":
        if name == "mixed":
            return members.mixed(rng, data, _other(rng, files, ".keras"))
        return members.CHANGES[name](rng, data)
    if name == "splice":
        return raw.splice(rng, data, _other(rng, files, ""))
    return _RAW[name](rng, data)


def _json(rng: Random, data: bytes, name: str) -> bytes:
    """Change one of the JSON texts of a file."""
    if not data.startswith(_ZIP):
        return objects.change_text(rng, data, lambda text: texts.change(rng, text, name))
    member = rng.choices((members.CONFIG, members.METADATA), (5, 1))[0]
    return members.edit(data, member, lambda text: texts.change(rng, text, name).encode())


def _other(rng: Random, files: list[Path], suffix: str) -> bytes:
    """Return the bytes of another file."""
    return rng.choice([path for path in files if path.name.endswith(suffix)]).read_bytes()
