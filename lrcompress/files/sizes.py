"""Sizes of files as people write them."""

from __future__ import annotations

import re

# As everywhere else here 1 kB is 1,000 bytes; who means 1,024 says KiB.
_UNITS = {
    "": 1, "b": 1, "byte": 1, "bytes": 1,
    "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9,
    "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip


def bytes_of(text: str) -> int:
    """Return a number of bytes above 0, or raise a ValueError.

    >>> bytes_of("200kB"), bytes_of("1.5 MiB"), bytes_of("4096")
    (200000, 1572864, 4096)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", text.lower().replace("_", ""))
    if match is None or match[2] not in _UNITS or not float(match[1]) > 0:
        msg = f"{text!r} is not a file size; expected for example 200kB, 1.5MB, 512KiB or a number of bytes"
        raise ValueError(msg)
    return round(float(match[1]) * _UNITS[match[2]])
