"""Damaged and hostile HDF5: read or refused in one line before HDF5 itself sees it."""

from __future__ import annotations

import os
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from lrcompress.modelfile.container import opened
from tests.modelfile.conftest import refusal

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def changed(path: Path, mark: bytes, offset: int, value: bytes) -> Path:
    """Overwrite bytes at an offset from the first place of a mark."""
    data = bytearray(path.read_bytes())
    at = data.index(mark) + offset
    data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "settings",
    [{"libver": "v108"}, {"libver": "v110"}, {"libver": "latest"}, {"track_order": True},
     {"fs_strategy": "page", "fs_persist": True}],
)  # fmt: skip
def test_the_newer_layout_is_refused_and_says_what_to_do(
    make: Maker, settings: dict[str, Any]
) -> None:
    """Superblocks, object headers and groups of HDF5 1.8 and later: Keras writes none of them."""
    old, new = make.small_hdf5(), make.folder / "new.h5"
    with h5py.File(old) as source, h5py.File(new, "w", **settings) as target:
        target.attrs.update(source.attrs)
        for name in source:
            source.copy(name, target)

    error = refusal(new)

    assert error.code == "hostile"
    assert "save it again" in str(error)


def test_a_group_of_the_newer_layout_in_an_old_file_is_refused(make: Maker) -> None:
    """The beginning of the file does not decide it alone."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        file.create_group("more", track_order=True)

    assert refusal(path).code == "hostile"


def test_what_h5py_writes_by_default_is_read(make: Maker) -> None:
    """Names and text beyond ASCII, hundreds of entries, big-endian, text, a user block."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        extra = file.create_group("model_weights/größe/層")
        extra.attrs["ö"] = ["é", "", "x" * 3_000]
        for n in range(700):
            extra.create_group(f"{n * 7_919 % 700}")
        for n in range(0, 700, 3):
            del extra[str(n)]
        extra["words"] = ["a", "", "b" * 5_000]
        extra["wide"] = np.arange(6, dtype=">f8").reshape(2, 3)
        extra["truth"] = np.array([True, False])
    behind = make.folder / "behind.h5"
    with h5py.File(path) as source, h5py.File(behind, "w", userblock_size=1024) as target:
        target.attrs.update(source.attrs)
        for name in source:
            source.copy(name, target)

    for file_path in (path, behind):
        with opened(file_path) as model, h5py.File(file_path) as file:
            found: set[str] = set()
            file.visit(found.add)
            assert found == {*model.index.groups, *model.index.arrays}
            words = model.index.arrays["model_weights/größe/層/wide"]
            assert (words.shape, words.dtype, words.stored) == ((2, 3), "float64", 48)


@pytest.mark.parametrize("count", [8, 9, 60, 1_200])
def test_groups_of_names_beyond_ascii_are_read(make: Maker, count: int) -> None:
    """HDF5 lists such names in the header; from nine on in a heap, found by a tree of its own."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        group = file.create_group("model_weights/größen")
        for n in range(count):
            group.create_group(f"größe_{n}")

    with opened(path) as model:
        found = {name for name in model.index.groups if name.startswith("model_weights/größen/")}

    assert found == {f"model_weights/größen/größe_{n}" for n in range(count)}


@pytest.mark.parametrize(
    ("mark", "offset", "value"),
    [
        (b"FRHP", 110, b"\0"),  # a heap of no width
        (b"FRHP", 132, b"\xff" * 8),  # a heap outside the file
        (b"FHIB", 17, b"\xff" * 8),  # no first block
        (b"FHDB", 5, b"\xff"),  # a block of another heap
        (b"BTHD", 12, b"\xff"),  # a tree without end
        (b"BTHD", 16, b"\xff" * 8),  # a tree outside the file
        (b"BTIN", 6 + 5, b"\xff" * 4),  # a link outside its heap
        (b"BTLF", 6 + 5, b"\xff" * 4),
    ],
)
def test_damage_in_heaps_of_links_is_found(
    make: Maker, mark: bytes, offset: int, value: bytes
) -> None:
    """The structures behind names beyond ASCII are checked as the others are."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        for n in range(60):
            file.create_group(f"model_weights/größen/größe_{n}")

    assert refusal(changed(path, mark, offset, value)).code in ("truncated", "hostile")


@pytest.mark.parametrize(
    ("mark", "offset", "value"),
    [
        (b"TREE", 4, b"\1"),  # another kind of tree
        (b"TREE", 5, b"\1"),  # a level that its children do not have
        (b"TREE", 6, b"\xff\xff"),  # more entries than fit
        (b"TREE", 16, bytes(8)),  # a neighbour
        (b"TREE", 32, b"\xff" * 8),  # a child outside the file
        (b"SNOD", 6, b"\x09\0"),  # more names than fit
        (b"SNOD", 8, b"\xff\xff"),  # a name outside its heap
        (b"SNOD", 32, b"\xff" * 8),  # a group that lists elsewhere
        (b"HEAP", 8, b"\xff" * 8),  # a heap larger than the file
        (b"HEAP", 24, bytes(8)),  # names where the file begins
        (b"GCOL", 8, b"\xff" * 8),  # text without end
        (b"GCOL", 24, b"\xff" * 8),  # one text larger than all
        (b"\x89HDF", 13, b"\4"),  # addresses of four bytes
        (b"\x89HDF", 16, b"\0"),  # nodes of no names
        (b"\x89HDF", 64, b"\xff" * 8),  # no root
    ],
)
def test_damage_is_found_before_hdf5_reads_it(
    make: Maker, mark: bytes, offset: int, value: bytes
) -> None:
    """One structure after the other says something wrong."""
    error = refusal(changed(make.small_hdf5(), mark, offset, value))

    assert error.code == "truncated"
    assert "is damaged" in str(error)


def test_a_list_of_free_places_that_ends_nowhere_is_refused(make: Maker) -> None:
    """The free places of a heap lead in a circle, in which HDF5 would walk for ever."""
    path = make.small_hdf5()
    data = bytearray(path.read_bytes())
    heap = data.index(b"HEAP")
    segment = int.from_bytes(data[heap + 24 : heap + 32], "little")
    free = int.from_bytes(data[heap + 16 : heap + 24], "little")
    data[segment + free : segment + free + 8] = free.to_bytes(8, "little")
    path.write_bytes(data)

    assert refusal(path).code == "truncated"


def many_texts(make: Maker, count: int, length: int) -> tuple[Path, int]:
    """Write a model with a list of texts, the first of some length; return where references are."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        words = ["y" * length, *["z"] * (count - 1)]
        file.attrs.create("many", words, dtype=h5py.string_dtype())
    data = path.read_bytes()
    return path, data.index(struct.pack("<I", length), data.index(b"many\0"))


def test_texts_that_share_a_place_are_refused(make: Maker) -> None:
    """1.3 MB would become four gigabytes: each reference would be read by itself."""
    path, at = many_texts(make, 4_000, 1_000_000)
    data = bytearray(path.read_bytes())
    data[at : at + 16 * 4_000] = bytes(data[at : at + 16]) * 4_000
    path.write_bytes(data)

    assert refusal(path).code == "hostile"


def test_a_text_that_claims_more_than_there_is_is_refused(make: Maker) -> None:
    """55 kB that claim four gigabytes."""
    path, at = many_texts(make, 1, 54_321)
    data = bytearray(path.read_bytes())
    data[at : at + 4] = b"\xff" * 4
    path.write_bytes(data)

    assert refusal(path).code == "truncated"


def test_arrays_that_hold_nothing_count_together(make: Maker) -> None:
    """Four hundred arrays just under a limit for each took a minute to read."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        for n in range(400):
            file.create_dataset(f"model_weights/{n}", (2**26 - 1,), "f4")

    assert refusal(path).code == "hostile"


@pytest.mark.parametrize("packing", [{}, {"compression": "gzip"}, {"fletcher32": True}])
def test_a_chunk_of_another_size_is_refused(make: Maker, packing: dict[str, Any]) -> None:
    """HDF5 would take what is behind a short chunk for a part of it."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        made = file.create_dataset("more", data=np.arange(64.0), chunks=(16,), **packing)
        size = made.id.get_chunk_info(1).size
        place = made.id.get_chunk_info(1).byte_offset
    data = bytearray(path.read_bytes())
    key = data.index(struct.pack("<IIQ", size, 0, 16))
    data[key : key + 4] = struct.pack("<I", size - 8)
    assert place
    path.write_bytes(data)

    assert refusal(path).code == "truncated"


def test_a_damaged_packed_chunk_is_called_damage(make: Maker) -> None:
    """What zlib says of it does not matter to the user, and gets the code of all damage."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        made = file.create_dataset("more", data=np.arange(64.0), chunks=(16,), compression="gzip")
        place = made.id.get_chunk_info(1).byte_offset
    with path.open("r+b") as raw:
        raw.seek(place)
        raw.write(b"\xff" * 8)

    assert refusal(path).code == "truncated"


@pytest.mark.parametrize("compression", ["lzf", "szip"])
def test_packing_that_keras_never_uses_is_refused(make: Maker, compression: str) -> None:
    """Filters other than shuffle, deflate and Fletcher's checksum are not handed on."""
    if compression == "szip" and not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP):
        pytest.skip("this h5py has no szip")
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        file.create_dataset("more", data=np.zeros(64), chunks=(64,), compression=compression)

    assert refusal(path).code == "hostile"


def test_an_error_at_closing_is_one_of_ours(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 may say at the very end that it cannot let go of an object."""
    path = make.small_hdf5()

    def fail(file: h5py.File) -> None:
        msg = "Can't decrement id ref count"
        raise RuntimeError(msg)

    with monkeypatch.context() as patched:
        patched.setattr(h5py.File, "close", fail)
        assert refusal(path).code == "config"


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the pool bounds memory as Linux does"
)
def test_mutated_files_of_every_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice of benchmarks/attack.py mutation: no signal, no traceback, no hang, no file left."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join((str(BENCHMARKS), os.environ.get("PYTHONPATH", "")))
    )
    from attacks.mutation import attack

    found = Counter(attack(tmp_path, 200))

    assert not any(n for name, n in found.items() if name.startswith("bad_"))
    assert found["earliest_compressed"] > 5
    assert found["earliest_refused"] > 5
    assert sum(n for name, n in found.items() if name.endswith(("compressed", "refused"))) == 200
