"""What could be made of each layer: every form at every size, what it saves, and what it costs in accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrcompress.compression.network.request import Observed
from lrcompress.kinds import Arrays, Form, Place, Solution
from lrcompress.kinds.shapes import multiplications

# Sizes of each form that are solved for, in even ratios down to 1: with the smallest at 5 % of a
# kernel some networks could only be made small enough by ruining another layer.
GRID = 8
# Sizes between them that can be chosen, their errors interpolated.
FINE = 48
# Candidates of each layer that run in the network.
TRIED = 4
_TINY = 1e-12


@dataclass(frozen=True)
class Option:
    """One layer in one form at one size."""

    place: Place
    form: Form
    size: int
    saved: int  # weights; may be negative
    # Multiplications of the layers that it changes for one sample; None where shapes are not known.
    now: int | None
    faster: int | None  # those that it saves of them
    # What it adds to the error of the outputs; without data the relative error of the kernel.
    error: float
    response: float  # relative squared error of the layer's responses
    measured: bool = False  # whether the network ran with it


def multiplications_now(place: Place, form: Form) -> int | None:
    """Return the multiplications of the layers that a form changes, as they are."""
    near = (place, *place.after, *place.between, *place.beyond, place.before, place.shift)
    known = {other.path: other for other in near if other is not None}
    counts = []
    for path in form.touches:
        other = known.get(path)
        if other is None or other.input_shapes is None or other.output_shape is None:
            counts.append(0 if other is place.shift and other is not None else None)
        else:
            counts.append(multiplications(other.layer, other.input_shapes, other.output_shape))
    return None if None in counts else sum(count or 0 for count in counts)


def sizes_of(form: Form, now: int | None, most: int, multiple: int = 1) -> list[int]:
    """Return at most so many sizes of a form that save weights or multiplications, in even ratios."""
    useful = [s for s in _spread(form.largest, 4 * most) if _saves(form, s, now)]
    if not useful:
        return []
    rounded = (round(size / multiple) * multiple for size in _spread(max(useful), most))
    sizes = {min(max(multiple, size), form.largest) for size in rounded}
    return sorted(size for size in sizes if _saves(form, size, now))


def _spread(largest: int, most: int) -> list[int]:
    if largest <= most:
        return list(range(1, largest + 1))
    return sorted({round(s) for s in np.geomspace(1, largest, most)})


def _saves(form: Form, size: int, now: int | None) -> bool:
    if form.parameters(size) < form.before:
        return True
    after = form.multiplications(size)
    return after is not None and now is not None and after < now


def _option(
    place: Place, form: Form, now: int | None, size: int, error: float, response: float,
    measured: bool = False,
) -> Option:  # fmt: skip
    after = form.multiplications(size)
    faster = None if after is None or now is None else now - after
    saved = form.before - form.parameters(size)
    return Option(place, form, size, saved, now, faster, error, response, measured)


def by_weights(place: Place, forms: Sequence[Form], arrays: Arrays, multiple: int) -> list[Option]:
    """Return the options of a layer judged by its kernel alone: nothing is measured."""
    options = []
    for form in forms:
        errors, now = form.errors(arrays, None), multiplications_now(place, form)
        for size in sizes_of(form, now, FINE, multiple):
            lost = float(errors[size - 1])
            options.append(_option(place, form, now, size, lost, lost))
    return options


def by_trials(
    place: Place, forms: Sequence[Form], arrays: Arrays, seen: Any, observed: Observed,  # noqa: ANN401
    multiple: int, lost: float = 0.0, known: Sequence[Option] = (),
) -> list[Option]:  # fmt: skip
    """Return the options of a layer by what the network's outputs lose: some are tried, others lie between them.

    What they lose grows with the error of the layer's responses, alike for all forms of one kernel, but for a factor
    each: a few trials tell the curve. `lost` is what the network as it is has lost already; `known` are options of the
    same layer that were tried before layers got narrower, whose curve is taken over.
    """
    now = {form.name: multiplications_now(place, form) for form in forms}
    options: list[Option] = []
    # What a narrower layer loses is not measured by its own responses.
    groups = [[f for f in forms if not f.narrows], *[[f] for f in forms if f.narrows]]
    for group in groups:
        solved: list[_Solved] = []
        for form in group:
            sizes = sizes_of(form, now[form.name], GRID, multiple)
            found = form.solve(arrays, seen, sizes) if sizes else {}
            solved += [(form, size, solution) for size, solution in sorted(found.items())]
        names = {form.name for form in group}
        # What was tried: the response's error and the outputs', by form.
        points = [
            (o.form.name, (o.response, o.error))
            for o in known
            if o.measured and o.form.name in names
        ]
        tried: dict[tuple[str, int], float] = {}
        for form, size, solution in () if points else _to_try(solved):
            outcome = observed.trial(solution.in_place(), f"{place.path}, {form.name} {size}")
            tried[form.name, size] = max(outcome.output_error - lost, 0.0)
            points.append((form.name, (solution.error, tried[form.name, size])))
        for form in group:
            own = [(size, s.error) for f, size, s in solved if f is form]
            if not own:
                continue
            same = [point for name, point in points if name == form.name]
            curve = _Curve([point for _, point in points], same)
            for size in sizes_of(form, now[form.name], FINE, multiple):
                response, measured = _between(own, size), (form.name, size) in tried
                error = tried[form.name, size] if measured else curve(response)
                options.append(
                    _option(place, form, now[form.name], size, error, response, measured)
                )
    return options


_Solved = tuple[Form, int, Solution]


def _to_try(solved: list[_Solved]) -> list[_Solved]:
    """Return a few candidates, far apart, that save most for their errors; one of each form at least."""
    best = _front(solved)
    if len(best) > TRIED:
        logs = np.log([max(s.error, _TINY) for _, _, s in best])
        wanted = np.linspace(logs.min(), min(logs.max(), math.log(0.7)), TRIED)
        best = [best[i] for i in sorted({int(np.abs(logs - goal).argmin()) for goal in wanted})]
    left = {form.name for form, _, _ in solved} - {form.name for form, _, _ in best}
    for name in sorted(left):
        own = sorted((c for c in solved if c[0].name == name), key=lambda c: c[2].error)
        best.append(own[len(own) // 2])
    return best


def _front(solved: list[_Solved]) -> list[_Solved]:
    """Return the candidates that no other beats in what they save and in error."""
    ordered = sorted(solved, key=lambda c: (c[2].error, c[0].parameters(c[1]) - c[0].before))
    kept: list[_Solved] = []
    most = -math.inf
    for form, size, solution in ordered:
        saved = form.before - form.parameters(size)
        if saved > most:
            kept.append((form, size, solution))
            most = saved
    return kept


class _Curve:
    """Error of the outputs by that of a layer's responses, between the points where it was measured."""

    def __init__(
        self, points: Sequence[tuple[float, float]], own: Sequence[tuple[float, float]]
    ) -> None:
        """Through all points, moved to the mean of a form's `own`."""
        ordered = sorted((max(r, _TINY), max(e, _TINY)) for r, e in points)
        self._x = np.log([r for r, _ in ordered])
        # More error of the responses cannot do less harm, but for noise.
        self._y = np.maximum.accumulate(np.log([e for _, e in ordered]))
        moved = [math.log(max(e, _TINY)) - math.log(self(r)) for r, e in own]
        self._y += float(np.mean(moved)) if moved else 0.0

    def __call__(self, response: float) -> float:
        x = math.log(max(response, _TINY))
        # Outside, small errors add up in squares: in proportion.
        if x <= self._x[0]:
            return float(math.exp(self._y[0] + x - self._x[0]))
        if x >= self._x[-1]:
            return float(math.exp(min(self._y[-1] + x - self._x[-1], 700.0)))
        return float(math.exp(np.interp(x, self._x, self._y)))


def _between(points: Sequence[tuple[int, float]], size: int) -> float:
    """Return the error at a size between those solved for: linear in logarithms."""
    sizes = [math.log(s) for s, _ in points]
    errors = np.log([max(e, _TINY) for _, e in points])
    return float(math.exp(np.interp(math.log(size), sizes, errors)))


def options_of(
    place: Place, arrays: Arrays, seen: Any, observed: Observed | None, multiple: int, lost: float,  # noqa: ANN401
    known: Sequence[Option] = (),
) -> list[Option]:  # fmt: skip
    """Return all options of a layer; `seen` is what its kind gathered of inputs, None without."""
    if place.kind is None:
        return []
    forms = place.kind.forms(place)
    if observed is None:
        return by_weights(place, forms, arrays, multiple)
    if seen is None:
        return []
    return by_trials(place, forms, arrays, seen, observed, multiple, lost, known)
