"""Intervals and tests for error rates, means and roots of means; ranking."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Normal quantile of a two-sided 95 % interval.
Z95 = 1.959963984540054


def wilson_interval(errors: float, samples: float) -> tuple[float, float]:
    """Return the 95 % interval of an error rate, in percent (Wilson, JASA 22, 1927).

    Unlike the normal approximation it stays inside [0, 100] and is honest at 0 errors.

    Args:
        errors: Number of wrong predictions.
        samples: Number of predictions, at least 1; of weighted ones, what they are worth.
    """
    p, n, z2 = errors / samples, samples, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At 0 and n errors the ends are exact; rounding would leave 1e-17.
    low = 0.0 if errors == 0 else 100 * (centre - half)
    high = 100.0 if errors == samples else 100 * (centre + half)
    return low, high


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same samples.

    Attributes:
        difference: Error rate of the second minus the first, in percentage points.
        low: Lower end of its 95 % interval, in points.
        high: Upper end.
        only_first_wrong: Samples that only the first gets wrong.
        only_second_wrong: Samples that only the second gets wrong.
        p_value: Of the exact two-sided McNemar test.
    """

    difference: float
    low: float
    high: float
    only_first_wrong: int
    only_second_wrong: int
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary."""
        return dict(self.__dict__)


def compare_paired(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> PairedComparison:
    """Compare two models by which of the same samples each gets wrong.

    Args:
        first: Whether the first model is wrong, (samples,).
        second: Whether the second model is wrong, (samples,).

    Returns:
        The difference with its interval (normal, from the discordant pairs) and the exact
        test of McNemar (Psychometrika 12, 1947), which is binomial on the discordant pairs.
    """
    from scipy.stats import binomtest

    n = first.size
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    difference = (c - b) / n
    half = Z95 * math.sqrt(max(b + c - (c - b) ** 2 / n, 0.0)) / n
    p_value = float(binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0
    return PairedComparison(
        100 * difference, 100 * (difference - half), 100 * (difference + half), b, c, p_value
    )


@dataclass(frozen=True)
class PairedDifference:
    """Two models on the same samples, by the mean of a score.

    Attributes:
        measure: What the means are called.
        difference: The second minus the first.
        low: Lower end of its 95 % interval (normal, from the samples' differences).
        high: Upper end.
        p_value: Of the two-sided normal test on those differences.
    """

    measure: str
    difference: float
    low: float
    high: float
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary."""
        return dict(self.__dict__)


def compare_means(
    measure: str,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> PairedDifference:
    """Compare the means of two models' scores on the same samples.

    Args:
        measure: What the means are called.
        first: Scores of the first model, (samples,).
        second: Of the second.
        weights: Of the samples, (samples,); None weighs all alike.
    """
    difference, error = mean_and_error(second - first, weights)
    return _paired(measure, difference, error)


def compare_roots(
    measure: str,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    weights: NDArray[np.float64] | None = None,
) -> PairedDifference:
    """Compare the roots of the means of two models' scores; see `compare_means`.

    The interval is by the delta method: near its mean, a root moves by the change of what is under
    it over twice the root.
    """
    roots = [math.sqrt(mean_and_error(scores, weights)[0]) for scores in (first, second)]
    moves = [
        scores / (2 * root) if root else scores
        for scores, root in zip((first, second), roots, strict=True)
    ]
    _, error = mean_and_error(moves[1] - moves[0], weights)
    return _paired(measure, roots[1] - roots[0], error)


def _paired(measure: str, difference: float, error: float) -> PairedDifference:
    # Without any spread, equal means are surely equal and others surely not.
    z = abs(difference) / error if error else (math.inf if difference else 0.0)
    low, high = difference - Z95 * error, difference + Z95 * error
    return PairedDifference(measure, difference, low, high, math.erfc(z / math.sqrt(2)))


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
    """Return the mean over labels of the area under the ROC curve.

    Args:
        scores: Higher is likelier, (samples, n).
        holds: Which labels hold, (samples, n).
        weights: Of the samples, (samples,); None weighs all alike.

    Returns:
        Over the labels that some samples have and others have not; None if there is none, or a
        score is not a number.
    """
    weights = np.ones(len(scores)) if weights is None else weights
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
