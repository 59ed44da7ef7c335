"""Every document that is written, read or printed; modules are imported one by one: not every command loads msgspec.

Documents come from files that anybody may have changed: JSON is read within limits, or refused by a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrcompress.files import LARGEST_DOCUMENT, regular

# The arms of a comparison: ways to end with a small network, in the order of tables.
ARMS = ("full", "full-finetuned", "svd", "refined", "finetuned", "scratch")
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
    for depth, inside in enumerate(_levels(value)):
        if depth == MOST_LEVELS:
            msg = f"nested deeper than {MOST_LEVELS} levels"
            raise ValueError(msg)
        if any(isinstance(item, int) and abs(item) >= 10**MOST_DIGITS for item in inside):
            msg = f"a number of more than {MOST_DIGITS} digits"
            raise ValueError(msg)
    return value


def deeper(value: object, levels: int) -> bool:
    """Return whether lists and objects are nested deeper than some levels, without recursion."""
    return any(depth == levels for depth, _ in enumerate(_levels(value)))


def _levels(value: Any) -> Iterator[list[Any]]:  # noqa: ANN401
    """Yield a value, then what it holds, and so on."""
    inside = [value]
    while inside:
        yield inside
        nested = [item for item in inside if isinstance(item, (dict, list))]
        inside = [x for item in nested for x in (item.values() if isinstance(item, dict) else item)]
