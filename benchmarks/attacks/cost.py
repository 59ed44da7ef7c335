"""Small files that would cost much: each is answered within five seconds and little memory."""

from __future__ import annotations

import json
import os
import resource
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from attacks._models import Json, archive, dense, functional, hdf5, sequential

SECONDS = 5.0
SPARE_BYTES = 300 * 10**6
# Times the file, beside the spare.
RATIO = 4
# A command that goes on so long is ended.
ENDED = 20
_FACTORIZE = ("factorize", "--rank", "1", "--force", "-o")


def shared_text(path: Path) -> None:
    """Four thousand references to one text of a megabyte."""
    count = 4_000

    def fill(file: h5py.File) -> None:
        words = ["y" * 1_000_000, *["z"] * (count - 1)]
        file.attrs.create("many", words, dtype=h5py.string_dtype())

    data = hdf5(fill)
    first = struct.pack("<I", 1_000_000)
    at = data.index(first, data.index(b"many\0"))
    data[at : at + 16 * count] = bytes(data[at : at + 16]) * count
    path.write_bytes(data)


def claimed_text(path: Path) -> None:
    """A text that claims four gigabytes."""
    mark = "q" * 54_321
    data = hdf5(lambda file: file.attrs.create("long", mark, dtype=h5py.string_dtype()))
    at = data.index(struct.pack("<I", len(mark)), data.index(b"long\0"))
    data[at : at + 4] = b"\xff" * 4
    path.write_bytes(data)


def added(fill: Callable[[h5py.File], Any], **layout: Any) -> Callable[[Path], object]:  # noqa: ANN401
    """Return what writes an HDF5 model with something more in it."""
    return lambda path: path.write_bytes(hdf5(fill, **layout))


def said(config: Callable[[], object], layers: int = 1) -> Callable[[Path], object]:
    """Return what writes an HDF5 model of some architecture."""
    names = ("d",) if layers == 1 else tuple(f"d{n}" for n in range(layers))
    return lambda path: path.write_bytes(hdf5(config=config(), names=names))


def packed(what: str, make: Callable[[], object], **more: Any) -> Callable[[Path], object]:  # noqa: ANN401
    """Return what writes an archive, one part of which `make` makes."""
    return lambda path: archive(path, **{what: make()}, **more)


def never_written(file: h5py.File) -> None:
    """Four hundred arrays of 256 MiB that hold nothing."""
    for n in range(400):
        file.create_dataset(f"model_weights/empty{n}", (2**26 - 1,), "f4")


def zeros(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Callable[[h5py.File], None]:
    """Return what adds an array of packed zeros."""

    def fill(file: h5py.File) -> None:
        made = file.create_dataset("zeros", shape, "f4", chunks=chunks, compression="gzip")
        for start in range(0, shape[0], chunks[0]):
            made[start : start + chunks[0]] = 0

    return fill


def groups(count: int) -> Callable[[h5py.File], None]:
    """Return what adds many groups."""

    def fill(file: h5py.File) -> None:
        many = file.create_group("many")
        for n in range(count):
            many.create_group(str(n))

    return fill


def attributes(count: int) -> Callable[[h5py.File], None]:
    """Return what gives one group many attributes, one after the other in its header."""

    def fill(file: h5py.File) -> None:
        many = file.create_group("many")
        for n in range(count):
            many.attrs[str(n)] = np.int8(1)

    return fill


def nested(file: h5py.File) -> None:
    """Nest groups of long names."""
    group = file
    for _ in range(190):
        group = group.create_group("n" * 1_000)
        for other in range(20):
            group.create_group(str(other))


def dotted_heaps(path: Path) -> None:
    """Write 256 kB of what looks like heaps, one in the other."""
    heap = np.void(b"GCOL\1\0\0\0\0\0\1\0\0\0\0\0" * 2**14)
    path.write_bytes(hdf5(lambda file: file.create_dataset("heaps", data=heap)))


def many_members(count: int) -> Callable[[Path], Path]:
    """Return what writes an archive of many empty members."""

    def write(path: Path) -> Path:
        path = archive(path)
        with zipfile.ZipFile(path, "a") as made:
            info = zipfile.ZipInfo("assets/0")
            made.writestr(info, b"")
            for n in range(count):
                twin = zipfile.ZipInfo(f"assets/{n}x")
                twin.header_offset, twin.CRC, twin.file_size = info.header_offset, 0, 0
                made.filelist.append(twin)
            made._didModify = True  # type: ignore[attr-defined]
        return path

    return write


def overlapping(path: Path) -> Path:
    """Write many members that share the bytes of one."""
    path = archive(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr("assets/0", bytes(2**24 - 1))
        info = made.getinfo("assets/0")
        for n in range(1, 2_000):
            twin = zipfile.ZipInfo(f"assets/{n}")
            twin.compress_type, twin.header_offset = info.compress_type, info.header_offset
            twin.CRC, twin.compress_size, twin.file_size = (
                info.CRC,
                info.compress_size,
                info.file_size,
            )
            made.filelist.append(twin)
        made._didModify = True  # type: ignore[attr-defined]
    return path


def chain(count: int) -> Json:
    """Return a functional model of many Dense in a row."""
    before = ["x", *(f"d{n}" for n in range(count))]
    layers = [dense(f"d{n}", inbound_nodes=[[[before[n], 0, 0, {}]]]) for n in range(count)]
    return functional(layers, [[f"d{count - 1}", 0, 0]])


def fan(count: int, width: int) -> Json:
    """Return a functional model in which each layer adds up the ones before it."""
    layers: list[Json] = []
    for n in range(count):
        links = [["x" if k < 0 else f"a{k}", 0, 0, {}] for k in range(max(n - width, -1), n)]
        entry = {"class_name": "Add", "name": f"a{n}", "config": {"name": f"a{n}"}}
        layers.append(entry | {"inbound_nodes": [links]})
    layers.append(dense("d", inbound_nodes=[[[f"a{count - 1}", 0, 0, {}]]]))
    return functional(layers, [["d", 0, 0]])


def calls(count: int) -> Json:
    """Return a functional model in which one Dense is called many times."""
    nodes = [[["x", 0, 0, {}]], *([["d", n, 0, {}]] for n in range(count))]
    return functional([dense("d", inbound_nodes=nodes)], [["d", count, 0]])


def dolls(depth: int, width: int) -> Json:
    """Return models inside models."""
    model = sequential(dense("d"))
    for n in range(depth):
        model["config"]["name"] = f"m{n}"
        model = sequential(*([model] + [dense(f"e{n}_{k}") for k in range(width)]))
    return model


_FILLED = '{"class_name": "Sequential", "config": {"name": "m", "layers": [%s]}}'
_MEGABYTES = 15 * 2**20


def filled(part: str, size: int = _MEGABYTES) -> str:
    """Return an architecture of one thing over and over."""
    return _FILLED % (part * (size // len(part)) + "0")


def bzipped(path: Path) -> Path:
    """Write assets packed by bzip2, which makes 45 bytes of a megabyte."""
    assets = {f"assets/{n}": bytes(2**24 - 1) for n in range(40)}
    return archive(path, packing=zipfile.ZIP_BZIP2, more=assets)


CASES: dict[str, Callable[[Path], object]] = {
    "text shared": shared_text,
    "text claimed": claimed_text,
    "arrays never written": added(never_written),
    "array of zeros": added(zeros((2**28,), (2**22,))),
    "array of many zeros": added(zeros((2**12, 2**12), (64, 64))),
    "array in a million pieces": added(
        lambda f: f.create_dataset("a", (10**6,), "i1", chunks=(1,))
    ),
    "array in bits": added(
        lambda f: f.create_dataset("a", data=np.zeros(19_000, "i1"), chunks=(1,))
    ),
    "array of a huge shape": added(lambda f: f.create_dataset("a", (2**31, 2**31, 0), "f4")),
    "array of the newest kind": added(lambda f: f.create_dataset("a", (2**50,)), libver="latest"),
    "groups, 19,000": added(groups(19_000)),
    "groups, 100,000": added(groups(100_000)),
    "groups nested": added(nested),
    "attributes, 990": added(attributes(990)),
    "attributes, 5,000": added(attributes(5_000)),
    "heaps inside heaps": dotted_heaps,
    "config of lists": packed("config", lambda: filled("[],", 45_000 * 1000)),
    "config of lists within": packed("config", lambda: filled("[],")),
    "config of objects": packed("config", lambda: filled('{"":0},')),
    "config of pairs": packed("config", lambda: filled('{"a":[]},')),
    "config of words": packed("config", lambda: filled('"ab",')),
    "config of numbers": packed("config", lambda: filled("1e5,")),
    "config of one number": packed("config", lambda: filled("1")),
    "config of one fraction": packed(
        "config", lambda: filled("0.1")[:-3].replace("0.10.1", "11") + "]}}"
    ),
    "config of one word": packed("config", lambda: _FILLED % ('"' + "é" * 7_000_000 + '😀"')),
    "config of escapes": packed("config", lambda: _FILLED % ('"' + "\\u00e9" * 2_500_000 + '"')),
    "config of brackets": packed("config", lambda: _FILLED % ("[" * _MEGABYTES)),
    "config of layers": packed("config", lambda: filled(json.dumps(dense("a")) + ",", 3_000_000)),
    "config in hdf5": said(lambda: filled("[],", 40 * 2**20)),
    "metadata of lists": packed("metadata", lambda: filled("[],", 45_000 * 1000)),
    "provenance of lists": packed("metadata", lambda: {"lrcompress": filled("[],")}),
    "provenance in hdf5": added(lambda f: f.attrs.create("lrcompress", filled("[],", 40 * 2**20))),
    "training config of objects": added(
        lambda f: f.attrs.create("training_config", filled('{"":0},', 40 * 2**20))
    ),
    "layers in a row, 1,000": said(lambda: chain(1_000), 1_000),
    "layers in sequence, 10,000": said(
        lambda: sequential(*(dense(f"d{n}") for n in range(10_000)))
    ),
    "layers of one name, 10,000": said(lambda: sequential(*[dense("d")] * 10_000)),
    "layers that add up": said(lambda: fan(600, 600)),
    "layers called often": said(lambda: calls(50_000)),
    "models in models": said(lambda: dolls(25, 2)),
    "models in models, wide": said(lambda: dolls(25, 400)),
    "weights of zeros": packed(
        "fill", lambda: lambda f: f.create_dataset("zeros", data=np.zeros(2**26, "f4"))
    ),
    "members, 9,000": many_members(9_000),
    "members, 1,500,000": many_members(1_500_000),
    "members in one place": overlapping,
    "members by bzip2": bzipped,
    "members by lzma": packed("more", lambda: {"assets/0": bytes(2**26)}, packing=zipfile.ZIP_LZMA),
    "members just below": packed(
        "more", lambda: {f"assets/{n}": bytes(2**24 - 1) for n in range(40)}
    ),
}


def built(write: Callable[[Path], object], path: Path) -> Path:
    """Build a case in a process of its own: what this one takes would count for those it starts."""
    pid = os.fork()
    if not pid:
        write(path)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        msg = f"{path.parent.name} could not be built"
        raise RuntimeError(msg)
    (made,) = path.parent.iterdir()
    return made


def measure(command: list[str], folder: Path) -> tuple[int, str, float, int]:
    """Return how a command ended, what it said, its CPU seconds and its most memory in bytes."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "lrcompress", *command], stdout=said, stderr=said, cwd=folder,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (ENDED, ENDED)),
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    return process.returncode, text, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def attack(work: Path, count: int | None) -> dict[str, int]:
    """Try the first `count` cases, all by default, with the commands that read a model."""
    found: Counter[str] = Counter()
    for name, write in list(CASES.items())[:count]:
        folder = work / name.replace(" ", "-")
        folder.mkdir()
        path = built(write, folder / "model.h5")
        allowed = SPARE_BYTES + RATIO * path.stat().st_size
        for command in (["inspect"], [*_FACTORIZE, f"out{path.suffix}"]):
            code, text, seconds, most = measure([*command, path.name], folder)
            outcome = {0: "read", 1: "refused"}.get(code, f"bad_exit_{code}")
            found[outcome] += 1
            found["bad_traceback"] += "Traceback" in text
            # What is read to its end may take its time; what is refused may not.
            found["bad_over_time" if code else "read_over_time"] += seconds > SECONDS
            found["bad_over_memory"] += most > allowed
            for left in set(folder.iterdir()) - {path}:
                found["bad_file_left"] += bool(code)
                left.unlink()
            figures = f"{path.stat().st_size} bytes, {seconds:.1f} s, {most / 1e6:.0f} MB"
            last = text.strip()[-150:]
            print(f"{name}: {command[0]}: {outcome}, {figures}: {last!r}", file=sys.stderr)
        path.unlink()
    return {"cases": found["read"] + found["refused"], **dict(sorted(found.items()))}
