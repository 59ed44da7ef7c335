"""A whole network under one budget: layers are looked at, forms and sizes chosen, kernels corrected in order.

In one that is factorized already, what are factors of one layer are that layer first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from lrcompress import errors, modelfile
from lrcompress.compression.network.budget import Budget
from lrcompress.compression.network.candidates import Option
from lrcompress.compression.network.request import BudgetName, NetworkRequest, Observe
from lrcompress.compression.network.stage import Solutions, Stage, edits_of, in_place
from lrcompress.compression.trial import Outcome
from lrcompress.kinds import Place, Serialized
from lrcompress.kinds.registry import FAMILIES
from lrcompress.modelfile import ModelFile, Places
from lrcompress.records.network import ChangedLayer

# How often layers get narrower, each time in a file of its own: two forms of one layer, and layers
# next to each other, take one each.
_NARROWINGS = 2
# What narrower layers add to the error counts so many times, against what factors add: how much of either the
# correction of one layer after the other mends is not known before. The best of what comes of it is kept.
_WEIGHTS = (1.0, 0.5, 0.25, 2.0)


@dataclass(frozen=True)
class Compressed:
    """A network made smaller, not written yet."""

    model: ModelFile  # that the edits apply to: the input, or one made on the way
    # Stock layers by the path of the layer that they stand for, see `kinds.Solution`.
    edits: Mapping[str, tuple[Serialized, ...]]
    layers: tuple[ChangedLayer, ...]
    curves: Mapping[str, Sequence[Option]]  # all that were looked at
    kept: Mapping[str, str]  # why other layers stay as they are, by path
    predicted: float | None = None  # sum of the shares
    measured: Outcome | None = None  # with all of it on held-out inputs
    remarks: tuple[str, ...] = ()


def compress(
    model: ModelFile, request: NetworkRequest, observe: Observe | None, folder: Path
) -> Compressed:
    """Choose forms and sizes of a network's layers under a budget, and solve for them; files made on the way stay.

    With inputs a layer's curve is the error of the whole network when that layer alone is changed,
    measured on held-out inputs; without, it is what its kernel loses. Layers that get narrower
    come first, in a file of their own; the others are then solved in the order of the network,
    each kernel first corrected for what the layers before it have lost. Where layers get narrower several
    choices are made so, and the one that loses least on held-out inputs is kept.
    """
    places = _finite_places(model)
    first = Stage(model, _asked(model, places, request.layers), observe, request.multiple)
    # One after the other: what two of them need stands in memory, not what all of them do.
    ways = _ways(model, request, first, folder)
    found = min(ways, key=lambda way: (not way.budget.is_met, way.error))
    if not found.layers:
        msg = f"No layer of {model.path} gets smaller by this request; ask for more."
        raise errors.RankError(msg, code="nothing_to_gain")
    return Compressed(
        model=found.stage.model,
        edits=edits_of(found.solutions),
        layers=found.layers,
        curves=_curves(first),
        kept=places.refused,
        predicted=None if observe is None else sum(c.share or 0.0 for c in found.layers),
        measured=found.measured,
        remarks=found.remarks,
    )


def _ways(model: ModelFile, request: NetworkRequest, first: Stage, folder: Path) -> Iterator[_Way]:
    """Yield choices of options, solved for: one of them, or where layers get narrower by a share several."""
    for number, weight in enumerate(_WEIGHTS):
        budget = Budget(request, model, first, weight)
        chosen = budget.choose(first)
        narrows = any(option.form.narrows for option in chosen)
        if narrows or not number:
            yield _narrower(request, first, budget, chosen, folder / f"way-{number}")
        if not number and not (narrows and first.observed is not None and budget.is_share):
            return
    # Layers of full width are cut deeper instead.
    budget = Budget(request, model, first)
    kept = budget.fitted(first, budget.choose(first, last=True), folder)
    if budget.is_met:
        yield _Way(first, kept, budget)


def _narrower(
    request: NetworkRequest, first: Stage, budget: Budget, chosen: list[Option], folder: Path
) -> _Way:
    """Return a choice of options, those that make layers narrower in files of their own."""
    folder.mkdir(exist_ok=True)
    stage, narrowed = first, []
    for number in range(_NARROWINGS):
        narrow = [option for option in chosen if option.form.narrows]
        if not narrow:
            break
        solutions = stage.solved(narrow)
        method = "svd" if stage.observed is None else "data-aware"
        narrowed += _changes(narrow, solutions, method, stage)
        suffix = modelfile.SUFFIXES[stage.model.format][0]
        path = folder / f"narrower-{number}{suffix}"
        modelfile.write_changed(stage.model, edits_of(solutions), path)
        with errors.in_place_of(path, first.model.path):
            smaller = modelfile.open_model(path)
            wanted = _asked(smaller, _finite_places(smaller), request.layers)
            stage = Stage(smaller, wanted, first.observe, request.multiple, stage, solutions)
            chosen = budget.choose(stage, narrow, last=number == _NARROWINGS - 1)
    chosen = [option for option in chosen if not option.form.narrows]
    return _Way(stage, budget.fitted(stage, chosen, folder), budget, tuple(narrowed))


@dataclass
class _Way:
    """A choice of options, solved for layer by layer, one after the other where that is better."""

    stage: Stage
    chosen: Sequence[Option]
    budget: Budget
    narrowed: tuple[ChangedLayer, ...] = ()

    def __post_init__(self) -> None:
        self.solutions, self._method = self.stage.solved(self.chosen), "svd"
        self.measured: Outcome | None = None
        if self.stage.observed is not None:
            self._method = "data-aware"
            self.measured = self.stage.observed.trial(in_place(self.solutions), "all together")
            solutions, measured = self.stage.in_order(self.chosen)
            if measured.output_error < self.error:
                self.solutions, self.measured = solutions, measured
                self._method = "data-aware, corrected"

    @property
    def error(self) -> float:
        """Of the outputs, on held-out inputs."""
        return math.inf if self.measured is None else self.measured.output_error

    @property
    def layers(self) -> tuple[ChangedLayer, ...]:
        """What becomes of each."""
        changes = _changes(self.chosen, self.solutions, self._method, self.stage)
        return (*self.narrowed, *changes)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences for the user."""
        of_forms = (remark for found in self.solutions.values() for remark in found.remarks)
        return (*self.budget.about(self.layers), *of_forms)


def _finite_places(model: ModelFile) -> Places:
    """Return the layers of a model; those that hold NaN or infinity, or work with such, are left as they are."""
    found, wrong = modelfile.find_places(model), modelfile.not_finite(model)
    if not wrong:
        return found
    known, refused = dict(found.known), dict(found.refused)
    for path, place in found.known.items():
        forms = place.kind.forms(place) if place.kind else ()
        numbers = sum(wrong.get(p, 0) for p in {path, *(p for form in forms for p in form.touches)})
        if numbers:
            refused[path] = f"works with {numbers:,} numbers that are NaN or infinity"
            del known[path]
    return Places(known, refused)


def _asked(model: ModelFile, found: Places, words: Sequence[str]) -> dict[str, Place]:
    """Return the layers that families, names and paths name, in the order of the model."""
    wanted: set[str] = set()
    for word in words:
        if word == "all":
            wanted |= set(found.known)
        elif word in FAMILIES:
            wanted |= {p for p, at in found.known.items() if at.kind and at.kind.family == word}
        else:
            wanted.add(_named(model, found, word))
    if not wanted:
        msg = (
            f"{model.path} has no layer of {', '.join(words)} that can be made smaller; "
            "`lrcompress inspect` says why of each."
        )
        raise errors.RankError(msg, code="nothing_to_gain")
    return {path: place for path, place in found.known.items() if path in wanted}


def _named(model: ModelFile, found: Places, word: str) -> str:
    """Return the path of a layer by its path or name."""
    matches = [p for p in found.known if p == word]
    matches = matches or [p for p in found.known if p.rpartition("/")[2] == word]
    if len(matches) == 1:
        return matches[0]
    if matches:
        msg = f"{model.path} has {len(matches)} layers {word}; give a path: {errors.first_three(matches)}."
        raise errors.UnsupportedModelError(msg, code="no_such_layer")
    for path, why in found.refused.items():
        if word in (path, path.rpartition("/")[2]):
            msg = f"Layer {word} of {model.path} {why}; expected one that can be factorized."
            raise errors.UnsupportedModelError(msg, code="no_such_layer")
    near = errors.did_you_mean(word, ["all", *FAMILIES, *found.known], most=3)
    msg = f"{model.path} has no layer {word} with weights; expected all, {', '.join(FAMILIES)}, or a layer.{near}"
    raise errors.UnsupportedModelError(msg, code="no_such_layer")


def _curves(stage: Stage) -> Mapping[str, Sequence[Option]]:
    """Return the candidates of each layer."""
    found: dict[str, list[Option]] = {}
    for option in chain(*stage.slots):
        found.setdefault(option.place.path, []).append(option)
    return found


def _changes(
    chosen: Sequence[Option], solutions: Solutions, method: str, stage: Stage
) -> list[ChangedLayer]:
    """Return what becomes of each chosen layer."""
    return [
        ChangedLayer(
            name=path.rpartition("/")[2],
            path=path,
            kind=option.place.kind.name if option.place.kind else "",
            form=form.name,
            size=option.size,
            largest=form.largest,
            parameters_before=form.before,
            parameters_after=form.parameters(option.size),
            multiplications_before=option.now,
            multiplications_after=form.multiplications(option.size),
            error=solutions[path, form.name].error,
            share=None if stage.observed is None else option.error,
            method=method,
        )
        for option in chosen
        for form, path in [(option.form, option.place.path)]
    ]


def look(
    model: ModelFile, layers: Sequence[str], observe: Observe | None
) -> tuple[Mapping[str, Sequence[Option]], Mapping[str, str]]:
    """Return the candidates of layers by path, each tried alone, and why other layers have none."""
    places = _finite_places(model)
    stage = Stage(model, _asked(model, places, layers), observe, multiple=1)
    return _curves(stage), places.refused


def undone(
    model: ModelFile, request: NetworkRequest, observe: Observe | None, folder: Path
) -> tuple[ModelFile, NetworkRequest, tuple[str, ...]]:
    """Return a network in which the layers that are asked for are whole, what is then asked, and what to say of it."""
    # Where the one is no larger than its parts, they are no factors of it but layers of their own.
    chains = [
        chain
        for chain in modelfile.find_chains(model)
        if chain.is_meant(request.layers)
        and _weights(chain.whole) > sum(map(_weights, chain.parts))
    ]
    if not chains:
        return model, request, ()
    path = folder / f"merged{modelfile.SUFFIXES[model.format][0]}"
    modelfile.write_merged(model, chains, path)
    if observe is not None:
        observe(model)  # the first is what others are judged by
    with errors.in_place_of(path, model.path):
        whole = modelfile.open_model(path)
    # Names of layers that went are those of the ones that they are now.
    words = dict.fromkeys(
        next((chain.path for chain in chains if chain.is_meant([word])), word)
        if word not in ("all", *(chain.family for chain in chains)) else word
        for word in request.layers
    )  # fmt: skip
    names = errors.first_three([chain.path for chain in chains])
    said = f"Layers that were factorized already were merged first, and then made smaller again: {names}."
    return (
        whole,
        replace(request, layers=tuple(words), budget=_left(model, whole, request)),
        (said,),
    )


def _weights(layer: Serialized) -> int:
    return sum(array.size for array in layer.arrays)


def _left(
    model: ModelFile, whole: ModelFile, request: NetworkRequest
) -> tuple[BudgetName, float] | None:
    """Return a budget of the merged network, which has more, that leaves what was asked for of the one given."""
    if request.budget is None or request.budget[0] not in ("reduction", "multiplications"):
        return request.budget
    name, value = request.budget
    now, more = (
        each.parameters if name == "reduction" else modelfile.multiplications_of(each)[0] or 0
        for each in (model, whole)
    )
    return (name, 1 - (1 - value) * now / more) if now and more else request.budget
