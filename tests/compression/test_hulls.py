"""Options of several layers for any saving: hulls, conflicts, narrower layers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lrcompress.compression.network.candidates import Option
from lrcompress.compression.network.hulls import path_of, trimmed
from lrcompress.kinds import Place, Serialized

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Toy:
    """A form of 100 weights, of which `size` are left."""

    name: str
    touches: tuple[str, ...]
    narrows: bool = False
    largest: int = 100
    before: int = 100

    def parameters(self, size: int) -> int:
        """Return the size."""
        return size


def option(form: Any, size: int, error: float) -> Option:
    """Return a form at a size."""
    place = Place(form.touches[0], None, Serialized("Toy", {}))
    return Option(place, form, size, 100 - size, None, None, error, error)


def saved(found: Option) -> float:
    """Return the weights that an option saves."""
    return float(found.saved)


def test_the_cheapest_choices_of_independent_layers_are_those_of_an_exhaustive_search() -> None:
    """Along the path, no combination of options saves as much at less error."""
    slots = []
    for name in "abc":
        errors = np.sort(RNG.exponential(size=5) * np.arange(1, 6) ** 2)
        form = Toy("rank", (name,))
        slots.append([option(form, 90 - 15 * k, float(e)) for k, e in enumerate(errors)])

    path = path_of(slots, saved)

    every = [
        (sum(map(saved, kept)), sum(o.error for o in kept))
        for choice in itertools.product(*([None, *slot] for slot in slots))
        for kept in [[o for o in choice if o is not None]]
    ]
    for steps in range(len(path.steps) + 1):
        chosen = path.at(steps)
        amount, error = sum(map(saved, chosen)), sum(o.error for o in chosen)
        assert error <= min(e for s, e in every if s >= amount) + 1e-12
    assert sum(map(saved, path.at(len(path.steps)))) == max(s for s, _ in every)


def test_no_layer_is_changed_twice_unless_it_is_narrower() -> None:
    """Two forms that change one layer bar each other; a narrower layer can be put in factors, of what is left."""
    absorbed, rank = Toy("absorbed", ("table", "cells")), Toy("input kernel", ("cells",))
    units = Toy("units", ("cells",), narrows=True)
    two = [[option(absorbed, 50, 1.0)], [option(rank, 50, 1.1)]]
    narrower = [[option(units, 50, 1.0)], [option(rank, 50, 1.1)]]

    barred, both = path_of(two, saved), path_of(narrower, saved)

    assert len(barred.at(len(barred.steps))) == 1
    assert len(both.at(len(both.steps))) == 2
    assert both.saving(75) is not None
    assert both.saving(76) is None


def test_what_is_saved_too_much_is_given_back() -> None:
    """A layer gets larger again where the budget is still kept, at the greatest gain."""
    slots = []
    for name, slope in (("a", 1.0), ("b", 2.0)):
        form = Toy("rank", (name,))
        slots.append([option(form, 100 - 10 * k, k * slope) for k in range(1, 10)])
    chosen = [slots[0][4], slots[1][4]]

    found = trimmed(chosen, slots, 20, saved)

    assert [o.saved for o in found] == [50, 30]


@pytest.mark.parametrize("least", [0, 10, 95])
def test_the_path_saves_what_is_asked(least: float) -> None:
    """The number of steps is the least that saves so much."""
    slots = [[option(Toy("rank", ("a",)), 100 - k, k * k) for k in range(1, 96)]]

    path = path_of(slots, saved)
    steps = path.saving(least)

    assert steps is not None
    assert sum(map(saved, path.at(steps))) >= least
    assert steps == 0 or sum(map(saved, path.at(steps - 1))) < least


def test_errors_may_be_weighed() -> None:
    """What is narrower is taken where its error counts less, and is not made wider again for what it would gain."""
    units, rank = Toy("units", ("cells",), narrows=True), Toy("rank", ("head",))
    slots = [
        [option(units, 50, 3.0), option(units, 60, 1.0)],
        [option(rank, 50, 2.0), option(rank, 60, 1.5)],
    ]

    def weighed(found: Option) -> float:
        return found.error * (0.1 if found.form.narrows else 1.0)

    def named(found: list[Option]) -> list[tuple[str, int]]:
        return [(one.form.name, one.size) for one in found]

    plain, light = path_of(slots, saved), path_of(slots, saved, weighed)

    assert named(plain.at(plain.saving(50))) == [("units", 60), ("rank", 60)]
    assert named(light.at(light.saving(50))) == [("units", 50)]
    both = [slots[0][0], slots[1][0]]
    assert named(trimmed(both, slots, 10, saved)) == [("units", 60), ("rank", 50)]
    assert named(trimmed(both, slots, 10, saved, weighed)) == [("units", 50), ("rank", 60)]
