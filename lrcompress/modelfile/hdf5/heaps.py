"""The heaps of HDF5's old layout: a group's names, and text of variable length."""

from __future__ import annotations

from itertools import pairwise
from struct import unpack_from

from lrcompress.modelfile.hdf5.space import Space

# The end of a list of free places.
_END = 1
_LONGEST_NAME = 1_024


class Names:
    """The local heap of a group, which holds the names of what is in it."""

    def __init__(self, space: Space, address: int) -> None:
        """Read the heap and check that its list of free places ends."""
        self._space = space
        head = space.take(address, 32, "a heap")
        signature, version, size, free, segment = unpack_from("<4sB3xQQQ", head)
        if signature != b"HEAP" or version:
            space.fail("an invalid heap")
        self._segment = space.take(segment, size, "the names of a group")
        spans = []
        while free != _END:
            following, length = unpack_from("<QQ", self._segment, free)
            spans.append((free, free + length))
            if length < 16 or free + length > size or 16 * len(spans) > size:
                space.fail("an endless heap")
            free = following
        spans.sort()
        if any(end > start for (_, end), (start, _) in pairwise(spans)):
            space.fail("an endless heap")

    def at(self, offset: int) -> bytes:
        """Return the name at an offset."""
        end = self._segment.find(b"\0", offset, offset + _LONGEST_NAME + 1)
        if end < 0:
            self._space.fail("an endless name")
        return self._segment[offset:end]


class Texts:
    """The global heaps, which hold text of variable length, each piece for one reference."""

    def __init__(self, space: Space) -> None:
        """Read the heaps of a file as they are referred to."""
        self._space = space
        # Start and size by heap and number; those of what was found before by minus the number.
        self._places: dict[int, dict[int, tuple[int, int]]] = {}

    def check(self, references: bytes) -> None:
        """Follow references of 16 bytes each, none where another led: all text is within the file."""
        for at in range(0, len(references), 16):
            self._find(*unpack_from("<IQI", references, at))

    def read(self, reference: bytes) -> bytes:
        """Return the text that a checked reference leads to."""
        length, address, number = unpack_from("<IQI", reference)
        if not address:
            return b""
        return self._space.peek(self._places[address][-number][0], length, "text")

    def _find(self, length: int, address: int, number: int) -> None:
        """Check that a text of this length is there, and mark it as found."""
        if not address and not length:
            return
        if address not in self._places:
            self._places[address] = self._collection(address)
        objects = self._places[address]
        if -number in objects:
            self._space.refuse("one text in two places")
        start, size = objects.pop(number, (0, -1))
        if size != length:
            self._space.fail(f"text of {length} bytes that are not there")
        objects[-number] = (start, size)

    def _collection(self, address: int) -> dict[int, tuple[int, int]]:
        """Return start and size of each object of a heap, by number."""
        space, what = self._space, "a heap of text"
        signature, size = unpack_from("<8sQ", space.peek(address, 16, what))
        if signature != b"GCOL\1\0\0\0" or size < 32:
            space.fail(f"{what} of a wrong kind")
        heap = space.take(address, size, what)
        found: dict[int, tuple[int, int]] = {}
        at = 16
        while at + 16 <= size:
            number, length = unpack_from("<H6xQ", heap, at)
            if not number:  # what is free comes last
                if length != size - at:
                    space.fail("an endless heap")
                break
            if number in found or at + 16 + length > size:
                space.fail(f"{what} whose objects do not fit")
            found[number] = (address + at + 16, length)
            at += 16 + -(-length // 8) * 8
        return found
