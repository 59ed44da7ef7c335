"""Ranks for several layers at once: the next parameter goes where it lowers the error most.

Each layer has a curve, its error by rank, and one more point: left whole, at its full price and
without error. The lower convex hull of the points gives the steps that pay most first; going along
the hulls of all layers in the order of their slopes is the best allocation at every budget that it
passes through (Shoham & Gersho, IEEE Trans. ASSP 36, 1988, on bit allocation).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lrcompress.lowrank.rank import largest_useful_rank, parameters

# Rank of each layer, None where it stays whole.
Ranks = tuple[int | None, ...]


@dataclass(frozen=True)
class Curve:
    """The error of one layer by rank.

    Attributes:
        shape: (m, n) of its kernel.
        errors: Error by rank, at some ranks from 1 to the break-even rank; what is between is
            taken to lie on a line. Of any unit that is the same for all layers and adds up.
        whole: Error of the layer as it is.
        split: Rank at which it is stored as two factors already, None where it is one kernel.
    """

    shape: tuple[int, int]
    errors: dict[int, float]
    whole: float = 0.0
    split: int | None = None

    @property
    def most(self) -> int:
        """The largest rank that saves anything."""
        return largest_useful_rank(*self.shape, self.split)

    def price(self, rank: int | None) -> int:
        """Return the parameters at a rank, without bias; of None, as it is stored."""
        return parameters(*self.shape, self.split if rank is None else rank)

    def error(self, rank: int | None) -> float:
        """Return the error at a rank."""
        if rank is None:
            return self.whole
        known = sorted(self.errors)
        return float(np.interp(rank, known, [self.errors[r] for r in known]))


def total_price(curves: Sequence[Curve], ranks: Ranks) -> int:
    """Return the parameters of an allocation."""
    return sum(curve.price(rank) for curve, rank in zip(curves, ranks, strict=True))


def total_error(curves: Sequence[Curve], ranks: Ranks) -> float:
    """Return the summed error of an allocation."""
    return sum(curve.error(rank) for curve, rank in zip(curves, ranks, strict=True))


def allocations(curves: Sequence[Curve]) -> list[Ranks]:
    """Return allocations of rising price and falling error, from rank 1 everywhere to all whole.

    Args:
        curves: One a layer; each has a rank that saves something.
    """
    steps = sorted(
        (step for layer, curve in enumerate(curves) for step in _steps(layer, curve)),
        key=lambda step: (-step.slope, step.layer, step.place),
    )
    current: list[int | None] = [1] * len(curves)
    found = [tuple(current)]
    for step in steps:
        for rank in step.ranks:
            current[step.layer] = rank
            found.append(tuple(current))
    return found


def within_budget(curves: Sequence[Curve], most_parameters: int) -> Ranks | None:
    """Return the allocation of least error within a number of parameters, None if there is none.

    Along the hulls first; what is left of the budget then goes to single ranks, best first.
    """
    fitting = [a for a in allocations(curves) if total_price(curves, a) <= most_parameters]
    if not fitting:
        return None
    current = list(fitting[-1])
    left = most_parameters - total_price(curves, tuple(current))
    while True:
        gains = []
        for layer, (curve, rank) in enumerate(zip(curves, current, strict=True)):
            more = None if rank is None or rank >= curve.most else rank + 1
            if rank is None or (more is None and rank > curve.most):
                continue
            cost = curve.price(more) - curve.price(rank)
            if cost <= left:
                gains.append(((curve.error(rank) - curve.error(more)) / cost, -layer, cost, more))
        if not gains:
            return tuple(current)
        _, layer, cost, more = max(gains, key=lambda gain: gain[:2])
        current[-layer] = more
        left -= cost


@dataclass(frozen=True)
class _Step:
    """One piece of a layer's hull: the ranks it goes through, at one gain a parameter."""

    slope: float
    layer: int
    place: int
    ranks: tuple[int | None, ...]


def _steps(layer: int, curve: Curve) -> Iterator[_Step]:
    """Yield the pieces of the lower convex hull of a layer's points, in order of rank."""
    known = [r for r in sorted(curve.errors) if r <= curve.most]
    points: list[int | None] = [1, *(r for r in known if r > 1), None]
    hull: list[int | None] = []
    for point in points:
        while len(hull) > 1 and _slope(curve, hull[-2], hull[-1]) <= _slope(curve, hull[-1], point):
            hull.pop()
        hull.append(point)
    for place, (start, end) in enumerate(itertools.pairwise(hull)):
        if start is None:
            raise AssertionError  # only the last point is the whole layer
        between: tuple[int | None, ...] = (None,)
        if end is not None:
            between = tuple(range(start + 1, end + 1))
        yield _Step(_slope(curve, start, end), layer, place, between)


def _slope(curve: Curve, start: int | None, end: int | None) -> float:
    """Return the error that each parameter between two points takes away."""
    return (curve.error(start) - curve.error(end)) / (curve.price(end) - curve.price(start))
