"""What several seeds say together: means, intervals, paired differences and tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.measure.paired import compare_paired, student_interval


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95 % interval.

    Attributes:
        mean: Of the values.
        low: Lower end.
        high: Upper end.
        kind: ``t`` (Student's, of the seeds) or ``wilson`` / ``paired`` (of the test samples, where
            there is one seed).
    """

    mean: float
    low: float
    high: float
    kind: str


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of at least two values with Student's 95 % interval.

    It tells how another seed would come out. All seeds see the same test samples, whose choice is
    not in it.
    """
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    low, high, _ = student_interval(mean, error, len(values) - 1)
    return Interval(mean, low, high, "t")


def paired_difference(
    first: Sequence[NDArray[np.bool_]], second: Sequence[NDArray[np.bool_]]
) -> dict[str, Any]:
    """Compare two ways of making a model, seed by seed, on the same test samples.

    Args:
        first: For each seed, which samples the first model gets wrong, (samples,).
        second: The same of the second, in the same order of seeds.

    Returns:
        ``difference`` of the error rates (second minus first, in points) with its 95 % interval
        ``low``, ``high`` of ``interval`` kind; ``only_first_wrong`` and ``only_second_wrong``,
        summed over seeds; ``p_value`` of the test that the interval is of: McNemar's for one seed,
        Student's for several. Seeds that all differ alike tell of no spread, and count as one.
    """
    pairs = [compare_paired(a, b) for a, b in zip(first, second, strict=True)]
    values = [pair.difference for pair in pairs]
    one = np.ptp(values) == 0
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if not one else 0.0
    low, high, p_value = (
        (pairs[0].low, pairs[0].high, pairs[0].p_value) if one
        else student_interval(float(np.mean(values)), error, len(values) - 1)
    )  # fmt: skip
    return {
        "difference": float(np.mean(values)),
        "low": low,
        "high": high,
        "only_first_wrong": sum(pair.only_first_wrong for pair in pairs),
        "only_second_wrong": sum(pair.only_second_wrong for pair in pairs),
        "p_value": p_value,
        "interval": "paired" if one else "t",
        "seeds": len(pairs),
    }
