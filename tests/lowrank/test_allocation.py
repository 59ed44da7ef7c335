"""Ranks shared out among layers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrcompress.lowrank.allocation import (
    Curve,
    Ranks,
    allocations,
    total_price,
    within_budget,
)


def curve(m: int, n: int, spectrum: list[float]) -> Curve:
    """Return the curve of a kernel with these singular values: the energy that is missing."""
    squares = np.square(spectrum)
    tails = 1 - np.cumsum(squares) / squares.sum()
    most = (m * n - 1) // (m + n)
    return Curve((m, n), {r: float(tails[r - 1]) for r in range(1, most + 1)})


SMALL = [curve(12, 8, [9, 5, 3, 2, 1, 1, 1, 1]), curve(20, 6, [4, 4, 4, 1, 1, 1])]


def total_error(curves: list[Curve], ranks: Ranks) -> float:
    """Return the summed error of an allocation."""
    return sum(curve.error(rank) for curve, rank in zip(curves, ranks, strict=True))


def best(curves: list[Curve], budget: int) -> float:
    """Return the least error within a budget, by trying every allocation."""
    options = [[*range(1, c.most + 1), None] for c in curves]
    return min(
        total_error(curves, ranks)
        for ranks in itertools.product(*options)
        if total_price(curves, ranks) <= budget
    )


def test_the_path_rises_in_price_and_falls_in_error() -> None:
    """From rank 1 everywhere to all layers whole, no step is for nothing."""
    path = allocations(SMALL)
    prices = [total_price(SMALL, ranks) for ranks in path]
    errors = [total_error(SMALL, ranks) for ranks in path]

    assert path[0] == (1, 1)
    assert path[-1] == (None, None)
    assert prices == sorted(set(prices))
    assert errors == sorted(errors, reverse=True)


def test_budgets_on_the_hull_are_met_best() -> None:
    """At the price of every hull corner no other allocation has less error."""
    for ranks in allocations(SMALL):
        budget = total_price(SMALL, ranks)
        found = within_budget(SMALL, budget)

        assert found is not None
        assert total_price(SMALL, found) <= budget
        assert total_error(SMALL, found) == pytest.approx(best(SMALL, budget), abs=1e-12)


def test_a_budget_too_small_has_no_allocation() -> None:
    """Below rank 1 everywhere there is nothing to choose."""
    assert within_budget(SMALL, total_price(SMALL, (1, 1)) - 1) is None


def test_the_steeper_layer_gets_the_next_rank() -> None:
    """Of two layers of one shape, the one with more to lose is served first."""
    steep = curve(10, 10, [5, 4, 3, 2, 1, 1, 1, 1, 1, 1])
    flat = Curve((10, 10), {r: 1e-3 * e for r, e in steep.errors.items()})

    ranks = within_budget([flat, steep], 5 * 20)

    assert ranks == (1, 4)


@given(
    st.lists(st.floats(0.01, 10), min_size=6, max_size=6),
    st.lists(st.floats(0.01, 10), min_size=8, max_size=8),
    st.floats(0.3, 1.0),
)
def test_any_budget_is_met_nearly_best(
    first: list[float], second: list[float], share: float
) -> None:
    """Between hull corners the answer fits, and no single rank could still be added."""
    curves = [curve(20, 6, sorted(first, reverse=True)), curve(12, 8, sorted(second, reverse=True))]
    budget = round(share * (20 * 6 + 12 * 8))

    found = within_budget(curves, budget)

    assert found is not None
    assert total_price(curves, found) <= budget
    for layer, rank in enumerate(found):
        if rank is not None:
            more = rank + 1 if rank < curves[layer].most else None
            larger = (*found[:layer], more, *found[layer + 1 :])
            assert total_price(curves, larger) > budget
