"""Which options of several layers to take for any saving: those that save most for their error come first."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lrcompress.compression.network.candidates import Option

# Options of a layer, or of layers that a form changes together, chosen at once.
_Choice = tuple[Option, ...]
_Point = tuple[float, float, _Choice]  # what is saved, the error, and by what
# Of a layer, on its hull: more would make pairs of layers too many.
_MOST = 40


@dataclass(frozen=True)
class Path:
    """Choices along the lower hulls, from nothing saved to everything: each step saves more.

    Attributes:
        hulls: Points of each group of layers, the first of them (0, 0, ()).
        steps: Number of the group that goes on to its next point, in order.
    """

    hulls: Sequence[Sequence[_Point]]
    steps: Sequence[int]

    def at(self, steps: int) -> list[Option]:
        """Return what is chosen after so many steps."""
        places = [0] * len(self.hulls)
        for group in self.steps[:steps]:
            places[group] += 1
        return [o for hull, i in zip(self.hulls, places, strict=True) for o in hull[i][2]]

    def saving(self, least: float) -> int | None:
        """Return the number of steps that save at least so much, None where nothing does."""
        places, saved = [0] * len(self.hulls), 0.0
        for number, group in enumerate(self.steps):
            if saved >= least:
                return number
            hull, i = self.hulls[group], places[group]
            saved += hull[i + 1][0] - hull[i][0]
            places[group] += 1
        return len(self.steps) if saved >= least else None


def path_of(slots: Sequence[Sequence[Option]], saved: Callable[[Option], float]) -> Path:
    """Return the choices for any budget of what `saved` counts, one option of each slot at most.

    A layer's curve is the lower convex hull of its options; errors of layers add up, nearly. Of
    layers that one form changes together at most one form changes each; a narrower layer can be
    changed by another form after that, which then saves less.
    """
    hulls: list[list[_Point]] = []
    for group in _groups(slots):
        hull = _hull([(0.0, 0.0, ())])
        for slot in group:
            own: list[_Point] = [(saved(o), o.error, (o,)) for o in slot]
            # Each form by itself: the best of one may be barred where another layer's touches it.
            forms = {o.form.name for o in slot}
            points = [p for f in forms for p in _hull([q for q in own if q[2][0].form.name == f])]
            both = [_both(a, b) for a in hull for b in points if _apart(a, b)]
            hull = _hull(hull + both)
        hulls.append(hull)
    heap = [(_slope(hull, 0), g, 0) for g, hull in enumerate(hulls) if len(hull) > 1]
    heapq.heapify(heap)
    steps: list[int] = []
    while heap:
        _, g, i = heapq.heappop(heap)
        steps.append(g)
        if i + 2 < len(hulls[g]):
            heapq.heappush(heap, (_slope(hulls[g], i + 1), g, i + 1))
    return Path(hulls, steps)


def trimmed(
    chosen: Sequence[Option], slots: Sequence[Sequence[Option]], spare: float,
    saved: Callable[[Option], float],
) -> list[Option]:  # fmt: skip
    """Return a choice with layers made larger again by what was saved beyond the budget."""
    found = list(chosen)
    while True:
        best: tuple[float, int, Option | None] = (0.0, -1, None)
        for i, option in enumerate(found):
            for other in next(slot for slot in slots if option in slot or _same(slot, option)):
                back = saved(option) - saved(other)
                if other.form is not option.form or not 0 < back <= spare:
                    continue
                if option.error - other.error > best[0]:
                    best = (option.error - other.error, i, other)
        if best[2] is None:
            return found
        spare -= saved(found[best[1]]) - saved(best[2])
        found[best[1]] = best[2]


def _same(slot: Sequence[Option], option: Option) -> bool:
    return any(o.form is option.form for o in slot)


def _groups(slots: Sequence[Sequence[Option]]) -> list[list[Sequence[Option]]]:
    """Return the slots by groups: those of which a form changes a layer that another's form changes."""
    owner: dict[str, str] = {}

    def root(path: str) -> str:
        while owner.setdefault(path, path) != path:
            path = owner[path]
        return path

    for slot in slots:
        for option in slot:
            for other in option.form.touches:
                owner[root(other)] = root(option.place.path)
    found: dict[str, list[Sequence[Option]]] = {}
    # Narrower layers first: what else becomes of them depends on it.
    for slot in sorted(slots, key=lambda some: not (some and some[0].form.narrows)):
        if slot:
            found.setdefault(root(slot[0].place.path), []).append(slot)
    return list(found.values())


def _apart(one: _Point, other: _Point) -> bool:
    """Return whether no layer is changed twice, but for a narrower one that is put in factors."""
    return all(
        a.form.narrows != b.form.narrows or set(a.form.touches).isdisjoint(b.form.touches)
        for a in one[2]
        for b in other[2]
    )


def _both(one: _Point, other: _Point) -> _Point:
    (new,) = other[2]
    left = 1.0
    for option in one[2]:
        if option.form.narrows and new.place.path in option.form.touches:
            left *= option.form.parameters(option.size) / max(option.form.before, 1)
    return one[0] + left * other[0], one[1] + other[1], (*one[2], new)


def _hull(points: list[_Point]) -> list[_Point]:
    """Return the lower convex hull: from the least saved on, each step dearer than the one before."""
    kept: list[_Point] = []
    for point in sorted(points, key=lambda p: (p[0], p[1])):
        if point[0] < 0:
            continue
        while kept and kept[-1][1] >= point[1] and kept[-1][2]:
            kept.pop()
        if kept and kept[-1][0] == point[0]:
            continue
        while len(kept) > 1 and _gradient(kept[-2], kept[-1]) >= _gradient(kept[-2], point):
            kept.pop()
        kept.append(point)
    if len(kept) > _MOST:
        step = len(kept) / _MOST
        kept = [kept[int(i * step)] for i in range(_MOST - 1)] + [kept[-1]]
    return kept


def _gradient(one: _Point, other: _Point) -> float:
    return (other[1] - one[1]) / (other[0] - one[0])


def _slope(hull: Sequence[_Point], i: int) -> float:
    slope = _gradient(hull[i], hull[i + 1])
    return slope if math.isfinite(slope) else math.inf
