"""One model file on the way: its layers, what is known of them, and the forms solved for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from lrcompress.compression.network.candidates import Option, options_of
from lrcompress.compression.network.goals import Goal, Values
from lrcompress.compression.network.request import Observe, Observed
from lrcompress.compression.trial import Outcome
from lrcompress.errors import UnsupportedModelError
from lrcompress.events import progress
from lrcompress.kinds import Arrays, Batch, Place, Serialized, Solution
from lrcompress.lowrank import takes_metric
from lrcompress.modelfile import ModelFile, Site, find_head, read_arrays

# How often a layer before a ReLU is solved again, for what that lets pass.
_RELAXED = 2
# By layer and form.
Solutions = dict[tuple[str, str], Solution]


class Stage:
    """Layers of a model file in the order in which they are computed, and what inputs show of them if there are any."""

    def __init__(
        self, model: ModelFile, places: Mapping[str, Place], observe: Observe | None, multiple: int,
        before: Stage | None = None, narrowed: Solutions | None = None,
    ) -> None:  # fmt: skip
        """Read the arrays, run the network, and try each layer by itself; those of the stage `before` were narrowed."""
        self.model, self.places, self.observe = model, places, observe
        # Options of each layer; those that make it narrower by themselves.
        self.slots: list[list[Option]] = []
        self._first: Stage = self if before is None else before._first
        # Which outputs of the first stage's layers are left.
        self._kept: dict[str, NDArray[Any]] = {} if before is None else dict(before._kept)
        for (path, _), solution in (narrowed or {}).items():
            if solution.kept is not None:
                old = self._kept.get(path)
                self._kept[path] = solution.kept if old is None else old[solution.kept]
        self.observed: Observed | None = None if observe is None else observe(model)
        # Without inputs each kernel is needed once, and a large network does not fit in memory twice.
        self.arrays: Arrays = _Stored(model)
        if observe is not None:
            self.arrays = {path: self.arrays[path] for path in _touched(places)}
        self.seen: Mapping[str, Any] = {}
        self.as_it_is: Outcome | None = None
        if self.observed is not None:
            self.seen = self.observed.gather(list(places.values()), self.arrays)
            self.as_it_is = self.observed.trial({}, "as it is")
        lost = 0.0 if self.as_it_is is None else self.as_it_is.output_error
        for number, (path, place) in enumerate(places.items(), 1):
            seen = self.seen.get(path)
            known = [o for slot in self._first.slots for o in slot if o.place.path == path]
            found = options_of(place, self.arrays, seen, self.observed, multiple, lost, known)
            for narrows in (True, False):
                self.slots.append([o for o in found if o.form.narrows == narrows])
            progress("trying each layer alone", number, len(places))

    @property
    def full_width(self) -> list[list[Option]]:
        """Options that make no layer narrower, of the layers that have some."""
        return [slot for slot in self.slots if slot and not slot[0].form.narrows]

    def solved(self, chosen: Sequence[Option], *, by_weights: bool = False) -> Solutions:
        """Return each chosen layer solved by itself."""
        found: Solutions = {}
        for number, option in enumerate(chosen, 1):
            seen = None if by_weights else self.seen.get(option.place.path)
            solution = option.form.solve(self.arrays, seen, [option.size])[option.size]
            found[option.place.path, option.form.name] = solution
            progress("factorizing", number, len(chosen))
        return found

    def in_order(self, chosen: Sequence[Option]) -> tuple[Solutions, Outcome]:
        """Return the chosen layers solved one after the other, each corrected for what flows into it now."""
        if self.observed is None:
            raise AssertionError  # without inputs nothing flows
        by_path = {option.place.path: option for option in chosen}
        # What another layer's form changes is not changed again by itself.
        taken = {path for option in chosen for path in option.form.touches[1:]}
        current: Values = dict(self.arrays)
        found: Solutions = {}
        done: set[str] = set()

        def visit(place: Place, old: list[Batch], new: list[Batch]) -> Arrays | None:
            option, kind = by_path.get(place.path), place.kind
            if kind is None or place.path in done or place.path in taken:
                return None
            gathered = None if option is None else self._gathered(place, current, new)
            # Of a wide kernel only the responses are known, and they are of the kernel as it is.
            of_kernel = not getattr(gathered, "is_whole", True)
            goal = None
            if kind.linear and (bool(found) or self is not self._first):
                goal = self._goal(place, current, old, new, gathered)
            if option is None and goal is None:
                return None
            if goal is not None:
                current.update(goal.arrays)
                gathered = self._gathered(place, current, new) if of_kernel else gathered

            def solved() -> Solution:
                # A copy: what is solved is built later, from the arrays as they are now.
                own = dict(current)
                if option is None:
                    return _whole(place, own)
                return option.form.solve(own, gathered, [option.size])[option.size]

            solution = solved()
            for _ in range(0 if of_kernel else _RELAXED):
                if goal is not None and goal.relaxed(solution.in_place()):
                    current.update(goal.arrays)
                    solution = solved()
            done.add(place.path)
            found[place.path, "" if option is None else option.form.name] = solution
            result = solution.in_place()
            current.update(result)
            return result

        self.observed.in_order(list(self.places.values()), visit)
        return found, self.observed.trial(in_place(found), "all together, corrected")

    def _gathered(self, place: Place, arrays: Arrays, batches: list[Batch]) -> Any:  # noqa: ANN401
        """Return what a layer's kind gathers of what flows through it, for forms that do not narrow it."""
        kind: Any = place.kind
        found: Any = None
        for batch in batches:
            found = kind.gather(dataclasses.replace(place, beyond=()), arrays, batch, found)
        if takes_metric(found):
            found.metric = self.seen[place.path].metric
        return found

    def _goal(
        self, place: Place, arrays: Values, old: list[Batch], new: list[Batch], seen: object
    ) -> Goal | None:
        """Return what a layer is to give from the new inputs: what that of the first stage gave from the old."""
        source = self._first.places.get(place.path)
        if source is None or source.layer.class_name != place.layer.class_name:
            return None
        head = self._head
        is_head = head is not None and head.path == place.path and head.use_bias
        goal = Goal(
            (source, self._first.arrays, old), (place, dict(arrays), new), self.arrays, seen,
            self._kept.get(place.path), before_softmax=is_head,
        )  # fmt: skip
        return goal if goal.fits else None

    @cached_property
    def _head(self) -> Site | None:
        """The layer whose responses a softmax makes the output of, if there is one."""
        try:
            head = find_head(self.model)
        except UnsupportedModelError:
            return None
        return head if head.softmax and len(head.layers) == 1 else None


def in_place(solutions: Solutions) -> Values:
    """Return the arrays by which the network computes what solutions do."""
    return {path: own for one in solutions.values() for path, own in one.in_place().items()}


def edits_of(solutions: Solutions) -> dict[str, tuple[Serialized, ...]]:
    """Return the stock layers that solutions make of a file's."""
    return {path: made for one in solutions.values() for path, made in one.layers().items()}


class _Stored(Mapping[str, tuple[NDArray[Any], ...]]):
    """The arrays of every layer of a file, read each time that they are asked for."""

    def __init__(self, model: ModelFile) -> None:
        self._model = model
        self._paths = ["/".join(path) for path in model.weights.of_layer]

    def __getitem__(self, path: str) -> tuple[NDArray[Any], ...]:
        arrays: tuple[NDArray[Any], ...] = read_arrays(self._model, path)
        return arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def _touched(places: Mapping[str, Place]) -> dict[str, None]:
    """Return the layers that any form may change or look at."""
    paths: dict[str, None] = {}
    for path, place in places.items():
        paths[path] = None
        for form in place.kind.forms(place) if place.kind else ():
            paths |= dict.fromkeys(form.touches)
        # What its output passes through: a kind may look through it.
        paths |= dict.fromkeys(other.path for other in place.between)
    return paths


def _whole(place: Place, arrays: Arrays) -> Solution:
    """Return a layer that is kept whole, with the arrays that it has now."""
    parts = {place.path: place.layer} | (
        {place.shift.path: place.shift.layer} if place.shift else {}
    )
    own = {path: arrays[path] for path in parts if path in arrays}

    def stock() -> dict[str, tuple[Serialized, ...]]:
        return {p: (dataclasses.replace(parts[p], arrays=values),) for p, values in own.items()}

    return Solution(0.0, stock, lambda: own)
