"""Guard against damaged HDF5 heaps, in which HDF5 itself loops without end.

Text of variable length stands in "global heap collections": a header, then objects one after the
other. A free object of size zero in one of them, which one changed byte can produce, never lets
HDF5's own walk go on; so each collection is walked here first.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

from lrcompress.errors import ModelFileError

# Signature, version 1, three reserved zeros: eight bytes do not turn up in weights by chance.
_SIGNATURE = b"GCOL\x01\0\0\0"
_HEADER = 16
_CHUNK_BYTES = 2**24


def check_heaps(file: IO[bytes], path: Path) -> None:
    """Walk every global heap collection of an HDF5 file.

    Args:
        file: The file, open for reading; its position is left anywhere.
        path: Its name, for messages.

    Raises:
        ModelFileError: With code ``truncated`` if a walk would not end.
    """
    file.seek(0)
    start, kept = 0, b""
    found: list[int] = []
    while chunk := file.read(_CHUNK_BYTES):
        window = kept + chunk
        at = window.find(_SIGNATURE)
        while at >= 0:
            found.append(start - len(kept) + at)
            at = window.find(_SIGNATURE, at + 1)
        start += len(chunk)
        # One byte less than the signature: a hit across the seam is seen once.
        kept = window[-(len(_SIGNATURE) - 1) :]
    for position in found:
        file.seek(position + 8)
        size = int.from_bytes(file.read(8), "little")
        file.seek(position)
        if not _ends(file.read(min(size, _CHUNK_BYTES))):
            msg = f"{path} is damaged (a heap without end); save or download it again."
            raise ModelFileError(msg, code="truncated")


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
