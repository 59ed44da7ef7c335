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

from lrcompress.measure.scores import FEW_CLASSES, classes_of, logits_of

# Logits that are held at one time, and those that the temperature is found on.
BLOCK, FITTED_ON = 2**24, 2**21
# What a result is said to lose that gives one class alone where the original gives several.
EVERYTHING = 100.0


@dataclass(frozen=True)
class Judged:
    """What is wrong, in percent of all predictions, and as the mean of each class's own error.

    The latter is None where no class is rare. `several` is whether more than one class is predicted.
    """

    error: float
    balanced: float | None
    several: bool

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
        if by_labels:
            masses = np.bincount(labels, weights, self._classes).astype(np.float64)
        else:
            self._learn()
            masses = self._masses
        self._rare = masses if has_rare(masses) else None

    def _learn(self) -> None:
        k = len(self._labels)
        some = slice(None, None, -(-k * self._classes // FITTED_ON))
        self._temperature = temperature(self._logits(some), self._labels[some])
        self._masses, self._sums = np.zeros(self._classes), np.empty(k, np.float32)
        step = max(1, BLOCK // self._classes)
        for start in range(0, k, step):
            block = slice(start, start + step)
            shares, self._sums[block] = _softmax(self._logits(block) / self._temperature)
            weights = np.ones(len(shares)) if self._weights is None else self._weights[block]
            self._masses += weights @ shares

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


def judge_labels(
    decided: NDArray[np.bool_], chances: NDArray[np.float64], weights: NDArray[Any] | None = None
) -> Judged:
    """Judge which of several labels were decided to hold, (k, n), by the chances that they do."""
    wide = np.ones((len(decided), 1)) if weights is None else weights[:, None]
    right = np.where(decided, chances, 1 - chances) * wide
    masses = np.stack([((1 - chances) * wide).sum(axis=0), (chances * wide).sum(axis=0)])
    error = 100 * (1 - float(right.sum() / (wide.sum() * decided.shape[1])))
    both = (masses > 0).all(axis=0)
    balanced = None
    if any(has_rare(masses[:, label]) for label in np.flatnonzero(both)):
        kept = np.stack([(right * ~decided).sum(axis=0), (right * decided).sum(axis=0)])
        balanced = 100 * (1 - float((kept[:, both] / masses[:, both]).mean()))
    return Judged(error, balanced, bool(decided.any()))


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


class OutputDrop:
    """What changed outputs lose against the original's: of class numbers, or of several labels."""

    def __init__(
        self,
        outputs: NDArray[np.float32],
        labels: NDArray[Any],
        weights: NDArray[Any] | None,
        *,
        is_logits: bool,
        by_labels: bool,
    ) -> None:
        """Judge the original.

        Args:
            outputs: The original's, (samples, ..., units).
            labels: Class numbers, (samples, ...), or booleans of labels, shaped as the outputs.
            weights: Of the predictions, (samples, ...); None weighs all alike.
            is_logits: Whether the outputs are anything but probabilities.
            by_labels: Whether the labels are new to the original.
        """
        self._is_logits, self._of_labels = is_logits, labels.dtype.kind == "b"
        self._kept = np.ones(outputs.shape[:-1], np.bool_) if weights is None else weights > 0
        self._weights = None if weights is None else weights[self._kept]
        logits, labels = logits_of(outputs[self._kept], is_logits), labels[self._kept]
        if self._of_labels:
            self._chances = _chances(logits, labels, by_labels=by_labels)
        else:
            if logits.shape[-1] == 1:
                logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
            self._logits = logits
            self._judge = Judge(
                labels, logits.__getitem__, by_labels=by_labels, weights=self._weights
            )
        self._before = self._judged(outputs)

    def __call__(self, outputs: NDArray[np.float32]) -> float:
        """Return what other outputs lose, in points."""
        return self._before.drop_to(self._judged(outputs))

    def _judged(self, outputs: NDArray[np.float32]) -> Judged:
        kept = outputs[self._kept]
        if self._of_labels:
            return judge_labels(logits_of(kept, self._is_logits) > 0, self._chances, self._weights)
        picked = classes_of(kept, self._is_logits)
        return self._judge(picked, np.take_along_axis(self._logits, picked[:, None], axis=-1)[:, 0])


def _chances(
    logits: NDArray[np.float32], labels: NDArray[np.bool_], *, by_labels: bool
) -> NDArray[np.float64]:
    """Return how likely each label is to hold, (k, n)."""
    if by_labels:
        return labels.astype(np.float64)
    step = -(-logits.size // FITTED_ON)
    some = logits.reshape(-1, 1)[::step]
    pairs = np.concatenate([np.zeros_like(some), some], axis=-1)
    scale = temperature(pairs, labels.reshape(-1)[::step].astype(np.int64))
    return np.asarray(1 / (1 + np.exp(-np.clip(logits.astype(np.float64) / scale, -500, 500))))
