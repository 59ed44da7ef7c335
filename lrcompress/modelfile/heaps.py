"""Guard against damaged HDF5 heaps, in which HDF5 itself loops without end.

Text of variable length stands in "global heap collections": a header, then objects one after the
other. A free object of size zero in one of them, which one changed byte can produce, never lets
HDF5's own walk go on; so each collection is walked here first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lrcompress.errors import ModelFileError
from lrcompress.modelfile.window import ReadWindow

# Signature, version 1, three reserved zeros: eight bytes do not turn up in weights by chance.
_SIGNATURE = b"GCOL\x01\0\0\0"
_HEADER = 16
# What fits into the processor's own cache is searched at its full speed.
_PIECE_BYTES = 2**18
_LARGEST_BYTES = 2**24


def check_heaps(file: ReadWindow, path: Path) -> None:
    """Walk every global heap collection of an HDF5 file.

    Args:
        file: The file.
        path: Its name, for messages.

    Raises:
        ModelFileError: With code ``truncated`` if a walk would not end.
    """
    for position in _collections(file):
        size = int.from_bytes(file.read_at(position + 8, 8), "little")
        if not _ends(file.read_at(position, min(size, _LARGEST_BYTES))):
            msg = f"{path} is damaged (a heap without end); save or download it again."
            raise ModelFileError(msg, code="truncated")


def _collections(file: ReadWindow) -> list[int]:
    """Return where the signature stands in a file."""
    found: list[int] = []
    piece = bytearray(_PIECE_BYTES)
    search = _Search(piece)
    start = kept = 0
    file.seek(0)
    while count := file.readinto(memoryview(piece)[kept:]):
        filled = kept + count
        if search.may_hold(filled):
            at = piece.find(_SIGNATURE, 0, filled)
            while at >= 0:
                found.append(start + at)
                at = piece.find(_SIGNATURE, at + 1, filled)
        # One byte less than the signature: a hit across the seam is seen once.
        kept = min(filled, len(_SIGNATURE) - 1)
        piece[:kept] = piece[filled - kept : filled]
        start += filled - kept
    return found


class _Search:
    """Tells at a glance that a piece holds no signature: three times as fast as `bytes.find`."""

    def __init__(self, piece: bytearray) -> None:
        """Search `piece`, whatever is put in it later."""
        self._bytes = np.frombuffer(piece, np.uint8)
        self._hits = np.empty((2, len(piece)), np.bool_)

    def may_hold(self, filled: int) -> bool:
        """Return whether the first three bytes of the signature stand together in the piece."""
        size = max(filled - 2, 0)
        hits, others = self._hits[:, :size]
        np.equal(self._bytes[:size], _SIGNATURE[0], out=hits)
        for place in (1, 2):
            np.equal(self._bytes[place : place + size], _SIGNATURE[place], out=others)
            hits &= others
        return bool(hits.any())


def _ends(collection: bytes) -> bool:
    """Return whether walking the objects of a collection comes to an end."""
    at = _HEADER
    while at + _HEADER <= len(collection):
        number = int.from_bytes(collection[at : at + 2], "little")
        size = int.from_bytes(collection[at + 8 : at + 16], "little")
        if number == 0:
            return size > 0
        at += _HEADER + -(-size // 8) * 8
    return True
