"""Intervals of error rates and of means, ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
# Normal quantile of a two-sided 95 % interval.
Z95 = 1.959963984540054


def wilson_interval(errors: float, samples: float) -> tuple[float, float]:
    """Return the 95 % interval of an error rate, in percent (Wilson, JASA 22, 1927)."""
    # Unlike the normal approximation it stays inside [0, 100] and is honest at 0 errors.
    p, n, z2 = errors / samples, samples, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At 0 and n errors the ends are exact; rounding would leave 1e-17.
    low = 0.0 if errors == 0 else 100 * (centre - half)
    high = 100.0 if errors == samples else 100 * (centre + half)
    return low, high


def mean_and_error(
    scores: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """Return a (weighted) mean and its standard error, 0 for a single sample."""
    mean = float(np.average(scores, weights=weights))
    if scores.size < 2:
        return mean, 0.0
    share = 1 / scores.size if weights is None else weights / weights.sum()
    squares = np.square(share * (scores - mean)).sum()
    return mean, math.sqrt(float(squares) * scores.size / (scores.size - 1))


def effective_samples(weights: NDArray[np.float64]) -> float:
    """Return how many samples of equal weight tell as much (Kish, Survey Sampling, 1965)."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def macro_area(
    scores: NDArray[Any], holds: NDArray[np.bool_], weights: NDArray[np.float64] | None = None
) -> float | None:
    """Return the mean area under the ROC curve of labels by their scores, (samples, n); None if there is none."""
    weights = np.ones(len(scores)) if weights is None else weights
    # Labels that all samples have, or none, have no curve.
    areas = [
        area_under_curve(scores[:, k], holds[:, k], weights)
        for k in np.flatnonzero(holds.any(axis=0) & ~holds.all(axis=0))
    ]
    return float(np.mean(areas)) if areas and np.isfinite(scores).all() else None


def area_under_curve(
    scores: NDArray[Any], holds: NDArray[np.bool_], weights: NDArray[np.float64]
) -> float:
    """Return how likely a sample that has the label is ranked above one that has not, ties half."""
    _, place = np.unique(scores, return_inverse=True)
    with_it = np.bincount(place, weights * holds)
    without = np.bincount(place, weights * ~holds)
    below = np.cumsum(without) - without / 2
    return float((with_it * below).sum() / (with_it.sum() * without.sum()))


def student_interval(difference: float, error: float, freedom: float) -> tuple[float, float, float]:
    """Return Student's 95 % interval of a mean with a standard error, and the two-sided p-value of 0."""
    from scipy.stats import t

    # Without any error, equal means are surely equal and others surely not.
    half = float(t.ppf(0.975, freedom)) * error
    z = abs(difference) / error if error else (math.inf if difference else 0.0)
    return difference - half, difference + half, 2 * float(t.sf(z, freedom))


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return Student's 95 % interval of the mean of at least two values, and the p-value of 0."""
    # It tells how another seed would come out. All seeds see the same test samples, whose choice is not in it.
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return student_interval(float(np.mean(values)), error, len(values) - 1)
