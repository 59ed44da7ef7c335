"""Two models on the same samples: difference, interval and p-value from one test, so that they agree.

The interval holds the differences that the test does not reject at 5 %. It leaves 0 out if and only
if the p-value is below 0.05, at every number of samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.measure.statistics import Z95, effective_samples, mean_and_error

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class PairedComparison:
    """Two models by which of the same samples each gets wrong.

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


@dataclass(frozen=True)
class PairedDifference:
    """Two models by the mean of a score on the same samples.

    Attributes:
        measure: What the means are called.
        difference: The second minus the first.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p_value: Two-sided.
    """

    measure: str
    difference: float
    low: float
    high: float
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
        The difference, its interval and McNemar's exact p-value; see `discordant`.
    """
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    low, high, p_value = discordant(b, c, first.size)
    return PairedComparison(100 * (c - b) / first.size, 100 * low, 100 * high, b, c, p_value)


def compare_shares(
    measure: str, first: NDArray[np.bool_], second: NDArray[np.bool_], weights: Weights
) -> PairedDifference:
    """Compare weighted shares of two models, in points, as if of fewer samples of equal weight.

    Args:
        measure: What the shares are called.
        first: Which samples the first model counts, (samples,).
        second: Which the second does.
        weights: Of the samples, (samples,).
    """
    n, whole = effective_samples(weights), float(weights.sum())
    b, c = (float(weights[a & ~z].sum()) / whole for a, z in ((first, second), (second, first)))
    low, high, p_value = discordant(n * b, n * c, n)
    return PairedDifference(measure, 100 * (c - b), 100 * low, 100 * high, p_value)


def discordant(b: float, c: float, n: float) -> tuple[float, float, float]:
    """Return the 95 % interval of (c - b) / n, and the exact p-value of b = c.

    The p-value is McNemar's (Psychometrika 12, 1947): binomial on the discordant pairs. The
    interval is Tango's score interval (Statistics in Medicine 17, 1998). Its end towards 0 carries
    the continuity correction with which the score at 0 has the exact p-value: about half a pair to
    either side, without which four pairs against none would count as a difference.

    Args:
        b: Samples that only the first gets wrong; a fraction where they are weighted.
        c: Samples that only the second gets wrong.
        n: All samples.
    """
    from scipy.special import betainc
    from scipy.stats import norm

    few, m = min(b, c), b + c
    # The binomial tail, written so that fractions of pairs have one too.
    p_value = 1.0 if m == 2 * few else min(1.0, 2 * float(betainc(m - few, few + 1, 0.5)))
    correction = abs(c - b) - float(norm.isf(p_value / 2)) * math.sqrt(m)
    correction = min(max(correction, 0.0), 1.0)
    low = _lower(b, c, n, correction if c > b else 0.0)
    high = -_lower(c, b, n, correction if b > c else 0.0)
    return low, high, p_value


def _lower(b: float, c: float, n: float, correction: float) -> float:
    """Return the smallest difference that the score test does not reject, by bisection."""
    low, high = -1.0, (c - b) / n
    for _ in range(60):
        middle = (low + high) / 2
        apart = c - b - n * middle - correction
        if apart > Z95 * _deviation(b, c, n, middle):
            low = middle
        else:
            high = middle
    # An end at 0 is inside: bisection comes down to it from above.
    return 0.0 if abs(high) < 1e-15 else high


def _deviation(b: float, c: float, n: float, difference: float) -> float:
    """Return the deviation of c - b where a difference of the shares is true (Tango's equation)."""
    linear = (2 * n - c + b) * difference - b - c
    root = math.sqrt(max(linear**2 + 8 * n * b * difference * (1 - difference), 0.0))
    share = max((root - linear) / (4 * n), 0.0, -difference)
    return math.sqrt(max(n * (2 * share + difference * (1 - difference)), 0.0))


def compare_means(
    measure: str,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    weights: Weights | None = None,
) -> PairedDifference:
    """Compare the means of two models' scores on the same samples by Student's paired test.

    Args:
        measure: What the means are called.
        first: Scores of the first model, (samples,).
        second: Of the second.
        weights: Of the samples, (samples,); None weighs all alike.
    """
    difference, error = mean_and_error(second - first, weights)
    return _student(measure, difference, error, first.size, weights)


def compare_roots(
    measure: str,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    weights: Weights | None = None,
) -> PairedDifference:
    """Compare the roots of the means of two models' scores; see `compare_means`.

    The error is by the delta method: near its mean, a root moves by the change of what is under
    it over twice the root.
    """
    roots = [math.sqrt(mean_and_error(scores, weights)[0]) for scores in (first, second)]
    moves = [
        scores / (2 * root) if root else scores
        for scores, root in zip((first, second), roots, strict=True)
    ]
    _, error = mean_and_error(moves[1] - moves[0], weights)
    return _student(measure, roots[1] - roots[0], error, first.size, weights)


def _student(
    measure: str, difference: float, error: float, samples: int, weights: Weights | None
) -> PairedDifference:
    known = samples if weights is None else effective_samples(weights)
    if known < 2:
        # A single sample tells nothing of the spread, which is taken to be as large as it can be.
        known, error = 2.0, abs(difference)
    low, high, p_value = student_interval(difference, error, known - 1)
    return PairedDifference(measure, difference, low, high, p_value)


def student_interval(difference: float, error: float, freedom: float) -> tuple[float, float, float]:
    """Return Student's 95 % interval of a mean, and the two-sided p-value of 0.

    Args:
        difference: The mean.
        error: Its standard error; without any, equal means are surely equal and others surely not.
        freedom: Degrees of freedom.
    """
    from scipy.stats import t

    half = float(t.ppf(0.975, freedom)) * error
    z = abs(difference) / error if error else (math.inf if difference else 0.0)
    return difference - half, difference + half, 2 * float(t.sf(z, freedom))
