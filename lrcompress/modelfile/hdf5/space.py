"""The bytes of an HDF5 file, each of which belongs to one structure alone."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from lrcompress.errors import ModelFileError
from lrcompress.modelfile.hdf5.window import ReadWindow

# The address that stands for "nowhere".
NOWHERE = 2**64 - 1


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
