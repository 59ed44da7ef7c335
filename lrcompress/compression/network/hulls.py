"""Which options of several layers to take for any saving: those that save most for their error come first."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, itemgetter

from lrcompress.compression.network.candidates import Option
from lrcompress.kinds import Form

# Points of a layer's hull, or of layers that are chosen together: more take longer and say little.
_MOST = 64


@dataclass(frozen=True)
class _Point:
    """Options of some layers, taken together: what they save, and their errors, summed."""

    saved: float = 0.0
    error: float = 0.0
    options: tuple[Option, ...] = ()
    # By the path of a layer that is narrower then the share of its weights that is left.
    narrow: Mapping[str, float] = field(default_factory=dict)
    factored: frozenset[str] = frozenset()  # paths of layers that are changed otherwise

    def bars(self, form: Form) -> bool:
        """Return whether a form changes a layer again; one that is narrower can be put in factors."""
        return not (self.narrow.keys() if form.narrows else self.factored).isdisjoint(form.touches)

    def plus(self, option: Option, saved: float, error: float) -> _Point:
        """Return these options and another one, which saves less of a layer that is narrower."""
        path, form = option.place.path, option.form
        left = self.narrow.get(path, 1.0)
        narrow, factored = self.narrow, self.factored
        if form.narrows:
            share = form.parameters(option.size) / max(form.before, 1)
            narrow = {**narrow, **{p: share * narrow.get(p, 1.0) for p in form.touches}}
        else:
            factored = factored.union(form.touches)
        return _Point(
            self.saved + left * saved, self.error + error, (*self.options, option), narrow, factored
        )  # fmt: skip


@dataclass(frozen=True)
class Path:
    """Choices along the lower hulls, from nothing saved to everything: each step saves more."""

    hulls: Sequence[Sequence[_Point]]  # of each group of layers, the first of them empty
    steps: Sequence[int]  # the group that goes on to its next point

    def at(self, steps: int | None) -> list[Option]:
        """Return what is chosen after so many steps, or all."""
        places = Counter(self.steps[:steps])
        return [option for g, hull in enumerate(self.hulls) for option in hull[places[g]].options]

    def saving(self, least: float) -> int | None:
        """Return the number of steps that save at least so much, None where nothing does."""
        places, saved = [0] * len(self.hulls), 0.0
        for number, group in enumerate(self.steps):
            if saved >= least:
                return number
            hull, i = self.hulls[group], places[group]
            saved += hull[i + 1].saved - hull[i].saved
            places[group] += 1
        return len(self.steps) if saved >= least else None


def path_of(
    slots: Sequence[Sequence[Option]], saved: Callable[[Option], float],
    error: Callable[[Option], float] = attrgetter("error"),
) -> Path:  # fmt: skip
    """Return the choices for any budget of what `saved` counts, one option of each slot at most.

    A layer's curve is the lower convex hull of its options; errors of layers add up, nearly. A layer is changed by one
    form at most; one that is narrower by another after that, which then saves less.
    """
    hulls: list[list[_Point]] = []
    for group in _groups(slots):
        hull = [_Point()]
        for slot in group:
            # Each form by itself: the best of one may be barred where another layer's touches it.
            forms = {o.form.name: [p for p in slot if p.form.name == o.form.name] for o in slot}
            single = [
                option
                for own in forms.values()
                for _, option in _hull(
                    [_NOTHING, *((saved(o), error(o), _Point(), o) for o in own)]
                )
                if option is not None
            ]
            pairs: list[_Pair] = [(p.saved, p.error, p, None) for p in hull]
            for option in single:
                path, amount, more = option.place.path, saved(option), error(option)
                pairs += [
                    (p.saved + p.narrow.get(path, 1.0) * amount, p.error + more, p, option)
                    for p in hull
                    if not p.bars(option.form)
                ]
            hull = [p if o is None else p.plus(o, saved(o), error(o)) for p, o in _hull(pairs)]
        hulls.append(hull)
    slopes = [[(_slope(hull, i), g) for i in range(len(hull) - 1)] for g, hull in enumerate(hulls)]
    return Path(hulls, [g for _, g in heapq.merge(*slopes)])


def trimmed(
    chosen: Sequence[Option], slots: Sequence[Sequence[Option]], spare: float,
    saved: Callable[[Option], float], error: Callable[[Option], float] = attrgetter("error"),
) -> list[Option]:  # fmt: skip
    """Return a choice with layers made larger again by what was saved beyond the budget."""
    found = list(chosen)
    alike = {id(o.form): slot for slot in slots for o in slot}
    while True:
        larger = [
            (error(option) - error(other), i, other)
            for i, option in enumerate(found)
            for other in alike[id(option.form)]
            if other.form is option.form
            and error(other) < error(option)
            and 0 < saved(option) - saved(other) <= spare
        ]
        if not larger:
            return found
        _, i, other = max(larger, key=itemgetter(0))
        spare -= saved(found[i]) - saved(other)
        found[i] = other


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


# What is saved, the error, and by what: points to go on from, and perhaps an option.
_Pair = tuple[float, float, _Point, Option | None]
_NOTHING: _Pair = (0.0, 0.0, _Point(), None)


def _hull(points: list[_Pair]) -> list[tuple[_Point, Option | None]]:
    """Return the lower convex hull: from nothing saved on, each step dearer than the one before."""
    kept: list[_Pair] = []
    for point in sorted(points, key=itemgetter(0, 1)):
        if point[0] < 0:
            continue
        while len(kept) > 1 and kept[-1][1] >= point[1]:
            kept.pop()
        if kept and kept[-1][0] == point[0]:
            continue
        while len(kept) > 1 and (kept[-1][1] - kept[-2][1]) * (point[0] - kept[-2][0]) >= (
            point[1] - kept[-2][1]
        ) * (kept[-1][0] - kept[-2][0]):
            kept.pop()
        kept.append(point)
    if len(kept) > _MOST:
        step = len(kept) / _MOST
        kept = [kept[int(i * step)] for i in range(_MOST - 1)] + [kept[-1]]
    return [(point, option) for _, _, point, option in kept]


def _slope(hull: Sequence[_Point], i: int) -> float:
    slope = (hull[i + 1].error - hull[i].error) / (hull[i + 1].saved - hull[i].saved)
    return slope if math.isfinite(slope) else math.inf
