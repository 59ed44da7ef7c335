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

from lrcompress.errors import DatasetError
from lrcompress.measure.evaluation import Evaluation
from lrcompress.measure.statistics import (
    Z95,
    Weights,
    effective_samples,
    mean_and_error,
    mean_interval,
    student_interval,
)

# Whether each sample is predicted wrongly, and a score of each, (samples,).
Wrong = NDArray[np.bool_]
Each = NDArray[np.float64]
# A class is lost whose recall was at least so much, in percent, of so many samples, and halves.
WORTH_LOSING, ENOUGH = 10.0, 5
# Classes that a remark names.
MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Two models by a score on the same samples."""

    # What the score is called; None of an error rate without weights, which is told by how many samples only one of
    # the two gets wrong.
    measure: str | None = None
    # The second minus the first, with its 95 % interval: of shares in percentage points, of perplexities in percent
    # of the first.
    difference: float
    low: float
    high: float
    only_first_wrong: int | None = None
    only_second_wrong: int | None = None
    p_value: float  # two-sided; of error rates of the exact McNemar test

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
    """Return the 95 % interval of (c - b) / n, and the exact p-value of b = c, of pairs that only one gets wrong."""
    from scipy.special import betainc
    from scipy.stats import norm

    # The p-value is McNemar's (Psychometrika 12, 1947): binomial on the discordant pairs. The interval is Tango's
    # score interval (Statistics in Medicine 17, 1998). Its end towards 0 carries the continuity correction with which
    # the score at 0 has the exact p-value: about half a pair to either side, without which four pairs against none
    # would count as a difference.
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
    """Compare the roots of the means of two models' scores; see `compare_means`."""
    # The delta method: near its mean, a root moves by the change of what is under it over twice the root.
    roots = [math.sqrt(mean_and_error(scores, weights)[0]) for scores in (first, second)]
    moves = [
        scores / (2 * root) if root else scores
        for scores, root in zip((first, second), roots, strict=True)
    ]
    _, error = mean_and_error(moves[1] - moves[0], weights)
    return _student(measure, roots[1] - roots[0], error, first.size, weights)


def compare_perplexities(first: Each, second: Each, weights: Weights | None) -> PairedDifference:
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
    """Compare two ways of making a model, seed by seed, on the same test samples, by the keys of `PairedDifference`."""
    pairs = [compare_paired(a, b) for a, b in zip(first, second, strict=True)]
    values = [pair.difference for pair in pairs]
    # Seeds that all differ alike tell of no spread, and count as one.
    one = np.ptp(values) == 0
    alone = pairs[0].low, pairs[0].high, pairs[0].p_value
    low, high, p_value = alone if one else mean_interval(values)
    return {
        "difference": float(np.mean(values)),
        "low": low,
        "high": high,
        "only_first_wrong": sum(pair.only_first_wrong or 0 for pair in pairs),
        "only_second_wrong": sum(pair.only_second_wrong or 0 for pair in pairs),
        "p_value": p_value,
        "interval": "paired" if one else "t",
        "seeds": len(pairs),
    }


@dataclass(frozen=True)
class PairedOutputs:
    """Two models with several outputs on the same samples, by output."""

    outputs: dict[str, PairedDifference | PairedOutputs]

    def to_json(self) -> dict[str, Any]:
        """Return the comparisons by output."""
        return {"outputs": {name: found.to_json() for name, found in self.outputs.items()}}


Comparison = PairedDifference | PairedOutputs


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Compare two models on the same samples by what both are measured by."""
    if first.measure == second.measure:
        one, other, weights = first.each, second.each, first.weights
        if first.measure == "error_rate":
            if weights is None:
                return compare_paired(one, other)
            return compare_shares("error_rate", one, other, weights)
        if first.measure == "perplexity":
            return compare_perplexities(one, other, weights)
        if first.measure == "binary_error":
            return compare_means("binary_error", 100 * one, 100 * other, weights)
        if first.measure == "rmse":
            return compare_roots("rmse", one, other, weights)
        pairs = zip(first.outputs.items(), second.outputs.values(), strict=True)
        return PairedOutputs({name: compare(old, new) for (name, old), new in pairs})
    msg = (
        f"One model is measured by its {first.measure}, the other by its {second.measure}; expected "
        "two models of the same kind: evaluate them one by one."
    )
    raise DatasetError(msg, code="measures_differ")


def lost_classes(before: Evaluation, after: Evaluation, output: str = "") -> list[str]:
    """Return remarks on classes that a changed model no longer finds, and on one that is all it gives."""
    if before.outputs:
        pairs = zip(before.outputs.items(), after.outputs.values(), strict=True)
        return [
            text
            for (name, old), new in pairs
            for text in lost_classes(old, new, f"Output {name}: ")
        ]
    old, new = before.by_class, after.by_class
    if old is None or new is None:
        return []
    word, remarks = "label" if before.measure == "binary_error" else "class", list[str]()
    fewest = 0 if word == "label" else 1
    if new.predicted <= fewest < old.predicted:
        what = "no label at all" if word == "label" else "one class only"
        remarks.append(
            f"{output}The result predicts {what} on the test data; the original does not."
        )
    lost = [
        f"{word} {i} ({100 * size / before.samples:.2g} % of the samples): {was:.0f} % to {now:.0f} %"
        for i, (size, was, now) in enumerate(zip(old.samples, old.recall, new.recall, strict=False))
        if was is not None and now is not None
        and size >= ENOUGH and was >= WORTH_LOSING and now < was / 2
    ]  # fmt: skip
    if lost:
        more = f", and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
        remarks.append(
            f"{output}Recall falls by more than half: {'; '.join(lost[:MOST_NAMED])}{more}."
        )
    return remarks
