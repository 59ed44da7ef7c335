"""Intervals and tests against scipy, and the properties that any of them must have."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from lrcompress.training.statistics import compare_paired, wilson_interval


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
    spread = np.std(second.astype(float) - first.astype(float)) / np.sqrt(sum(counts))
    assert found.high - found.difference == pytest.approx(
        100 * 1.959964 * spread, rel=1e-5, abs=1e-9
    )


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
