"""JSON from files that anybody may have changed: read within limits, or refused by a ValueError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrcompress.files import LARGEST_DOCUMENT, regular

# Documents of ours have a handful of levels, and numbers that a float can hold.
MOST_LEVELS, MOST_DIGITS = 50, 30


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Return what a file of JSON holds."""
    return parse(regular(path, LARGEST_DOCUMENT).read_bytes())


def parse(text: str | bytes) -> Any:  # noqa: ANN401
    """Return what a text of JSON holds."""
    from msgspec.json import decode

    try:
        value = decode(text)
    except RecursionError as error:
        msg = "nested too deep"
        raise ValueError(msg) from error
    inside = [value]
    for _ in range(MOST_LEVELS):
        if any(isinstance(item, int) and abs(item) >= 10**MOST_DIGITS for item in inside):
            msg = f"a number of more than {MOST_DIGITS} digits"
            raise ValueError(msg)
        inside = _within(inside)
    if inside:
        msg = f"nested deeper than {MOST_LEVELS} levels"
        raise ValueError(msg)
    return value


def deeper(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested deeper than some levels, without recursion."""
    inside = [value]
    for _ in range(levels):
        inside = _within(inside)
    return bool(inside)


def _within(items: list[Any]) -> list[Any]:
    """Return what the lists and objects among some items hold."""
    return [
        inner
        for item in items
        if isinstance(item, (dict, list))
        for inner in (item.values() if isinstance(item, dict) else item)
    ]
