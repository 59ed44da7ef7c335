"""Scaling, statistics and scores: the plain arithmetic of the training room."""

from __future__ import annotations

import numpy as np
import pytest

from lrcompress.data.scaling import parse
from lrcompress.errors import DatasetError
from lrcompress.measure import compare_paired, wilson_interval


def test_scalings() -> None:
    """Each word does what it says."""
    x = np.array([[0, 255], [51, 102]], np.uint8)

    assert parse("as-is", x)(x).tolist() == [[0, 255], [51, 102]]
    np.testing.assert_allclose(parse("/255", x)(x), x / 255, rtol=1e-6)
    np.testing.assert_allclose(parse("/127.5-1", x)(x), x / 127.5 - 1, rtol=1e-6)
    np.testing.assert_allclose(parse("/16", x)(x), x / 16)
    assert parse("/255", x)(x).dtype == np.float32


def test_standardized_is_per_channel() -> None:
    """Pictures are standardised per channel; a channel that never changes does not divide by zero."""
    x = np.random.default_rng(0).integers(0, 255, (50, 4, 4, 3)).astype(np.uint8)
    x[..., 2] = 7

    scaled = parse("standardized", x)(x)

    np.testing.assert_allclose(scaled[..., :2].mean(axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(scaled[..., :2].std(axis=(0, 1, 2)), 1, atol=1e-4)
    assert np.isfinite(scaled).all()


@pytest.mark.parametrize("name", ["", "255", "/0", "/x", "unit", "/255-2"])
def test_unknown_scalings(name: str) -> None:
    """Other words are refused with the ones that are known."""
    with pytest.raises(DatasetError, match=r"expected as-is, /255") as error:
        parse(name, np.zeros((2, 2)))

    assert error.value.code == "scaling"


@pytest.mark.parametrize(
    ("errors", "samples", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 25.53, 36.62), (15, 148, 6.24, 16.05), (0, 20, 0.0, 16.11), (1, 29, 0.61, 17.18)],
)
def test_wilson_interval(errors: int, samples: int, low: float, high: float) -> None:
    """The interval is the published one."""
    assert wilson_interval(errors, samples) == pytest.approx((low, high), abs=0.006)


def test_wilson_interval_at_the_ends() -> None:
    """No error and nothing but errors give exact ends."""
    assert wilson_interval(0, 50)[0] == 0.0
    assert wilson_interval(50, 50)[1] == 100.0


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
