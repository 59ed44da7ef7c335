"""The bytes of an HDF5 file: parts of files as files of their own, and whose structure each byte is."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import ModelFileError

# The address that stands for "nowhere".
NOWHERE = 2**64 - 1
_PIECE_BYTES = 2**20

_File = io.FileIO | io.BufferedReader | io.BufferedRandom


class _Window(io.RawIOBase):
    """What both windows share: a part of a file, and a position in it."""

    def __init__(self, file: _File, start: int, size: int) -> None:
        super().__init__()
        self._file, self._start, self.size, self._position = file, start, size, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        length = max(min(len(buffer), self.size - self._position), 0)
        self._file.seek(self._start + self._position)
        count = self._file.readinto(memoryview(buffer)[:length]) or 0
        self._position += count
        return count


class ReadWindow(_Window):
    """A part of a file to read: `zipfile`'s own reader seeks by reading again."""

    def read_at(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, fewer where the file or the window ends."""
        self._file.seek(self._start + start)
        return self._file.read(max(min(size, self.size - start), 0)) or b""

    def crc(self) -> int:
        """Return the CRC-32 of the part."""
        crc = 0
        for start in range(0, self.size, _PIECE_BYTES):
            crc = zlib.crc32(self.read_at(start, _PIECE_BYTES), crc)
        return crc

    def mapped(self, start: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return an array that stands at `start` without reading it: the system pages it in."""
        if start + math.prod(shape) * dtype.itemsize > self.size:
            msg = f"an array ends behind the file, at {start} + {shape} x {dtype.itemsize} bytes"
            raise ValueError(msg)
        return np.memmap(self._file, dtype, "r", self._start + start, shape)


class WriteWindow(_Window):
    """A new file that keeps its first error for `check`: HDF5 crashes where it cannot write on closing."""

    def __init__(self, file: io.FileIO) -> None:
        super().__init__(file, 0, 0)
        self._error: BaseException | None = None

    def write(self, piece: memoryview) -> int:  # type: ignore[override]
        """Write a piece at the position."""
        self._attempt(lambda: self._put(memoryview(piece)))
        self._position += len(piece)
        self.size = max(self.size, self._position)
        return len(piece)

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file, as HDF5 does at the end."""
        self.size = self._position if size is None else size
        self._attempt(lambda: self._file.truncate(self.size))
        return self.size

    def fail(self, error: BaseException) -> None:
        """Write nothing from now on, and keep the reason for `check` unless there is an older one."""
        self._error = self._error or error

    def check(self) -> None:
        """Raise what writing met first, if anything: mostly an `OSError`."""
        if self._error is not None:
            raise self._error

    def _attempt(self, action: Callable[[], object]) -> None:
        """Do something to the file unless it failed before: then it is said to be done, and is not."""
        if self._error is None:
            try:
                action()
            except Exception as error:
                self.fail(error)

    def _put(self, left: memoryview) -> None:
        """Write a piece, which the system may take in parts."""
        self._file.seek(self._position)
        while left:
            left = left[self._file.write(left) or 0 :]


class Space:
    """Hands out bytes of a file once; so no structure is read twice, and none without end."""

    def __init__(self, file: ReadWindow, path: Path, base: int) -> None:
        """Read `file`, called `path` in messages; addresses count from `base`."""
        self._file, self._path, self._base = file, path, base
        self.size = self._free = file.size - base
        self._spans: dict[int, int] = {}

    def peek(self, start: int, size: int, what: str) -> bytes:
        """Return bytes that are still to be taken; none of them lies behind the file."""
        if start + size > self.size:
            self.fail(f"{what} behind its end")
        return self._file.read_at(self._base + start, size)

    def claim(self, start: int, size: int, what: str) -> None:
        """Take bytes without reading them; nothing took them before."""
        if start + size > self.size:
            self.fail(f"{what} behind its end")
        self._free -= size
        if start in self._spans or self._free < 0:
            self.fail(f"{what} where something else is")
        self._spans[start] = start + size

    def take(self, start: int, size: int, what: str) -> bytes:
        """Take bytes and return them."""
        self.claim(start, size, what)
        return self._file.read_at(self._base + start, size)

    def settle(self) -> None:
        """Make sure that nothing that was taken overlaps."""
        free = 0
        for start, end in sorted(self._spans.items()):
            if start < free:
                self.fail("structures that overlap")
            free = end

    def fail(self, what: str) -> NoReturn:
        """Raise the error for what nobody writes."""
        msg = f"{self._path} is damaged ({what}); save or download it again."
        raise ModelFileError(msg, code="truncated")

    def refuse(self, what: str) -> NoReturn:
        """Raise the error for what HDF5 allows and Keras never writes."""
        msg = (
            f"{self._path} holds {what}, which Keras never writes; refused: "
            "get it from its source again."
        )
        raise ModelFileError(msg, code="hostile")

    def refuse_layout(self) -> NoReturn:
        """Raise the error for the layout that HDF5 writes when it is asked for its latest."""
        msg = (
            f"{self._path} uses the newer layout of HDF5, which is not read because damage in it can "
            "crash the reader; load it in Keras and save it again, as .keras."
        )
        raise ModelFileError(msg, code="hostile")
