"""What a changed classifier loses: against given labels, or in the original's own eyes.

A model has learned some labels of its training data by heart, and a smaller one forgets those
first: on them it seems to lose more than it does on anything else. Where the data that choices are
made on may be of that kind, labels decide one thing alone: how sure the original may be, a
temperature T (Guo et al., ICML 2017). A changed prediction then costs what softmax(s / T) gives it
less than the original's. docs/datasets.md has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.measure.scores import FEW_CLASSES

# Logits that are held at one time, and those that the temperature is found on, of so many inputs at least.
BLOCK, FITTED_ON, FEWEST = 2**24, 2**21, 64
# What a result is said to lose that gives one class alone where the original gives several.
EVERYTHING = 100.0


@dataclass(frozen=True)
class Judged:
    """What is wrong of some predictions."""

    error: float  # in percent of all
    # Mean of each class's own error, None where none is rare; of many labels how often the likeliest does not hold.
    balanced: float | None
    several: bool  # whether more than one class is predicted

    def drop_to(self, other: Judged) -> float:
        """Return what another model loses, in points: the worse of error and balanced error."""
        if self.several and not other.several:
            return EVERYTHING
        lost = other.error - self.error
        if self.balanced is None or other.balanced is None:
            return lost
        return max(lost, other.balanced - self.balanced)


class Judge:
    """What is wrong of the classes that were picked for some inputs."""

    def __init__(
        self,
        labels: NDArray[np.int64],
        logits: Callable[[Any], NDArray[np.float32]],
        *,
        by_labels: bool,
        weights: NDArray[Any] | None = None,
    ) -> None:
        """Learn what each class weighs, of labels (k,) and the original's logits (rows, classes) of a slice."""
        self._labels, self._weights, self._by_labels = labels, weights, by_labels
        self._logits, self._classes = logits, logits(slice(0, 1)).shape[-1]
        masses = np.bincount(labels, weights, self._classes) if by_labels else self._learned()
        self._rare = masses if has_rare(masses) else None

    def _learned(self) -> NDArray[np.float64]:
        k = len(self._labels)
        some = slice(None, None, max(1, k // max(FITTED_ON // self._classes, FEWEST)))
        self._temperature = temperature(self._logits(some), self._labels[some])
        masses, self._sums = np.zeros(self._classes), np.empty(k, np.float32)
        step = max(1, BLOCK // self._classes)
        for start in range(0, k, step):
            block = slice(start, start + step)
            shares, self._sums[block] = _softmax(self._logits(block) / self._temperature)
            weights = np.ones(len(shares)) if self._weights is None else self._weights[block]
            masses += weights @ shares
        return masses

    def __call__(self, picked: NDArray[np.int64], logits: NDArray[np.float32]) -> Judged:
        """Judge class numbers that were picked, (k,), by the original's logits of those classes, (k,)."""
        if self._by_labels:
            credit = (picked == self._labels).astype(np.float64)
        else:
            credit = np.exp(logits.astype(np.float64) / self._temperature - self._sums)
        weights = np.ones(len(picked)) if self._weights is None else self._weights
        error = 100 * (1 - float(np.average(credit, weights=weights)))
        balanced = None
        if self._rare is not None:
            right = np.bincount(picked, credit * weights, self._classes)
            there = self._rare > 0
            balanced = 100 * (1 - float((right[there] / self._rare[there]).mean()))
        return Judged(error, balanced, bool((picked != picked[:1]).any()))


def has_rare(masses: NDArray[Any]) -> bool:
    """Return whether some class that occurs has less than half of an equal share, among few classes."""
    there = masses[masses > 0]
    if len(masses) > FEW_CLASSES or len(there) < 2:
        return False
    return bool(there.min() < there.sum() / len(there) / 2)


def temperature(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Return T at which softmax(logits / T) makes the labels likeliest, between 1/10 and 10."""
    from scipy.optimize import minimize_scalar

    own = np.take_along_axis(logits, labels[:, None], axis=-1)[:, 0].astype(np.float64)

    def surprise(logarithm: float) -> float:
        scaled = logits / np.float32(np.exp(logarithm))
        top = scaled.max(axis=-1, keepdims=True)
        sums = np.log(np.exp(scaled - top).sum(axis=-1)) + top[:, 0]
        return float((sums - own / np.exp(logarithm)).mean())

    ends = (-np.log(10), np.log(10))
    return float(np.exp(minimize_scalar(surprise, bounds=ends, method="bounded").x))


def _softmax(logits: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return softmax and the logarithms of its sums."""
    top = logits.max(axis=-1, keepdims=True)
    parts = np.exp(logits - top)
    sums = parts.sum(axis=-1, keepdims=True)
    return parts / sums, (np.log(sums) + top)[:, 0]
