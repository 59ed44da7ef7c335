"""Calls are timed in turns, and compared round by round."""

from __future__ import annotations

import numpy as np
import pytest

from lrcompress.live.timing import FEWEST, WARM_UP, Timing, interleaved, speed


def test_calls_take_turns_and_begin_a_round_in_turn() -> None:
    """Every round runs each call once; warm-up runs are not counted."""
    order: list[str] = []

    found = interleaved({name: lambda n=name: order.append(n) for name in "abc"}, seconds=0)

    rounds = ["".join(order[i : i + 3]) for i in range(0, len(order), 3)]
    assert rounds[:WARM_UP] == ["abc"] * WARM_UP
    assert rounds[WARM_UP : WARM_UP + 4] == ["abc", "bca", "cab", "abc"]
    assert [found[name].runs for name in "abc"] == [FEWEST] * 3
    assert len(rounds) == WARM_UP + FEWEST


def test_figures_are_those_of_the_runs() -> None:
    """Median and quartiles are of the seconds, runs their number."""
    timing = Timing(np.array([5.0, 1.0, 2.0, 4.0, 3.0]))

    assert timing.to_json() == {"median": 3.0, "q1": 2.0, "q3": 4.0, "runs": 5}


@pytest.mark.parametrize(
    ("factor", "noise", "verdict"),
    [(2.0, 0.02, "faster"), (0.5, 0.02, "slower"), (1.0, 0.02, "same"), (1.05, 0.5, "unclear")],
)
def test_verdict_goes_by_the_interval(factor: float, noise: float, verdict: str) -> None:
    """What is within noise is not called faster; load that both rounds share does not matter."""
    generator = np.random.default_rng(1)
    load = generator.uniform(1, 10, 41)
    after = load * np.exp(noise * generator.standard_normal(41))

    found = speed(Timing(factor * load), Timing(after))

    assert found.verdict == verdict
    assert found.low <= found.ratio <= found.high


def test_fewest_runs_give_an_interval() -> None:
    """The smallest number of rounds bounds the median on both sides."""
    found = speed(Timing(np.arange(1.0, FEWEST + 1)), Timing(np.ones(FEWEST)))

    assert (found.low, found.ratio, found.high) == (1.0, 4.0, 7.0)
