"""Sizes of files as people write them."""

from __future__ import annotations

import pytest

from lrcompress.files.sizes import bytes_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("200kB", 200_000), ("200 KB", 200_000), ("1.5MB", 1_500_000), ("512KiB", 524_288),
        ("1MiB", 2**20), ("0.5GB", 500_000_000), ("4096", 4096), ("4_096 bytes", 4096), ("3k", 3000),
    ],
)  # fmt: skip
def test_units(text: str, size: int) -> None:
    """Decimal units, binary ones, and none."""
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "kB", "-3kB", "0", "1e3", "12 parsecs", "1.2.3MB", "nan"])
def test_what_is_no_size(text: str) -> None:
    """Is refused with an example."""
    with pytest.raises(ValueError, match="200kB"):
        bytes_of(text)
