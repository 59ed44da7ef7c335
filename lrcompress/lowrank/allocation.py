"""Ranks for several layers at once: the next parameter goes where it lowers the error most.

Each layer has a curve, its error by rank, and one more point: left whole, at its full price and
without error. The lower convex hull of the points gives the steps that pay most first; going along
the hulls of all layers in the order of their slopes is the best allocation at every budget that it
passes through (Shoham & Gersho, IEEE Trans. ASSP 36, 1988, on bit allocation).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lrcompress.lowrank.ranks import largest_useful_rank, parameters

# Rank of each layer, None where it stays whole.
Ranks = tuple[int | None, ...]


@dataclass(frozen=True)
class Curve:
    """The error of one layer by rank, of any unit that is the same for all layers and adds up."""

    shape: tuple[int, int]
    # At some ranks from 1 to the break-even rank; what is between is taken to lie on a line.
    errors: dict[int, float]
    whole: float = 0.0
    # Rank at which it is stored as two factors already, None where it is one kernel.
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
        if rank in self.errors:
            return self.errors[rank]
        known = sorted(self.errors)
        return float(np.interp(rank, known, [self.errors[r] for r in known]))

    def slope(self, start: int | None, end: int | None) -> float:
        """Return the error that each parameter between two ranks takes away."""
        return (self.error(start) - self.error(end)) / (self.price(end) - self.price(start))

    def steps(self) -> Iterator[tuple[float, tuple[int | None, ...]]]:
        """Yield the pieces of the lower convex hull in order of rank: slope, and ranks gone through."""
        known = [r for r in sorted(self.errors) if r <= self.most]
        points: list[int | None] = [1, *(r for r in known if r > 1), None]
        hull: list[int | None] = []
        for point in points:
            while len(hull) > 1 and self.slope(*hull[-2:]) <= self.slope(hull[-1], point):
                hull.pop()
            hull.append(point)
        for start, end in itertools.pairwise(hull):
            if start is None:
                raise AssertionError  # only the last point is the whole layer
            between = (None,) if end is None else tuple(range(start + 1, end + 1))
            yield self.slope(start, end), between


def total_price(curves: Sequence[Curve], ranks: Ranks) -> int:
    """Return the parameters of an allocation."""
    return sum(curve.price(rank) for curve, rank in zip(curves, ranks, strict=True))


def allocations(curves: Sequence[Curve]) -> Allocations:
    """Return allocations of rising price and falling error, from rank 1 everywhere to all whole."""
    steps = sorted(
        (-slope, layer, place, ranks)
        for layer, curve in enumerate(curves)
        for place, (slope, ranks) in enumerate(curve.steps())
    )
    return Allocations(len(curves), [(layer, r) for _, layer, _, ranks in steps for r in ranks])


@dataclass(frozen=True)
class Allocations:
    """Allocations of which each differs from the one before in one layer: in the first each has rank 1."""

    layers: int
    # Layer and its new rank, by which each further one differs.
    changes: Sequence[tuple[int, int | None]]

    def __len__(self) -> int:
        return len(self.changes) + 1

    def __getitem__(self, place: int) -> Ranks:
        ranks: list[int | None] = [1] * self.layers
        for layer, rank in self.changes[: range(len(self))[place]]:
            ranks[layer] = rank
        return tuple(ranks)

    def last_below(self, most: float, cost: Callable[[int, int | None], float]) -> int:
        """Return the place of the last allocation whose costs by layer and rank sum to at most `most`, or -1."""
        at = [cost(layer, 1) for layer in range(self.layers)]
        total = math.fsum(at)
        if total > most:
            return -1
        for place, (layer, rank) in enumerate(self.changes):
            new = cost(layer, rank)
            total += new - at[layer]
            at[layer] = new
            if total > most:
                return place
        return len(self.changes)


def within_budget(curves: Sequence[Curve], most_parameters: int) -> Ranks | None:
    """Return the allocation of least error within a number of parameters, None if there is none."""
    path = allocations(curves)
    last = path.last_below(most_parameters, lambda layer, rank: curves[layer].price(rank))
    if last < 0:
        return None
    current = list(path[last])
    left = most_parameters - total_price(curves, path[last])
    # What the hulls leave of the budget goes to single ranks, best first.
    # What one more rank of a layer gains a parameter (negated), the layer, its price and that rank.
    gains: list[tuple[float, int, int, int | None]] = []

    def offer(layer: int) -> None:
        curve, rank = curves[layer], current[layer]
        if rank is not None and rank <= curve.most:
            more = rank + 1 if rank < curve.most else None
            cost = curve.price(more) - curve.price(rank)
            gain = (curve.error(more) - curve.error(rank)) / cost
            heapq.heappush(gains, (gain, layer, cost, more))

    for layer in range(len(curves)):
        offer(layer)
    while gains:
        _, layer, cost, rank = heapq.heappop(gains)
        # What does not fit now never will: what is left only shrinks.
        if cost <= left:
            current[layer] = rank
            left -= cost
            offer(layer)
    return tuple(current)
