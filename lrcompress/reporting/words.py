"""Numbers and names as people read them, the same in every table."""

from __future__ import annotations

import unicodedata
from typing import Any


def count(value: int | float | None) -> str:
    """Return an integer with thousands separators."""
    return "-" if value is None else f"{value:,.0f}"


def size(value: int | float | None) -> str:
    """Return a number of bytes with its unit, 1 kB being 1,000 bytes."""
    if value is None:
        return "-"
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= step:
            return f"{value / step:,.2f} {unit}"
    return f"{value:.0f} bytes"


def share(value: float | None) -> str:
    """Return a share as a percentage, with enough digits to tell 0.13 % from 0."""
    if value is None:
        return "-"
    percent = 100 * value
    return f"{percent:.2f} %" if abs(percent) < 10 else f"{percent:.1f} %"


def rate(stage: dict[str, Any]) -> str:
    """Return an error rate with its 95 % interval."""
    if stage.get("error_rate") is None:
        return "not measured"
    text = f"{stage['error_rate']:.2f} %"
    if stage.get("error_rate_low") is not None:
        text += f" [{stage['error_rate_low']:.2f}, {stage['error_rate_high']:.2f}]"
    return text


def points(value: float | None) -> str:
    """Return a difference of error rates, signed."""
    return "-" if value is None else f"{value:+.2f} pt"


def seconds(value: float | None) -> str:
    """Return a duration."""
    if value is None:
        return "-"
    return f"{value:.2f} s" if value < 10 else f"{value:,.0f} s"


def small(value: float | None) -> str:
    """Return a relative error."""
    return "-" if value is None else f"{value:.4g}"


def clean(text: object) -> str:
    """Return text from a stranger's file without control characters, which could drive a terminal."""
    return "".join(
        c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in str(text)
    )
