"""The checksum of a zip member, taken from its pieces in whatever order they pass by.

HDF5 writes and reads arrays in no fixed order, and a zip archive wants the CRC-32 of all bytes in
theirs. The checksum of a join follows from those of its parts and their lengths alone, so nothing
large is read only to be summed.
"""

from __future__ import annotations

import functools
import zlib
from bisect import bisect_left, insort
from typing import IO

# The polynomial of CRC-32 without its highest power, lowest power in the highest bit.
_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
_PIECE_BYTES = 2**20


class Checksum:
    """The CRC-32 of a file some of whose pieces are known."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: list[tuple[int, int, int]] = []

    def note(self, start: int, end: int, crc: int) -> None:
        """Keep the checksum of the bytes from `start` to `end`; what was known of them goes."""
        self.forget(start, end)
        if start < end:
            insort(self._known, (start, end, crc))

    def forget(self, start: int, end: int) -> None:
        """Take what is known of bytes from `start` to `end` as out of date."""
        first = last = bisect_left(self._known, (start,))
        if first and self._known[first - 1][1] > start:
            first -= 1
        while last < len(self._known) and self._known[last][0] < end:
            last += 1
        del self._known[first:last]

    def total(self, file: IO[bytes], start: int, size: int) -> int:
        """Return the CRC-32 of a part of a file, reading only what no noted piece covers.

        Args:
            file: Open for reading; its position is left anywhere.
            start: Where in `file` the part begins; noted positions count from here.
            size: Its bytes.
        """
        crc = at = 0
        for begin, end, known in self._known:
            crc = _read(file, start + at, start + begin, crc)
            crc = joined(crc, known, end - begin)
            at = end
        return _read(file, start + at, start + size, crc)


def _read(file: IO[bytes], start: int, end: int, crc: int) -> int:
    """Return `crc` continued over some bytes of a file."""
    file.seek(start)
    while start < end and (piece := file.read(min(_PIECE_BYTES, end - start))):
        crc = zlib.crc32(piece, crc)
        start += len(piece)
    return crc


def joined(first: int, second: int, size: int) -> int:
    """Return the CRC-32 of two pieces, one behind the other.

    CRC-32 is a remainder of polynomials over the field of two elements: putting `size` bytes behind
    a piece multiplies its own by x^(8 size). The method is that of zlib's ``crc32_combine``.

    Args:
        first: CRC-32 of the piece in front.
        second: CRC-32 of the piece behind it.
        size: Bytes of the piece behind.
    """
    for place, power in enumerate(_powers()):
        if size >> place & 1:
            first = _product(power, first)
    return first ^ second


@functools.cache
def _powers() -> list[int]:
    """Return x^8, its square, the square of that and so on, for all sizes of 64 bits."""
    powers = [_ONE >> 8]
    while len(powers) < 64:
        powers.append(_product(powers[-1], powers[-1]))
    return powers


def _product(a: int, b: int) -> int:
    """Return the product of two polynomials, reduced by that of CRC-32."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ (_POLYNOMIAL if b & 1 else 0)
    return product
