"""Intervals and tests for error rates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Normal quantile of a two-sided 95 % interval.
Z95 = 1.959963984540054


def wilson_interval(errors: int, samples: int) -> tuple[float, float]:
    """Return the 95 % interval of an error rate, in percent (Wilson, JASA 22, 1927).

    Unlike the normal approximation it stays inside [0, 100] and is honest at 0 errors.

    Args:
        errors: Number of wrong predictions.
        samples: Number of predictions, at least 1.
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
