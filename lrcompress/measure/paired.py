"""Two models on the same samples: difference, interval and p-value from one test, so that they agree.

The interval holds the differences that the test does not reject at 5 %. It leaves 0 out if and only
if the p-value is below 0.05, at every number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.measure.statistics import (
    Z95,
    Weights,
    effective_samples,
    mean_and_error,
    student_interval,
)

# Whether each sample is predicted wrongly, and a score of each, (samples,).
Wrong = NDArray[np.bool_]
Each = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Two models by a score on the same samples.

    Attributes:
        measure: What the score is called; None of an error rate without weights, which is told by
            how many samples only one of the two gets wrong.
        difference: The second minus the first; of shares in percentage points, of perplexities in
            percent of the first.
        low: Lower end of its 95 % interval.
        high: Upper end.
        only_first_wrong: Samples that only the first gets wrong.
        only_second_wrong: Samples that only the second gets wrong.
        p_value: Two-sided; of error rates of the exact McNemar test.
    """

    measure: str | None = None
    difference: float
    low: float
    high: float
    only_first_wrong: int | None = None
    only_second_wrong: int | None = None
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return what is known as a plain dictionary."""
        return {name: value for name, value in self.__dict__.items() if value is not None}


def compare_paired(first: Wrong, second: Wrong) -> PairedDifference:
    """Compare two models by which of the same samples each gets wrong."""
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    low, high, p_value = discordant(b, c, first.size)
    return PairedDifference(
        difference=100 * (c - b) / first.size, low=100 * low, high=100 * high,
        only_first_wrong=b, only_second_wrong=c, p_value=p_value,
    )  # fmt: skip


def compare_shares(measure: str, first: Wrong, second: Wrong, weights: Weights) -> PairedDifference:
    """Compare weighted shares of two models, in points, as if of fewer samples of equal weight."""
    n, whole = effective_samples(weights), float(weights.sum())
    b, c = (float(weights[a & ~z].sum()) / whole for a, z in ((first, second), (second, first)))
    low, high, p_value = discordant(n * b, n * c, n)
    return PairedDifference(
        measure=measure, difference=100 * (c - b), low=100 * low, high=100 * high, p_value=p_value
    )


def discordant(b: float, c: float, n: float) -> tuple[float, float, float]:
    """Return the 95 % interval of (c - b) / n, and the exact p-value of b = c.

    The p-value is McNemar's (Psychometrika 12, 1947): binomial on the discordant pairs. The
    interval is Tango's score interval (Statistics in Medicine 17, 1998). Its end towards 0 carries
    the continuity correction with which the score at 0 has the exact p-value: about half a pair to
    either side, without which four pairs against none would count as a difference. Of n samples b
    are those that only the first gets wrong, c the second; fractions where they are weighted.
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
    measure: str, first: Each, second: Each, weights: Weights | None = None
) -> PairedDifference:
    """Compare the means of two models' scores, (samples,), by Student's paired test."""
    difference, error = mean_and_error(second - first, weights)
    return _student(measure, difference, error, first.size, weights)


def compare_roots(
    measure: str, first: Each, second: Each, weights: Weights | None = None
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


def compare_perplexities(
    first: Each, second: Each, weights: Weights | None = None
) -> PairedDifference:
    """Compare two models' perplexities by their losses at each prediction; see `compare_means`."""
    found = compare_means("perplexity", first, second, weights)
    return replace(
        found, difference=rise(found.difference), low=rise(found.low), high=rise(found.high)
    )


def rise(loss: float) -> float:
    """Return by how many percent perplexity is higher where the mean loss is, in nats."""
    return 100 * math.expm1(min(loss, 700.0))


def _student(
    measure: str, difference: float, error: float, samples: int, weights: Weights | None
) -> PairedDifference:
    known = samples if weights is None else effective_samples(weights)
    if known < 2:
        # A single sample tells nothing of the spread, which is taken to be as large as it can be.
        known, error = 2.0, abs(difference)
    low, high, p_value = student_interval(difference, error, known - 1)
    return PairedDifference(
        measure=measure, difference=difference, low=low, high=high, p_value=p_value
    )


def paired_difference(first: Sequence[Wrong], second: Sequence[Wrong]) -> dict[str, Any]:
    """Compare two ways of making a model, seed by seed, on the same test samples.

    The keys are those of `PairedDifference`, the numbers of samples summed over seeds. The test is
    McNemar's for one seed, Student's for several; ``interval`` says which. Seeds that all differ
    alike tell of no spread, and count as one.
    """
    pairs = [compare_paired(a, b) for a, b in zip(first, second, strict=True)]
    values = [pair.difference for pair in pairs]
    mean, one = float(np.mean(values)), np.ptp(values) == 0
    interval = pairs[0].low, pairs[0].high, pairs[0].p_value
    if not one:
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        interval = student_interval(mean, error, len(values) - 1)
    return {
        "difference": mean,
        "low": interval[0],
        "high": interval[1],
        "only_first_wrong": sum(pair.only_first_wrong or 0 for pair in pairs),
        "only_second_wrong": sum(pair.only_second_wrong or 0 for pair in pairs),
        "p_value": interval[2],
        "interval": "paired" if one else "t",
        "seeds": len(pairs),
    }
