"""Layers of any kind get smaller under one budget: on data, on synthetic inputs, or by their weights alone."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.compression import DROPS, RULES, Convert, Request, Source
from lrcompress.compression.changed import ready
from lrcompress.compression.network import (
    BudgetName,
    Compressed,
    NetworkRequest,
    Observe,
    compress,
    undone,
)
from lrcompress.compression.run import Ready, write_result
from lrcompress.errors import LRCompressError, RankError, in_place_of
from lrcompress.events import before_keras, remark
from lrcompress.modelfile import (
    ModelFile,
    Written,
    check_loadable,
    made_of,
    model_of,
    write_changed,
)
from lrcompress.records.network import Inputs
from lrcompress.records.results import FactorizeResult

if TYPE_CHECKING:
    from lrcompress.live.calibration import LiveModel

# Without a budget, where no data tell what is wrong.
CAUTIOUS: tuple[BudgetName, float] = ("energy", 0.95)
# Where outputs are numbers, and by that default lose more than this share of their variance on held-out or
# synthetic inputs, each kernel keeps more.
WORST, ENERGIES = 0.1, (0.99, 0.999)
# On synthetic inputs: points of the original's decisions that may change. An error rises by less, since many of
# those were wrong before, or are near to another class.
CHANGED: tuple[BudgetName, float] = ("max_drop", 5.0)
# Where a default saves nothing, or cannot be kept: a share of the parameters, which cuts few layers.
LEAST: tuple[BudgetName, float] = ("reduction", 0.1)
# Why it gives way, by the code of the error.
GIVE_WAY = {
    "max_drop_unreachable": "is kept by no smaller layers on held-out data, before fine-tuning",
    "nothing_to_gain": "saves nothing",
}


@dataclass(frozen=True)
class Given:
    """What a network is measured on."""

    inputs: Inputs
    # Loads a network with the inputs; None where there are none.
    observe: Observe | None = None
    # How many of them calibrate.
    samples: int | None = None
    dataset: dict[str, Any] | None = None
    # Whether there are decisions of the original on them, which can change.
    decides: bool = False
    remarks: tuple[str, ...] = ()


def with_data(
    source: Source, request: Request, convert: Convert, live: LiveModel
) -> FactorizeResult:
    """Make a network smaller by what its outputs lose on data."""
    asked = _asked(request)
    budget = asked.budget
    if budget is None:
        budget = CAUTIOUS if live.counts is None else DROPS[live.counts]
    by_errors = budget[0] in RULES and RULES[budget[0]].by_errors
    if by_errors:
        live.check_drop(None, str(live.data.description["name"]), budget[0])
    observe, used = live.network(counts=budget[0] == "max_drop")
    given = Given("data set", observe, used, live.described(used))
    return _written(source, request, convert, replace(asked, budget=budget), given)


def without_data(
    source: Source, request: Request, convert: Convert, *, synthetic: bool = True
) -> FactorizeResult:
    """Make a network smaller by synthetic inputs, where they may be made and can be trusted; else by its weights."""
    asked = _asked(request)
    if asked.budget is not None and asked.budget[0] in RULES and RULES[asked.budget[0]].by_errors:
        msg = "max_drop needs data to measure the error on; give --dataset, or another budget."
        raise RankError(msg, code="needs_data")
    given = synthetic_networks(source.model, request.seed) if synthetic else Given("none")
    # Decisions that change are counted as on inputs without labels; numbers have none.
    budget = asked.budget or (CHANGED if given.decides else CAUTIOUS)
    return _written(source, request, convert, replace(asked, budget=budget), given)


def synthetic_networks(model: ModelFile, seed: int) -> Given:
    """Return synthetic inputs of a network to calibrate on and to judge by; none if none can be made and trusted."""
    if not any(layer.class_name.startswith("BatchNormalization") for layer in model.layers):
        return Given("none")
    try:
        check_loadable(model)
        before_keras()
        from lrcompress.data.arrays import count, take
        from lrcompress.live import storing
        from lrcompress.live.network import Networks
        from lrcompress.live.prepare import decisions
        from lrcompress.live.synthetic import synthetic_inputs

        original = storing.load_model(model.path)
        made = synthetic_inputs(original, seed=seed)
    except (LRCompressError, ImportError) as error:
        return Given("none", remarks=(f"No synthetic inputs could be made: {error}",))
    if made is None:
        return Given("none")
    if not made.trusted:
        said = (
            f"Synthetic inputs were made, but are not used: they do not match the network's BatchNormalization "
            f"statistics well enough (loss {made.loss:.3g})."
        )
        return Given("none", remarks=(said,))
    judge = take(made.x, slice(made.fit, None))
    decided = decisions(original, judge)
    # Where outputs are numbers there are no decisions to agree with.
    each = decided.values() if isinstance(decided, dict) else (decided,)
    decides = all(values.dtype.kind != "f" for values in each)
    fit = take(made.x, slice(made.fit))
    networks = Networks(fit, judge, decided, by_labels=True, decided=True, original=original)
    said = (
        f"No data: {count(made.x):,} synthetic inputs were made in {made.seconds:.0f} s that match the statistics of "
        f"{made.matched} BatchNormalization layers (loss {made.loss:.2g})."
    )
    remark(said)
    return Given("synthetic", networks, made.fit, decides=decides, remarks=(said,))


def _asked(request: Request) -> NetworkRequest:
    if request.network is None:
        raise AssertionError  # or single kernels are factorized
    return request.network


def _written(
    source: Source, request: Request, convert: Convert, asked: NetworkRequest, given: Given
) -> FactorizeResult:
    with (
        tempfile.TemporaryDirectory() as folder,
        made_of(model_of(source.model.path), Path(folder)),
    ):

        def work() -> Ready:
            is_default = _asked(request).budget is None
            model, wanted, said = undone(source.model, asked, given.observe, Path(folder))
            with in_place_of(model.path, source.model.path):
                found, done = _compressed(model, wanted, given, Path(folder), gives=is_default)
            found = replace(found, remarks=(*given.remarks, *said, *found.remarks))
            if done.budget == wanted.budget:
                done = asked
            _tell(found, given.inputs)
            return ready(
                source.model, found, done, partial(_write, source.model, found), given.inputs, given.samples,
                is_default=is_default,
            )  # fmt: skip

        return write_result(source, request, convert, work, given.dataset)


def _compressed(
    model: ModelFile, wanted: NetworkRequest, given: Given, folder: Path, *, gives: bool
) -> tuple[Compressed, NetworkRequest]:
    """Return a network within its budget, and the budget; a default gives way to one that loses less, or saves more."""
    asked, why = wanted, ""
    while True:
        try:
            # A folder of each attempt's own: files that it made on the way stay there.
            found = compress(model, asked, given.observe, Path(tempfile.mkdtemp(dir=folder)))
        except RankError as error:
            is_last = given.inputs == "data set" or asked.budget == LEAST
            if not gives or is_last or error.code not in GIVE_WAY:
                raise
            why = why or GIVE_WAY[str(error.code)]
            asked = replace(wanted, budget=LEAST)
            continue
        lost = 0.0 if found.measured is None else found.measured.output_error
        name, kept = asked.budget or CAUTIOUS
        if not gives or name != "energy" or lost <= WORST:
            break
        why = why or f"loses {100 * lost:.0f} % of the outputs' variance"
        asked = replace(wanted, budget=next(((name, e) for e in ENERGIES if e > kept), LEAST))
    if asked == wanted:
        return found, wanted
    name, value = asked.budget or LEAST
    instead = (
        f"{100 * value:g} % of each kernel's energy is kept instead."
        if name == "energy"
        else f"{100 * value:g} % of the parameters are saved instead, which may be too much."
    )
    return replace(found, remarks=(*found.remarks, f"The default {why}: {instead}")), asked


def _write(
    model: ModelFile, found: Compressed, path: Path, overwrite: bool
) -> Written:  # as `Ready` has it
    """Write a network; what was made on the way goes by the name of the model."""
    with in_place_of(found.model.path, model.path):
        written = write_changed(found.model, found.edits, path, overwrite=overwrite)
    return replace(written, optimizer_bytes=model.optimizer_bytes)


def _tell(found: Compressed, inputs: Inputs) -> None:
    """Say what is known of the result before it is written."""
    outcome = found.measured
    if outcome is None:
        remark("Nothing is measured: there are no data, and the weights alone decide.")
        return
    agrees = (
        "" if outcome.agreement is None else f", {outcome.agreement:.2f} % of the decisions kept"
    )
    on = "synthetic inputs" if inputs == "synthetic" else "held-out inputs"
    remark(f"Estimated on {on}: output error {outcome.output_error:.4g}{agrees}.")
