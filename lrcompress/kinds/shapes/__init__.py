"""The shapes of what a layer takes in and gives, from its JSON alone."""

from __future__ import annotations

from lrcompress.kinds.shapes.multiplications import COUNTED, multiplications
from lrcompress.kinds.shapes.rules import output_shape, states_shape
from lrcompress.kinds.shapes.windows import Shape

__all__ = ["COUNTED", "Shape", "agreed", "multiplications", "output_shape", "states_shape"]


def agreed(first: Shape | None, second: Shape | None, *, strict: bool = False) -> Shape | None:
    """Return what two statements about one shape tell: the first where they differ; if `strict`, only what is alike."""
    if first is None or second is None:
        return None if strict else (second if first is None else first)
    if len(first) != len(second):
        return None if strict else first
    if strict:
        return tuple(a if a == b else None for a, b in zip(first, second, strict=True))
    return tuple(b if a is None else a for a, b in zip(first, second, strict=True))
