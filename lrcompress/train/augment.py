"""Images are shifted and mirrored while a teacher says what becomes of its outputs.

Only without labels, and only in ways that the teacher itself minds little: a mirrored digit is no digit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, evenly
from lrcompress.data.scaling import Scaling
from lrcompress.live.prepare import decisions

# Of the height and width, at most.
_SHIFT = 8
# Inputs by which a teacher is asked, and the share of its decisions that must stay.
_ASKED, _STAY = 500, 2 / 3
_CHANNELS = (1, 3, 4)

Images = NDArray[Any]


def shifted(x: Images, rng: np.random.Generator) -> Images:
    """Return images, each moved by up to an eighth of its height and width; the edge is repeated."""
    n, height, width = x.shape[:3]

    def places(size: int) -> Any:
        by = rng.integers(-(size // _SHIFT), size // _SHIFT + 1, (n, 1))
        return np.clip(np.arange(size) + by, 0, size - 1)

    rows, columns = places(height), places(width)
    moved: Images = x[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def mirrored(x: Images, rng: np.random.Generator) -> Images:
    """Return images of which half are mirrored, left to right."""
    turned: Images = np.where(rng.random((len(x), 1, 1, 1)) < 0.5, x[:, :, ::-1], x)
    return turned


WAYS: dict[str, Callable[[Images, np.random.Generator], Images]] = {
    "shift": shifted,
    "mirror": mirrored,
}


def ways_for(teacher: Any, x: Arrays, scaling: Scaling) -> tuple[str, ...]:
    """Return the ways in which raw inputs may be changed: those of images that leave most decisions as they are."""
    images = isinstance(x, np.ndarray) and x.ndim == 4 and x.shape[-1] in _CHANNELS
    if isinstance(x, dict) or not images or min(x.shape[1:3]) < _SHIFT:
        return ()
    some = np.asarray(evenly(x, _ASKED))
    before = decisions(teacher, scaling(some))
    if isinstance(before, dict) or before.dtype.kind not in "iub":
        return ()
    # Mirrored, all of them.
    changed = {"shift": shifted(some, np.random.default_rng(0)), "mirror": some[:, :, ::-1]}
    after = {name: np.asarray(decisions(teacher, scaling(x))) for name, x in changed.items()}
    return tuple(name for name, found in after.items() if np.mean(found == before) >= _STAY)


def augmented(ways: Sequence[str], seed: int, epoch: int) -> Callable[[Any, int], Any] | None:
    """Return what changes the raw inputs of a step of an epoch; None where there is no way."""

    def change(x: Any, step: int) -> Any:
        rng = np.random.default_rng([seed, epoch, step])
        for way in ways:
            x = WAYS[way](x, rng)
        return x

    return change if ways else None
