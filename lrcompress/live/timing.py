"""Timing calls that take turns, so that what else the machine does slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Fewer pairs give no 95 % interval of a median: 1 - 2 / 2**6 is 97 %, with five it would be 94 %.
FEWEST = 7
MOST = 2_000
# First calls compile and allocate; the second and third still settle.
WARM_UP = 3
# A call that takes so long has nothing left to settle.
SLOW = 1.0


@dataclass(frozen=True)
class Timing:
    """How long one call took, again and again.

    Attributes:
        seconds: Of each run in order, shape (runs,), float64; the same rounds for all calls.
    """

    seconds: NDArray[np.float64]

    @property
    def runs(self) -> int:
        """Number of runs, without the warm-up."""
        return len(self.seconds)

    @property
    def median(self) -> float:
        """Median in seconds."""
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile in seconds."""
        low, high = np.percentile(self.seconds, [25, 75])
        return float(low), float(high)

    def to_json(self) -> dict[str, Any]:
        """Return the figures under stable names, in seconds."""
        low, high = self.quartiles
        return {"median": self.median, "q1": low, "q3": high, "runs": self.runs}


@dataclass(frozen=True)
class Speed:
    """How many times as fast a second call is as a first.

    Attributes:
        ratio: Median over the rounds of the first's seconds over the second's.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``faster`` or ``slower`` by 5 % or more, ``same`` within 5 %, else ``unclear``."""
        if self.low > 1.05:
            return "faster"
        if self.high < 1 / 1.05:
            return "slower"
        return "same" if self.low >= 1 / 1.05 and self.high <= 1.05 else "unclear"

    def to_json(self) -> dict[str, Any]:
        """Return the figures and the verdict under stable names."""
        return {"ratio": self.ratio, "low": self.low, "high": self.high, "verdict": self.verdict}


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 2.0,
    after_round: Callable[[float], None] = lambda share: None,
) -> dict[str, Timing]:
    """Time calls in rounds of one run each, the first of a round another one each time.

    Args:
        calls: By name; each must end when its work is done, not when it is sent off.
        seconds: Time for each call; it has at least 7 runs whatever they take, and at most 2,000.
        after_round: Told the share that is done.

    Returns:
        Timings by the same names.
    """
    names = list(calls)
    for _ in range(WARM_UP):
        started = time.perf_counter()
        for name in names:
            calls[name]()
        if time.perf_counter() - started > SLOW * len(names):
            break
    rounds: list[list[float]] = []
    budget, began = seconds * len(names), time.perf_counter()
    while len(rounds) < FEWEST or (len(rounds) < MOST and time.perf_counter() - began < budget):
        turn, first = [0.0] * len(names), len(rounds) % len(names)
        for place in [*range(first, len(names)), *range(first)]:
            started = time.perf_counter()
            calls[names[place]]()
            turn[place] = time.perf_counter() - started
        rounds.append(turn)
        after_round(min(1.0, (time.perf_counter() - began) / budget if budget else 1.0))
    columns = np.asarray(rounds, np.float64).T
    return {name: Timing(column) for name, column in zip(names, columns, strict=True)}


def speed(before: Timing, after: Timing) -> Speed:
    """Compare two calls round by round.

    The interval is that of order statistics, which assumes nothing of the distribution but that
    rounds are independent: load that lasts for many rounds makes it too narrow.

    Args:
        before: The first call.
        after: The second call, timed in the same rounds.
    """
    # Half a second of imports that nobody else in this module needs.
    from scipy.stats import quantile_test

    ratios = before.seconds / after.seconds
    median = float(np.median(ratios))
    interval = quantile_test(ratios, q=median, p=0.5).confidence_interval(0.95)
    return Speed(median, float(interval.low), float(interval.high))
