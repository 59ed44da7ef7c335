"""Counts of parameters and the rules for a rank."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lrcompress import lowrank
from lrcompress.errors import RankError


@pytest.mark.parametrize(
    ("m", "n", "rank"), [(512, 100, 83), (256, 10, 9), (50, 1, 0), (2, 2, 0), (4, 4, 1), (3, 6, 1)]
)
def test_break_even(m: int, n: int, rank: int) -> None:
    """It is the largest rank that saves anything."""
    found = lowrank.break_even_rank(m, n)

    assert found == rank
    assert found == 0 or lowrank.parameters(m, n, found) < lowrank.parameters(m, n)
    assert lowrank.parameters(m, n, found + 1) >= lowrank.parameters(m, n)


@pytest.mark.parametrize(
    ("rank", "m", "n", "code", "words"),
    [
        (0, 256, 10, "rank_out_of_range", ["between 1 and 10", "rank=0"]),
        (11, 256, 10, "rank_out_of_range", ["between 1 and 10", "up to 9"]),
        (10, 256, 10, "rank_saves_nothing", ["at most 9", "--force"]),
        (84, 512, 100, "rank_saves_nothing", ["at most 83"]),
        (1, 50, 1, "nothing_to_gain", ["(50, 1)"]),
    ],
)
def test_ranks_that_are_refused(rank: int, m: int, n: int, code: str, words: list[str]) -> None:
    """Each refusal is one line with the bound."""
    with pytest.raises(RankError) as refused:
        lowrank.check_rank(rank, m, n)

    assert refused.value.code == code
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


def test_ranks_that_are_allowed() -> None:
    """Ranks that save pass, and with force those that the kernel has."""
    lowrank.check_rank(9, 256, 10)
    lowrank.check_rank(10, 256, 10, force=True)
    lowrank.check_rank(1, 50, 1, force=True)
    with pytest.raises(RankError):
        lowrank.check_rank(11, 256, 10, force=True)


def test_energy_rule() -> None:
    """The smallest rank that reaches the share, exact at the boundary."""
    sigma = np.array([2.0, 1.0, 1.0])

    np.testing.assert_allclose(lowrank.energy(sigma), [4 / 6, 5 / 6, 1])
    assert lowrank.rank_for_share(lowrank.energy(sigma), 4 / 6) == 1
    assert lowrank.rank_for_share(lowrank.energy(sigma), 0.67) == 2
    assert lowrank.rank_for_share(lowrank.energy(sigma), 1.0) == 3
    assert lowrank.rank_for_share(lowrank.energy(np.array([1.0, 1e-9])), 1.0) == 1
    assert lowrank.rank_for_share(lowrank.energy(np.zeros(3)), 0.5) == 1


def test_reduction_rule() -> None:
    """The largest rank that saves at least the share; a rank's own share gives it back."""
    for rank in (1, 5, 40, 83):
        share = 1 - rank * 612 / 51_200
        assert lowrank.rank_for_reduction(512, 100, share) == rank
    assert lowrank.rank_for_reduction(512, 100, 1e-9) == 83
    with pytest.raises(RankError, match=r"rank 1 saves 98\.8 %") as refused:
        lowrank.rank_for_reduction(512, 100, 0.99)
    assert refused.value.code == "reduction_unreachable"


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_shares_that_are_none(share: float) -> None:
    """A share is above 0 and at most 1."""
    with pytest.raises(RankError):
        lowrank.rank_for_share(lowrank.energy(np.ones(3)), share)
    with pytest.raises(RankError):
        lowrank.rank_for_reduction(10, 10, share)


@pytest.mark.parametrize(("m", "n"), [(50, 1), (1, 50), (2, 2)])
def test_reduction_where_nothing_can_be_saved(m: int, n: int) -> None:
    """Where even rank 1 enlarges the layer, a share is refused for that reason."""
    with pytest.raises(RankError, match="nothing to gain") as refused:
        lowrank.rank_for_reduction(m, n, 0.3)

    assert refused.value.code == "nothing_to_gain"


def test_the_grid_falls_from_the_largest_rank_to_one() -> None:
    """Every rank of a small head; even ratios for a large one."""
    assert lowrank.rank_grid(5) == [5, 4, 3, 2, 1]
    grid = lowrank.rank_grid(800)
    assert (grid[0], grid[-1]) == (800, 1)
    assert all(0.7 < low / high < 1 for high, low in itertools.pairwise(grid) if high > 5)


def test_spread_ranks_are_even_in_ratio() -> None:
    """From rank 1 to the most, each once; ratios are the same but for rounding."""
    found = lowrank.spread_ranks(1000, 8)

    assert (found[0], found[-1], len(found)) == (1, 1000, 8)
    assert all(2.2 < high / low < 3.1 for low, high in itertools.pairwise(found))
    assert lowrank.spread_ranks(3, 8) == [1, 2, 3]
