"""Which of the calibration inputs are descended on, and which check the descent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Every tenth input is held out. Not the last tenth: data sets are often stored class by class,
# and a held-out part of one class stops the descent where that class is best.
HELD_OUT_STEP = 10
# Probabilities of inputs x classes, 128 MiB in float32. A head of 10,000 classes and 256 features was
# refined no worse on 1,500 inputs than on 6,000: each tells as many numbers as there are classes.
MOST_OUTPUTS = 2**25
# Fewer inputs a feature than this are learned by heart: copies with some of their features dropped
# and the others scaled up (Srivastava et al., JMLR 15, 2014) are added to make up for them.
AMPLE = 40
MOST_COPIES = 8
DROPPED = 0.25


def split(activations: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the inputs to descend on and those held out, both (..., m).

    Args:
        activations: (..., m); fewer than ten inputs are not split, and the second is empty.
    """
    # Along the first axis: steps of one sequence are too alike to check each other.
    inputs = activations
    if len(inputs) < HELD_OUT_STEP:
        inputs = inputs.reshape(-1, inputs.shape[-1])
    held = np.arange(len(inputs)) % HELD_OUT_STEP == HELD_OUT_STEP - 1
    return inputs[~held], inputs[held]


def rows(activations: NDArray[Any], classes: int) -> NDArray[np.float32]:
    """Return inputs as rows, (k, m), thinned to what `most_rows` says.

    The same inputs always give the same rows.
    """
    flat = activations.reshape(-1, activations.shape[-1])
    most = most_rows(classes)
    if len(flat) > most:
        # Not every so-manieth: where that is a multiple of the steps of a sequence, all rows would
        # be of the same step, with as much or as little context.
        picked = np.random.default_rng(0).choice(len(flat), most, replace=False, shuffle=False)
        flat = flat[np.sort(picked)]
    return flat.astype(np.float32, copy=False)


def most_inputs(classes: int) -> int:
    """Return how many inputs of a head `refined` makes use of, those to judge by included."""
    return most_rows(classes) * HELD_OUT_STEP // (HELD_OUT_STEP - 1)


def most_rows(classes: int) -> int:
    """Return how many inputs are made use of, at most, to descend on or to judge by."""
    return max(1, MOST_OUTPUTS // classes)


def enlarged(x: NDArray[np.float32], classes: int) -> NDArray[np.float32]:
    """Return inputs (k, m), followed by copies with dropped features where they are few.

    The original layer is run on the copies as on any input, so they need no labels. The same
    inputs always give the same copies.
    """
    count, m = x.shape
    most = min(AMPLE * m, most_rows(classes))
    copies = min(most // max(count, 1) - 1, MOST_COPIES)
    if copies < 1:
        return x
    generator = np.random.default_rng(0)
    kept = [generator.random(x.shape, dtype=np.float32) >= DROPPED for _ in range(copies)]
    return np.concatenate([x, *(x * mask / np.float32(1 - DROPPED) for mask in kept)])
