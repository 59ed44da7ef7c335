"""The CRC-32 of a file out of those of its pieces; the oracle is zlib's over the whole."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrcompress.modelfile.checksum import Checksum, joined

CONTENT = np.random.default_rng(0).bytes(5_000)


@given(first=st.binary(max_size=50), second=st.binary(max_size=2_000))
def test_two_pieces_are_joined(first: bytes, second: bytes) -> None:
    """The checksum of two pieces follows from theirs and the length of the second."""
    found = joined(zlib.crc32(first), zlib.crc32(second), len(second))

    assert found == zlib.crc32(first + second)


@pytest.mark.parametrize("size", [2**20, 2**31 + 5, 2**40 + 3])
def test_lengths_past_32_bits_are_counted(size: int) -> None:
    """Joining a long piece in two steps is joining it at once."""
    half = size // 3

    at_once = joined(0x12345678, 0, size)

    assert joined(joined(0x12345678, 0, half), 0, size - half) == at_once
    assert at_once != joined(0x12345678, 0, size - 1)


steps = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5_000), st.integers(0, 5_000)), max_size=20
)


@given(steps=steps)
def test_the_total_does_not_depend_on_what_is_known(steps: list[tuple[bool, int, int]]) -> None:
    """Pieces noted in any order, one over another, or forgotten, give the checksum of the whole."""
    sums = Checksum()
    for noted, *ends in steps:
        start, end = sorted(ends)
        if noted:
            sums.note(start, end, zlib.crc32(CONTENT[start:end]))
        else:
            sums.forget(start, end)

    total = sums.total(io.BytesIO(b"before" + CONTENT + b"after"), 6, len(CONTENT))

    assert total == zlib.crc32(CONTENT)


def test_known_pieces_are_not_read(tmp_path: Path) -> None:
    """What is noted counts as it was noted: a later change of the file is not seen."""
    sums = Checksum()
    sums.note(100, 4_000, zlib.crc32(CONTENT[100:4_000]))
    changed = CONTENT[:100] + bytes(3_900) + CONTENT[4_000:]

    total = sums.total(io.BytesIO(changed), 0, len(changed))

    assert total == zlib.crc32(CONTENT)


def test_what_was_written_over_is_read_again() -> None:
    """A piece that overlaps a later change is no longer taken as known."""
    sums = Checksum()
    sums.note(100, 4_000, zlib.crc32(CONTENT[100:4_000]))
    changed = CONTENT[:3_999] + b"x" + CONTENT[4_000:]

    sums.forget(3_999, 4_000)

    assert sums.total(io.BytesIO(changed), 0, len(changed)) == zlib.crc32(changed)
