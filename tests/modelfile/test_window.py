"""Parts of files that HDF5 reads and writes as files of their own."""

from __future__ import annotations

import errno
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from lrcompress.modelfile.hdf5.space import ReadWindow, WriteWindow

Fill = Callable[[WriteWindow], None]


class Disk(io.FileIO):
    """A file that takes at most `room` bytes, at most `piece` at a time."""

    def __init__(self, path: Path, room: int = 10**9, piece: int = 10**9) -> None:
        super().__init__(path, "w+")
        self.room, self.piece = room, piece

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        """Write a part of the data, or fail as a full disk does."""
        count = min(len(data), self.piece, self.room - self.tell())
        if count <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(bytes(data[:count]))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Disk]]:
    """Return a function that opens a disk of some size."""
    opened: list[Disk] = []

    def open_disk(**limits: int) -> Disk:
        opened.append(Disk(tmp_path / f"{len(opened)}", **limits))
        return opened[-1]

    yield open_disk
    for file in opened:
        file.close()


def fill(window: io.RawIOBase | io.BytesIO) -> None:
    """Write an HDF5 file with small and large arrays and many groups."""
    rng = np.random.default_rng(0)
    with h5py.File(window, "w") as file:
        for number in range(40):
            group = file.create_group(f"layers/layer_{number}/vars")
            group.attrs["name"] = "x" * 500
            group.create_dataset("0", data=rng.normal(size=30), track_times=False)
        file.create_dataset("large", data=rng.normal(size=40_000), track_times=False)


def test_a_disk_that_takes_little_at_a_time(disk: Callable[..., Disk]) -> None:
    """A write that the system takes in parts is written to its end."""
    whole, parts = disk(), disk(piece=777)

    for file in (whole, parts):
        window = WriteWindow(file)
        fill(window)
        window.check()

        assert window.size == file.seek(0, io.SEEK_END)
    alone = io.BytesIO()
    fill(alone)
    whole.seek(0)
    parts.seek(0)
    assert parts.readall() == whole.readall() == alone.getvalue()


@pytest.mark.parametrize("room", [0, 100, 5_000, 50_000, 200_000, 370_000])
def test_hdf5_never_hears_of_a_full_disk(disk: Callable[..., Disk], room: int) -> None:
    """Whatever HDF5 does after the disk is full succeeds, closing included; then the error is told."""
    window = WriteWindow(disk(room=room))

    fill(window)

    with pytest.raises(OSError, match="No space left"):
        window.check()


def test_the_first_error_is_told(disk: Callable[..., Disk]) -> None:
    """What stopped the writing is not hidden by what follows from it."""
    window = WriteWindow(disk())

    window.fail(KeyboardInterrupt())
    window.fail(OSError(errno.EIO, "too late"))
    window.write(memoryview(b"more"))

    assert window.size == 4
    with pytest.raises(KeyboardInterrupt):
        window.check()


def test_a_part_is_read_within_its_ends(tmp_path: Path) -> None:
    """Nothing before or behind the window is ever given."""
    path = tmp_path / "file"
    path.write_bytes(b"before, the part, after")
    with path.open("rb") as file:
        window = ReadWindow(file, 8, 8)

        assert window.read() == b"the part"
        assert window.read_at(4, 100) == b"part"
        assert window.read_at(9, 1) == b""
        assert window.seek(-4, io.SEEK_END) == 4
        assert window.read(2) == b"pa"
        assert window.crc() == zlib.crc32(b"the part")
