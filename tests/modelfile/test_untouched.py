"""Arrays of every kind pass into the new file as they are, bit by bit, packed as they were."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from lrcompress.errors import ModelFileError, OutputError
from lrcompress.modelfile import Replacement, find_head, open_model, write_replaced
from lrcompress.modelfile.hdf5.space import WriteWindow
from lrcompress.modelfile.rewrite import write as writing

if TYPE_CHECKING:
    from tests.modelfile.conftest import Maker

EXTRA = "model_weights/extra"
RNG = np.random.default_rng(3)
LARGE = RNG.normal(size=(700, 500)).astype("float32")


def add_kinds(group: h5py.Group) -> None:
    """Add an array of every kind that HDF5 stores in a way of its own."""
    group.create_dataset("contiguous", data=LARGE)
    group.create_dataset("big_endian", data=LARGE.astype(">f8"))
    group.create_dataset("chunked", data=LARGE, chunks=(100, 77))
    group.create_dataset(
        "packed", data=np.round(LARGE), chunks=(64, 64), compression="gzip", shuffle=True,
        fletcher32=True, maxshape=(None, 500), fillvalue=7,
    )  # fmt: skip
    half_written = group.create_dataset("sparse", (300, 300), "f4", chunks=(10, 10), fillvalue=3)
    half_written[:15, :15] = 1
    group.create_dataset("empty", data=np.empty((0, 5), "float32"))
    group.create_dataset("never_written", (4, 4), "float16")
    group.create_dataset("scalar", data=np.float64(2.5))
    group.create_dataset("truth", data=np.array([True, False]))
    group.create_dataset("words", data=["naïve", "", "b"], dtype=h5py.string_dtype())
    group.create_dataset("fixed", data=np.array([b"ab", b"c"]))
    group.create_dataset("not_numbers", data=np.full((300, 300), np.nan))
    marked = group.create_dataset("bfloat16", data=LARGE.view("V2"))
    marked.attrs["dtype"] = "bfloat16"
    marked.attrs["note"] = np.arange(3, dtype=">i2")
    marked.attrs["nothing"] = h5py.Empty("f4")
    timed = group.create_dataset("timed", data=LARGE, track_times=True)
    timed.attrs["units"] = np.bytes_(b"m\0")


@contextlib.contextmanager
def weights(path: Path) -> Iterator[h5py.File]:
    """Open the weights of a model file of either format."""
    with contextlib.ExitStack() as stack:
        source: Any = path
        if zipfile.is_zipfile(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            source = stack.enter_context(archive.open("model.weights.h5"))
        yield stack.enter_context(h5py.File(source))


def described(dataset: h5py.Dataset) -> dict[str, Any]:
    """Return all that HDF5 knows of an array."""
    return {
        "type": dataset.id.get_type().encode(),
        "shape": (dataset.shape, dataset.maxshape),
        "made": (dataset.chunks, dataset.compression, dataset.shuffle, dataset.fletcher32),
        "fill": repr(dataset.fillvalue),
        "stored": dataset.id.get_storage_size(),
        "values": repr(dataset[()].tolist())
        if dataset.dtype.kind == "O"
        else dataset[()].tobytes(),
        "attributes": {
            name: (dataset.attrs.get_id(name).get_type().encode(), repr(dataset.attrs[name]))
            for name in dataset.attrs
        },
    }


@pytest.fixture(params=["hdf5", "keras", "deflated"])
def model(request: pytest.FixtureRequest, make: Maker) -> Path:
    """Return a model file with arrays of every kind."""
    if request.param == "hdf5":
        path = make.small_hdf5()
        with h5py.File(path, "r+") as file:
            add_kinds(file.create_group(EXTRA))
        return path
    compression = zipfile.ZIP_DEFLATED if request.param == "deflated" else zipfile.ZIP_STORED
    path, inner = make.small_keras(), make.folder / "inner.h5"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    inner.write_bytes(members["model.weights.h5"])
    with h5py.File(inner, "r+") as file:
        add_kinds(file.create_group(EXTRA))
    members["model.weights.h5"] = inner.read_bytes()
    inner.unlink()
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def halve(path: Path, output: Path) -> None:
    """Write a copy of a model file in which its head has rank 2."""
    opened = open_model(path)
    head = find_head(opened)
    rng, (m, n) = np.random.default_rng(1), head.kernel_shape
    factors = Replacement(head, rng.normal(size=(m, 2)), rng.normal(size=(2, n)))
    write_replaced(opened, [factors], output)


def test_nothing_about_an_array_is_lost(model: Path, tmp_path: Path) -> None:
    """Type, shape, chunks, filters, fill value, attributes and every bit are those of the input."""
    output = tmp_path / f"out{model.suffix}"

    halve(model, output)

    with weights(model) as old, weights(output) as new:
        assert set(old[EXTRA]) == set(new[EXTRA])
        for name in old[EXTRA]:
            assert described(new[EXTRA][name]) == described(old[EXTRA][name]), name


def test_the_archive_is_sound(model: Path, tmp_path: Path) -> None:
    """A zip reader of its own finds every member's checksum right."""
    output = tmp_path / f"out{model.suffix}"

    halve(model, output)

    if zipfile.is_zipfile(output):
        with zipfile.ZipFile(output) as archive:
            assert archive.testzip() is None


def test_two_runs_give_the_same_bytes(model: Path, tmp_path: Path) -> None:
    """No memory that was not written to and no time reaches the file."""
    outputs = [tmp_path / f"{n}{model.suffix}" for n in "ab"]

    for output in outputs:
        halve(model, output)

    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_large_member_has_the_longer_header(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the limit of the plain zip format the sizes stand in an extra field."""
    path = make.small_keras()
    halve(path, tmp_path / "plain.keras")
    monkeypatch.setattr(writing, "_LARGE_BYTES", 0)

    halve(path, tmp_path / "large.keras")

    plain, large = tmp_path / "plain.keras", tmp_path / "large.keras"
    with zipfile.ZipFile(large) as archive:
        assert archive.testzip() is None
        members = len(archive.namelist())
    assert large.stat().st_size == plain.stat().st_size + 20 * members
    assert open_model(large).config == open_model(plain).config


@pytest.mark.parametrize("room", [2_000, 100_000, 400_000, 700_000])
def test_many_layers_on_a_full_disk(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """More structures than HDF5 likes to remember, and a disk that fills up anywhere in them."""
    names = [f"layer_{number}" for number in range(300)]
    config = make.sequential(make.input(), *(make.dense(name, 6) for name in names))
    path = make.hdf5(config, {name: make.pair(name, 6, 6) for name in names})
    put = WriteWindow._put

    def take(self: Any, piece: memoryview) -> None:
        if self.tell() + len(piece) > room:
            raise OSError(28, "No space left on device")
        put(self, piece)

    monkeypatch.setattr(WriteWindow, "_put", take)

    with pytest.raises(OutputError, match="No space left"):
        halve(path, tmp_path / "out.h5")

    assert list(tmp_path.iterdir()) == [path]


def cut(path: Path) -> None:
    """Cut a file off in the middle."""
    os.truncate(path, path.stat().st_size // 2)


def touch_up(path: Path) -> None:
    """Change one byte of the large array, as another program would, in the file's own place."""
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(content.index(LARGE.tobytes()) + 1_000)
        file.write(b"\xff\xff\xff\xff")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("model", ["hdf5", "keras"], indirect=True)
@pytest.mark.parametrize("disturb", [cut, touch_up, Path.unlink])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_input_that_changes_meanwhile(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    disturb: Callable[[Path], None],
    when: str,
) -> None:
    """An input cut off, changed or removed while it is copied is what the message is about."""
    write = writing.write_plan

    def disturbed(*arguments: Any) -> None:
        if when == "before":
            disturb(model)
        write(*arguments)
        if when == "after":
            disturb(model)

    monkeypatch.setattr(writing, "write_plan", disturbed)

    with pytest.raises(ModelFileError, match=r"changed while|damaged") as caught:
        halve(model, tmp_path / "out.h5")

    assert caught.value.code in ("changed", "config", "truncated")
    assert [p for p in tmp_path.iterdir() if p != model] == []


def test_a_compressed_archive_that_cannot_be_unpacked(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk for temporary files is not taken for a damaged archive."""
    path = make.small_keras(compression=zipfile.ZIP_DEFLATED)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lrcompress.modelfile.container.shutil.copyfileobj", full)

    with pytest.raises(ModelFileError, match=r"cannot be unpacked into .*No space left") as caught:
        open_model(path)

    assert caught.value.code == "unpacking"
