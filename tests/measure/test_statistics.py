"""Intervals and tests against scipy, and the properties that any of them must have."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import binom, binomtest, ttest_1samp

from lrcompress.measure import compare_paired, wilson_interval
from lrcompress.measure.paired import compare_means, compare_shares, discordant
from lrcompress.reporting.headline import verdict


@given(st.integers(1, 100_000), st.data())
@settings(max_examples=60)
def test_wilson_agrees_with_scipy(samples: int, data: st.DataObject) -> None:
    """The interval is scipy's, holds the rate, and stays inside 0 and 100 percent."""
    errors = data.draw(st.integers(0, samples))

    low, high = wilson_interval(errors, samples)

    theirs = binomtest(errors, samples).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((100 * theirs.low, 100 * theirs.high), abs=1e-9)
    assert 0 <= low <= 100 * errors / samples <= high <= 100


@pytest.mark.parametrize("samples", [1, 3, 50, 10_000])
def test_wilson_at_the_ends_is_a_mirror(samples: int) -> None:
    """No errors and nothing but errors give mirrored intervals with exact ends, never empty."""
    none, every = wilson_interval(0, samples), wilson_interval(samples, samples)

    assert none[0] == 0.0
    assert every[1] == 100.0
    assert none[1] == pytest.approx(100 - every[0])
    assert none[1] > 0


@pytest.mark.parametrize(
    ("only_first", "only_second", "both", "neither"),
    [
        (5, 11, 3, 81),
        (11, 5, 3, 81),
        (0, 1, 0, 9),
        (6, 6, 0, 0),
        (0, 40, 0, 0),
        (300, 350, 50, 9_300),
    ],
)
def test_mcnemar_agrees_with_the_binomial(
    only_first: int, only_second: int, both: int, neither: int
) -> None:
    """The p-value is twice the smaller binomial tail of the discordant pairs, at most 1."""
    counts = [only_first, only_second, both, neither]
    first = np.repeat([True, False, True, False], counts)
    second = np.repeat([False, True, True, False], counts)
    order = np.random.default_rng(0).permutation(sum(counts))

    found = compare_paired(first[order], second[order])

    discordant = only_first + only_second
    tail = binom.cdf(min(only_first, only_second), discordant, 0.5)
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))
    assert (found.only_first_wrong, found.only_second_wrong) == (only_first, only_second)
    assert found.difference == pytest.approx(100 * (second.mean() - first.mean()))
    assert found.low <= found.difference <= found.high


@pytest.mark.parametrize("samples", [*range(1, 31)])
def test_interval_p_value_and_verdict_agree(samples: int) -> None:
    """Over all tables of up to 30 samples the interval leaves 0 out if and only if p is below 0.05."""
    for b in range(samples + 1):
        for c in range(samples + 1 - b):
            low, high, p = discordant(b, c, samples)

            assert (low > 0 or high < 0) == (p < 0.05), (b, c)
            assert -1 <= low <= (c - b) / samples <= high <= 1, (b, c)
            paired = {"low": 100 * low, "high": 100 * high, "p_value": p}
            different = "more than chance" in verdict({"drop": paired})
            assert different == (p < 0.05), (b, c)


@pytest.mark.parametrize("pairs", [17, 44, 94, 190, 1_001, 10_413, 14_870])
def test_interval_and_p_value_agree_at_the_edge(pairs: int) -> None:
    """Also of many pairs, where the exact test just rejects and a continuity correction would not."""
    edge = next(b for b in range(pairs // 2, -1, -1) if discordant(b, pairs - b, 20_000)[2] < 0.05)

    assert discordant(edge, pairs - edge, 20_000)[0] > 0
    assert discordant(edge + 1, pairs - edge - 1, 20_000)[0] <= 0


@pytest.mark.parametrize(("b", "c", "n"), [(0, 0, 100), (3, 9, 50), (0, 7, 40), (40, 95, 1_000)])
def test_end_away_from_zero_is_tangos(b: int, c: int, n: int) -> None:
    """It solves Tango's equation, whose deviation is found here by maximum likelihood."""
    high = discordant(b, c, n)[1]

    def likelihood(share: float) -> float:
        # Of the shares that only the first, only the second, and neither alone gets wrong.
        shares = np.array([share, share + high, 1 - 2 * share - high])
        return -float(xlogy([b, c, n - b - c], shares).sum())

    share = minimize_scalar(likelihood, bounds=(0, (1 - high) / 2), options={"xatol": 1e-12}).x
    deviation = np.sqrt(n * (2 * share + high - high**2))
    assert (n * high - (c - b)) / deviation == pytest.approx(1.959964, abs=2e-3)


@pytest.mark.parametrize(
    ("share", "drop"), [(0.02, 0.0), (0.02, 0.02), (0.002, 0.004), (0.1, 0.05)]
)
def test_interval_holds_the_truth_often_enough(share: float, drop: float) -> None:
    """Of 2,000 drawn tables of 400 samples at least 94 % of the intervals hold the true difference."""
    rng = np.random.default_rng(0)
    tables = rng.multinomial(400, [share, share + drop, 1 - 2 * share - drop], 2_000)
    intervals = {(b, c): discordant(b, c, 400) for b, c in {(b, c) for b, c, _ in tables}}

    held = [intervals[b, c][0] <= drop <= intervals[b, c][1] for b, c, _ in tables]

    assert np.mean(held) >= 0.94


def test_weighted_shares_are_those_of_repeated_samples() -> None:
    """Weights that are all alike change nothing, and unequal ones widen the interval."""
    rng = np.random.default_rng(2)
    first, second = rng.random((2, 300)) < np.array([[0.1], [0.2]])
    plain = compare_paired(first, second)

    alike = compare_shares("error_rate", first, second, np.full(300, 2.5))
    unequal = compare_shares("error_rate", first, second, rng.exponential(size=300) + 0.01)

    for key in ("difference", "low", "high", "p_value"):
        assert getattr(alike, key) == pytest.approx(getattr(plain, key)), key
    assert unequal.high - unequal.low > plain.high - plain.low


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9))
@settings(max_examples=60)
def test_means_agree_with_student(values: list[float]) -> None:
    """Of numbers too: the interval leaves 0 out if and only if p is below 0.05, scipy's paired p."""
    changes = np.array(values)
    found = compare_means("rmse", np.zeros(changes.size), changes)

    assert (found.low > 0 or found.high < 0) == (found.p_value < 0.05)
    if changes.size > 1 and np.ptp(changes) > 1e-3:
        assert found.p_value == pytest.approx(ttest_1samp(changes, 0).pvalue)


def test_the_comparison_turns_with_its_sides() -> None:
    """Exchanging the models negates the difference and its interval and keeps the p-value."""
    rng = np.random.default_rng(1)
    first, second = rng.random((2, 500)) < np.array([[0.1], [0.15]])

    one, other = compare_paired(first, second), compare_paired(second, first)

    assert one.difference == pytest.approx(-other.difference)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.p_value == pytest.approx(other.p_value)


def test_comparisons_are_json() -> None:
    """Every field is a plain number that JSON takes."""
    found = compare_paired(np.array([True, False]), np.array([False, False])).to_json()

    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {
        "difference", "low", "high", "only_first_wrong", "only_second_wrong", "p_value",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "rise", "said"),
    [
        (-0.2, 0.4, None, "within the 0.5 points allowed"),
        (0.6, 2.0, None, "exceeds the 0.5 points allowed"),
        (
            -0.2,
            0.6,
            None,
            "too few test samples to tell whether it is within the 0.5 points allowed",
        ),
        (-0.2, 0.4, 6.0, "balanced error rises by 6.00 points, 0.5 were allowed"),
        (-0.2, 0.4, 0.3, "within the 0.5 points allowed"),
    ],
)
def test_a_drop_is_judged_against_what_was_allowed(
    low: float, high: float, rise: float | None, said: str
) -> None:
    """By the same interval; a rare class that is lost is never within the drop."""
    paired = {"difference": 0.1, "low": low, "high": high, "p_value": 0.5}
    found = {"drop": paired, "allowed": 0.5, "measure": "error_rate", "balanced_rise": rise}

    assert verdict(found).endswith(f"Drop on the test data: {said}.")
    assert "Drop" not in verdict(found | {"allowed": None})


@pytest.mark.parametrize(
    ("errors", "samples", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 25.53, 36.62), (15, 148, 6.24, 16.05), (0, 20, 0.0, 16.11), (1, 29, 0.61, 17.18)],
)
def test_wilson_interval(errors: int, samples: int, low: float, high: float) -> None:
    """The interval is the published one."""
    assert wilson_interval(errors, samples) == pytest.approx((low, high), abs=0.006)


def test_paired_comparison() -> None:
    """The difference, its interval and McNemar's exact test follow from the discordant pairs."""
    first = np.array([True] * 5 + [False] * 95)
    second = np.array([False] * 4 + [True] * 1 + [True] * 12 + [False] * 83)

    found = compare_paired(first, second)

    assert found.difference == pytest.approx(8.0)
    assert (found.only_first_wrong, found.only_second_wrong) == (4, 12)
    # 2 * P(X <= 4), X ~ Binomial(16, 1/2)
    assert found.p_value == pytest.approx(2 * (1 + 16 + 120 + 560 + 1820) / 2**16)
    # The exact test does not tell 4 from 12; Tango's interval alone, 0.1 to 16.2, would.
    assert found.low < 0 < 16.2 < found.high + 0.1


def test_paired_comparison_of_equals() -> None:
    """Two models that err on the same samples do not differ."""
    same = np.array([True, False, True])

    found = compare_paired(same, same)

    assert (found.difference, found.p_value) == (0.0, 1.0)
    # Of three samples, z^2 / (3 + z^2) to either side.
    assert (found.low, found.high) == pytest.approx((-56.149, 56.149), abs=1e-3)
