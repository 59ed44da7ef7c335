"""One rank from what the user asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from lrcompress.compression.choose import choose_rank, pick_rule
from lrcompress.errors import RankError
from lrcompress.lowrank import energy

SIGMA = np.array([2.0, 1.0, 1.0])


def test_one_rule_is_taken() -> None:
    """The rule given is returned with its value."""
    assert pick_rule(4, None, None, None, has_data=False) == ("rank", 4, False)
    assert pick_rule(None, 0.9, None, None, has_data=True) == ("energy", 0.9, False)
    assert pick_rule(None, None, 0.4, None, has_data=False) == ("reduction", 0.4, False)
    assert pick_rule(None, None, None, 0.0, has_data=True) == ("max_drop", 0.0, False)


def test_defaults() -> None:
    """Without a rule the drop decides where there is data, and the energy where there is none."""
    assert pick_rule(None, None, None, None, has_data=True) == ("max_drop", 0.5, True)
    assert pick_rule(None, None, None, None, has_data=False) == ("energy", 0.95, True)


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ((4, 0.9, None, None), "several_rules"),
        ((4.5, None, None, None), "bad_rule"),
        ((True, None, None, None), "bad_rule"),
        ((None, 1.5, None, None), "bad_rule"),
        ((None, None, 0.0, None), "bad_rule"),
        ((None, None, None, -1.0), "bad_rule"),
        ((None, None, None, float("nan")), "bad_rule"),
    ],
)
def test_bad_rules(
    rules: tuple[float | None, float | None, float | None, float | None], code: str
) -> None:
    """Several rules, and values out of range, are refused in one line."""
    with pytest.raises(RankError) as refused:
        pick_rule(*rules, has_data=True)

    assert refused.value.code == code
    assert "\n" not in str(refused.value)


def test_a_drop_needs_data() -> None:
    """Without data the drop cannot be measured, and the message names the other rules."""
    with pytest.raises(RankError, match="--dataset") as refused:
        pick_rule(None, None, None, 0.5, has_data=False)

    assert refused.value.code == "needs_data"


def test_energy_tells_the_neighbours() -> None:
    """The choice holds the measure at the rank and either side of it."""
    choice = choose_rank("energy", 0.8, (9, 3), lambda: energy(SIGMA), None)

    assert choice.rank == 2
    assert choice.found == pytest.approx({1: 4 / 6, 2: 5 / 6, 3: 1.0})
    assert "rank 1: 66.67 %" in choice.message
    assert choice.to_json()["found"]["2"] == pytest.approx(5 / 6)


def test_reduction() -> None:
    """The largest rank that saves the share."""
    choice = choose_rank("reduction", 0.4, (256, 10), lambda: energy(SIGMA), None)

    assert choice.rank == 5
    assert choice.found[5] >= 0.4 > choice.found[6]


@pytest.mark.parametrize("threshold", [*range(1, 10), 30, 57, 83])
def test_smallest_rank_within_a_drop(threshold: int) -> None:
    """The smallest rank that is good enough is found, each rank is asked for once, few are."""
    looked: list[int] = []

    def drops(ranks: Sequence[int]) -> dict[int, float]:
        looked.extend(ranks)
        return {rank: 0.1 if rank >= threshold else 5.0 for rank in ranks}

    choice = choose_rank("max_drop", 0.5, (512, 100), lambda: energy(SIGMA), drops)

    assert choice.rank == threshold
    assert len(set(looked)) == len(looked) <= 35


def test_a_lucky_low_rank_is_not_taken() -> None:
    """A rank that is good enough by chance, below one that is not, does not count."""
    found = dict.fromkeys(range(5, 10), 0.0) | {4: 3.0, 3: 0.2, 2: 9.0, 1: 9.0}

    choice = choose_rank(
        "max_drop",
        0.5,
        (256, 10),
        lambda: energy(SIGMA),
        lambda ranks: {r: found[r] for r in ranks},
    )

    assert choice.rank == 5
    assert choice.found == {4: 3.0, 5: 0.0, 6: 0.0}


@pytest.mark.parametrize("lost", [0.51, 1.4, 7.0])
def test_no_rank_within_a_drop(lost: float) -> None:
    """Where even the largest useful rank loses too much, if only a little, that is said with its loss."""
    with pytest.raises(RankError, match=rf"rank 9.*{lost:.2f} points") as refused:
        choose_rank(
            "max_drop",
            0.5,
            (256, 10),
            lambda: energy(SIGMA),
            lambda ranks: dict.fromkeys(ranks, lost),
        )

    assert refused.value.code == "max_drop_unreachable"


def test_a_default_says_so() -> None:
    """A rank that the user did not choose is announced as the default."""
    choice = choose_rank("energy", 0.95, (9, 3), lambda: energy(SIGMA), None, default=True)

    assert "the default" in choice.message
