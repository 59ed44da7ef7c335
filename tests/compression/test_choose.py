"""Ranks from what the user asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lrcompress.compression import RULES, Asked, Request, choose_rank, drop_rule, pick
from lrcompress.compression.trial import Counted
from lrcompress.errors import RankError
from lrcompress.lowrank import energy
from lrcompress.records.results import RankChoice

SIGMA = np.array([2.0, 1.0, 1.0])


def picked(
    rules: Mapping[str, float], counts: Counted | None = "points"
) -> tuple[str, float, bool]:
    """Return the rule that is taken of those given."""
    asked = pick(Request(rules=rules), counts)
    return asked.rule.name, asked.value, asked.default


def chosen(
    rule: str,
    value: float,
    shape: tuple[int, int],
    drops: Callable[[Sequence[int]], Mapping[int, float]] | None = None,
    *,
    default: bool = False,
) -> RankChoice:
    """Return the rank of a layer of some shape by a rule."""
    layer = SimpleNamespace(kernel_shape=shape, rank=None)

    def outcomes(ranks: Sequence[int]) -> dict[int, Any]:
        found = drops(ranks) if drops else {}
        # Whichever of both the rule goes by.
        return {
            r: SimpleNamespace(
                drop=lost if rule == "max_drop" else 99.0,
                rise=99.0 if rule == "max_drop" else lost,
            )
            for r, lost in found.items()
        }

    task: Any = SimpleNamespace(
        layer=layer, energies=lambda: energy(SIGMA), outcomes=outcomes,
        judged="on held-out data",
    )  # fmt: skip
    return choose_rank(task, Asked(RULES[rule], value, default))


@pytest.mark.parametrize(
    ("rule", "value"), [("rank", 4), ("energy", 0.9), ("reduction", 0.4), ("max_drop", 0.0)]
)
def test_one_rule_is_taken(rule: str, value: float) -> None:
    """The rule given is returned with its value."""
    assert picked({rule: value}) == (rule, value, False)


def test_defaults() -> None:
    """Without a rule the drop decides where there is data, and the energy where there is none."""
    assert picked({}) == ("max_drop", 0.5, True)
    assert picked({}, "perplexity") == ("max_perplexity_rise", 1.0, True)
    assert picked({}, None) == ("energy", 0.95, True)


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ({"rank": 4, "energy": 0.9}, "several_rules"),
        ({"rank": 4.5}, "bad_rule"),
        ({"rank": True}, "bad_rule"),
        ({"energy": 1.5}, "bad_rule"),
        ({"reduction": 0.0}, "bad_rule"),
        ({"max_drop": -1.0}, "bad_rule"),
        ({"max_drop": float("nan")}, "bad_rule"),
    ],
)
def test_bad_rules(rules: Mapping[str, float], code: str) -> None:
    """Several rules, and values out of range, are refused in one line."""
    with pytest.raises(RankError) as refused:
        picked(rules)

    assert refused.value.code == code
    assert "\n" not in str(refused.value)


def test_a_drop_needs_data() -> None:
    """Without data the drop cannot be measured, and the message names the other rules."""
    with pytest.raises(RankError, match="--dataset, or --rank, --energy or --reduction") as refused:
        picked({"max_drop": 0.5}, None)

    assert refused.value.code == "needs_data"


def test_energy_tells_the_neighbours() -> None:
    """The choice holds the measure at the rank and either side of it."""
    choice = chosen("energy", 0.8, (9, 3))

    assert choice.rank == 2
    assert choice.found == pytest.approx({1: 4 / 6, 2: 5 / 6, 3: 1.0})
    assert "rank 1: 66.67 %" in choice.message


def test_reduction() -> None:
    """The largest rank that saves the share."""
    choice = chosen("reduction", 0.4, (256, 10))

    assert choice.rank == 5
    assert choice.found[5] >= 0.4 > choice.found[6]


@pytest.mark.parametrize("rule", ["max_drop", "max_perplexity_rise"])
@pytest.mark.parametrize("threshold", [*range(1, 10), 30, 57, 83])
def test_smallest_rank_within_a_drop(threshold: int, rule: str) -> None:
    """The smallest rank that is good enough is found, each rank is asked for once, few are."""
    looked: list[int] = []

    def drops(ranks: Sequence[int]) -> dict[int, float]:
        looked.extend(ranks)
        return {rank: 0.1 if rank >= threshold else 5.0 for rank in ranks}

    choice = chosen(rule, 0.5, (512, 100), drops)

    assert choice.rank == threshold
    assert len(set(looked)) == len(looked) <= 35


def test_a_lucky_low_rank_is_not_taken() -> None:
    """A rank that is good enough by chance, below one that is not, does not count."""
    found = dict.fromkeys(range(5, 10), 0.0) | {4: 3.0, 3: 0.2, 2: 9.0, 1: 9.0}

    choice = chosen("max_drop", 0.5, (256, 10), lambda ranks: {r: found[r] for r in ranks})

    assert choice.rank == 5
    assert choice.found == {4: 3.0, 5: 0.0, 6: 0.0}


@pytest.mark.parametrize("lost", [0.51, 1.4, 7.0])
def test_no_rank_within_a_drop(lost: float) -> None:
    """Where even the largest useful rank loses too much, if only a little, that is said with its loss."""
    with pytest.raises(RankError, match=rf"rank 9.*{lost:.2f} pt") as refused:
        chosen("max_drop", 0.5, (256, 10), lambda ranks: dict.fromkeys(ranks, lost))

    assert refused.value.code == "max_drop_unreachable"


def test_a_default_says_so() -> None:
    """A rank that the user did not choose is announced as the default."""
    choice = chosen("energy", 0.95, (9, 3), default=True)

    assert "the default" in choice.message


@pytest.mark.parametrize(
    ("given", "rule"),
    [(0.5, ("max_drop", 0.5)), ("1", ("max_drop", 1.0)), ("1.5 %", ("max_perplexity_rise", 1.5))],
)
def test_a_percent_sign_is_of_perplexity(given: float | str, rule: tuple[str, float]) -> None:
    """A number alone is points of error."""
    assert drop_rule(given) == rule


@pytest.mark.parametrize("given", ["a bit", "%", "1%%", True])
def test_no_drop(given: Any) -> None:
    """What is neither says what was received."""
    with pytest.raises(RankError, match="Received") as refused:
        drop_rule(given)

    assert refused.value.code == "bad_rule"
