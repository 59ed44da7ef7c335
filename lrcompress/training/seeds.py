"""What several seeds say together: means, intervals, paired differences and tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.training.statistics import compare_paired

_CONFIDENCE = 0.975


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
    from scipy.stats import t

    n, mean = len(values), float(np.mean(values))
    half = float(t.ppf(_CONFIDENCE, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, "t")


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
        summed over seeds; ``p_value`` of McNemar's test, exact for one seed, clustered by test
        sample for several.
    """
    pairs = [compare_paired(a, b) for a, b in zip(first, second, strict=True)]
    if len(pairs) == 1:
        return pairs[0].to_json() | {"interval": "paired", "seeds": 1}
    found = mean_interval([pair.difference for pair in pairs])
    return {
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "only_first_wrong": sum(pair.only_first_wrong for pair in pairs),
        "only_second_wrong": sum(pair.only_second_wrong for pair in pairs),
        "p_value": clustered_mcnemar(first, second),
        "interval": found.kind,
        "seeds": len(pairs),
    }


def clustered_mcnemar(
    first: Sequence[NDArray[np.bool_]], second: Sequence[NDArray[np.bool_]]
) -> float:
    """Return the two-sided p-value of McNemar's test with test samples as clusters.

    The models of several seeds tend to fail on the same samples, so their discordant pairs are not
    independent. With ``d_k`` the number of seeds in which only the second model is wrong on sample
    k, less those in which only the first is, ``(sum d_k)^2 / sum d_k^2`` is chi-square with one
    degree of freedom (Durkalski, Palesch, Lipsitz & Rust, Statistics in Medicine 22, 2003). With
    one seed it is McNemar's own statistic.
    """
    from scipy.stats import chi2

    d = np.sum([b.astype(np.int64) - a for a, b in zip(first, second, strict=True)], axis=0)
    spread = int(np.square(d).sum())
    return float(chi2.sf(int(d.sum()) ** 2 / spread, 1)) if spread else 1.0
