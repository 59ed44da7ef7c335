"""Inputs and labels of models with one or several inputs or outputs, handled alike.

A model with one input takes an array; one with several takes a dictionary of arrays by the names
of its inputs. The first axis of every array is the samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = NDArray[Any] | dict[str, NDArray[Any]]


def count(x: Arrays) -> int:
    """Return the number of samples."""
    return len(next(iter(x.values())) if isinstance(x, dict) else x)


def take(x: Arrays, index: slice | NDArray[Any]) -> Arrays:
    """Return some samples: a slice of them, or those at some positions."""
    if isinstance(x, dict):
        return {name: array[index] for name, array in x.items()}
    return x[index]


def evenly(x: Arrays, most: int) -> Arrays:
    """Return at most so many samples, evenly spread."""
    samples = count(x)
    return x if most >= samples else take(x, np.arange(most) * samples // most)


def shuffled(x: Arrays, most: int) -> NDArray[np.int64]:
    """Return the positions of at most so many samples in random order, the same ones each time."""
    return np.random.default_rng(0).permutation(count(x))[:most]


def chunks(samples: int, size: int) -> Iterator[slice]:
    """Yield the slices that samples are gone through in, `size` at a time."""
    for start in range(0, samples, size):
        yield slice(start, min(start + size, samples))


def reaching_back(part: slice, size: int) -> slice:
    """Return a part that is as large as the others: the last one with some samples before it again.

    An engine would compile a model anew for a batch of another size.
    """
    return slice(max(0, part.stop - size), part.stop)
