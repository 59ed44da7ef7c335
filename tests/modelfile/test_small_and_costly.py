"""Small files that would cost much memory or time: refused before they do."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from lrcompress.modelfile import open_model
from lrcompress.modelfile.container import MAX_MEMBERS
from tests.modelfile.conftest import refusal

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker

FILLED = '{"class_name": "Sequential", "config": {"name": "m", "layers": [%s0]}}'


def refused(path: Path, most: int = 100_000_000) -> str:
    """Return the code with which a file is refused, by Python's memory of at most `most` bytes."""
    tracemalloc.start(1)
    try:
        code = refusal(path).code
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    return code


def packed(make: Maker, packing: int = zipfile.ZIP_DEFLATED, **members: str | bytes) -> Path:
    """Return the small archive with other or more members."""
    path = make.small_keras()
    with zipfile.ZipFile(path) as archive:
        parts: dict[str, str | bytes] = {n: archive.read(n) for n in archive.namelist()}
    named = {"config": "config.json", "metadata": "metadata.json"}
    parts |= {named.get(name, name): content for name, content in members.items()}
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("item", ["[],", "{},", '{"":0},', '"ab",', "1,"])
@pytest.mark.parametrize("place", ["config", "metadata", "hdf5"])
def test_json_of_small_items_is_refused_unparsed(make: Maker, item: str, place: str) -> None:
    """A config of `[],` (45 kB) took 1.7 GB."""
    text = FILLED % (item * (15_000_000 // len(item)))
    if place == "hdf5":
        path = make.small_hdf5()
        with h5py.File(path, "r+") as file:
            file.attrs["model_config"] = text
    else:
        path = packed(make, **{place: text})

    assert refused(path) == "hostile"


def test_a_number_of_many_digits_is_refused(make: Maker) -> None:
    """Python of 3.10 turns digits into a number in quadratic time."""
    assert refused(packed(make, config=FILLED % ("1" * 5_000))) == "config"


def test_a_vocabulary_of_a_million_words_is_read(make: Maker) -> None:
    """The limit leaves room for what real configs hold."""
    config = make.sequential(
        make.input(), make.dense("hidden", 8), make.dense("probs", 5),
        make.layer("ReLU", "r", vocabulary=[str(n) for n in range(1_000_000)]),
    )  # fmt: skip

    path = packed(make, zipfile.ZIP_STORED, config=json.dumps(config))

    assert len(open_model(path).layers) == 4


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_other_than_deflate_is_refused(make: Maker, packing: int) -> None:
    """64 kB by bzip2 became 1.7 GB of assets."""
    assert refused(packed(make, packing, **{"assets/a": bytes(2**20)})) == "hostile"


def test_members_count_together(make: Maker) -> None:
    """Each of them just under a limit of its own is no way around it."""
    path = packed(make, **{f"assets/{n}": bytes(2**22) for n in range(6)})

    assert path.stat().st_size < 2**17
    assert refused(path) == "hostile"


def listed(make: Maker, count: int, size: int) -> Path:
    """Return an archive whose list has members more, all of them at one place."""
    path = packed(make, **{"assets/a": bytes(size)})
    with zipfile.ZipFile(path, "a") as archive:
        first = archive.getinfo("assets/a")
        for n in range(count):
            twin = zipfile.ZipInfo(f"assets/{n}")
            twin.header_offset, twin.compress_type = first.header_offset, first.compress_type
            twin.CRC, twin.file_size, twin.compress_size = first.CRC, size, first.compress_size
            archive.filelist.append(twin)
        archive.writestr("assets/last", b"")
    return path


def test_a_list_of_members_is_bounded_before_it_is_read(make: Maker) -> None:
    """1.5 million members took a gigabyte before they were counted."""
    assert refused(listed(make, 10 * MAX_MEMBERS, 0), 20_000_000) == "hostile"


def test_members_may_not_share_their_bytes(make: Maker) -> None:
    """Two members at one place cost the file once and the reader twice."""
    assert refused(listed(make, 2, 1_000)) == "hostile"


def test_an_array_just_under_the_packing_of_deflate_is_refused(make: Maker) -> None:
    """Zeros packed 999 times: a hundred kilobytes become a hundred megabytes."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        made = file.create_dataset("more", (25, 2**20), "f4", chunks=(1, 2**20), compression="gzip")
        made[:] = 1

    assert path.stat().st_size < 2**18
    assert refused(path) == "hostile"


def test_a_packed_archive_does_not_multiply_packed_arrays(make: Maker) -> None:
    """The limit goes by the file on the disk, also where the weights within are packed twice."""
    weights = io.BytesIO(bytes(zipfile.ZipFile(make.small_keras()).read("model.weights.h5")))
    with h5py.File(weights, "r+") as file:
        file["zeros"] = np.zeros(10_000_000, "i1")
        made = file.create_dataset("more", (25, 2**20), "f4", chunks=(1, 2**20), compression="gzip")
        made[:] = 1

    assert refused(packed(make, **{"model.weights.h5": weights.getvalue()})) == "hostile"


def test_attributes_of_one_object_are_bounded(make: Maker) -> None:
    """HDF5 searches them one by one for each."""
    path = make.small_hdf5()
    with h5py.File(path, "r+") as file:
        for n in range(1_001):
            file["model_weights"].attrs[str(n)] = 0

    assert refused(path) == "hostile"
