"""What others would make of the networks of whole_network.py: the same budgets, inputs and scores, nothing trained.

    python benchmarks/whole_baselines.py

- uniform: plain SVD of every matrix, convolutions by channels, at one share of its rank.
- greedy: as AIMET's spatial SVD. Plain SVD, convolutions by rows x columns where they can be; each layer
  alone at some sizes is judged by the outputs, and all get the smallest size below one threshold.
- BALF (arXiv 2509.25136): factors of the least squared error on the calibration inputs, convolutions by
  channels; the sizes that keep most of the layers' energy, summed, within the budget.
- dense: all Dense layers alone, factors by the calibration inputs, sizes by what each layer alone costs.

Results go to benchmarks/results/whole-network-baselines.json; "cannot" where a way does not reach the budget.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from whole_network import GOALS, Task

from lrcompress.compression.network.candidates import Option
from lrcompress.compression.network.hulls import path_of, trimmed
from lrcompress.compression.network.stage import Stage, edits_of, in_place
from lrcompress.kinds import Form, Place
from lrcompress.live import storing
from lrcompress.live.network import Networks
from lrcompress.live.predict import predict_all
from lrcompress.modelfile import find_places, open_model, read_arrays, write_changed

RESULTS = Path(__file__).parent / "results" / "whole-network-baselines.json"
ASKED = ("resnet-50", "resnet-75", "lstm-93", "resnet8-30", "resnet8-50", "mnist-93")
# Forms that are one plain SVD each, the first that a layer has.
PLAIN = ("channels", "rank", "input kernel")
SPATIAL = ("rows x columns", *PLAIN)
# What is left of a layer's weights in the candidates of the greedy way.
SHARES = (0.01, 0.02, 0.05, *(n / 10 for n in range(1, 10)))


@dataclass
class Network:
    """A network, what it may keep, and what runs it.

    Attributes:
        task: See there.
        least: Weights to save.
        seed: Of the inputs.
    """

    task: Task
    share: float
    seed: int

    def __post_init__(self) -> None:
        """Open the file and draw the inputs, as whole_network.py does."""
        task = self.task
        draw = np.random.default_rng(self.seed).permutation(len(task.train))[: task.inputs]
        some = task.train[draw]
        self.file = open_model(task.model)
        self.least = self.share * self.file.parameters
        self.original = storing.load_model(task.model)
        self.networks = Networks(some[task.judge :], some[: task.judge], original=self.original)
        self.places = find_places(self.file).known
        paths = ("/".join(path) for path in self.file.weights.of_layer)
        self.arrays = {path: read_arrays(self.file, path) for path in paths}

    @cached_property
    def observed(self) -> Any:  # noqa: ANN401
        """The network that runs."""
        return self.networks(self.file)

    def forms(self, names: Sequence[str]) -> list[tuple[Place, Form]]:
        """Return one form of each layer that has any of these."""
        found = []
        for place in self.places.values():
            own = {form.name: form for form in (place.kind.forms(place) if place.kind else ())}
            name = next((name for name in names if name in own), None)
            if name is not None:
                found.append((place, own[name]))
        return found

    def met(self, chosen: list[Option]) -> bool:
        """Return whether a choice saves enough."""
        return sum(option.saved for option in chosen) >= self.least

    def solved(self, chosen: list[Option], seen: dict[str, Any]) -> dict[Any, Any]:
        """Return the solution of each."""
        return {
            (o.place.path, o.form.name): o.form.solve(
                self.arrays, seen.get(o.place.path), [o.size]
            )[o.size]
            for o in chosen
        }


Chosen = tuple[list[Option], dict[str, Any]]


def option(place: Place, form: Form, size: int, error: float = 0.0) -> Option:
    """Return a layer in a form at a size."""
    return Option(place, form, size, form.before - form.parameters(size), None, None, error, error)


def within(network: Network, choose: Callable[[float], list[Option]]) -> list[Option]:
    """Return the choice at the smallest number from 0 to 1 that meets the budget, as near as 1e-4."""
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if network.met(choose(middle)) else (middle, high)
    return choose(high)


def uniform(network: Network) -> Chosen:
    """All at one share of their ranks."""

    def choose(less: float) -> list[Option]:
        found = [
            option(place, form, max(1, round((1 - less) * form.largest)))
            for place, form in network.forms(PLAIN)
        ]
        return [o for o in found if o.saved > 0]

    return within(network, choose), {}


def greedy(network: Network) -> Chosen:
    """All at the smallest size that alone costs no more than a threshold."""
    curves = []
    for place, form in network.forms(SPATIAL):
        each = (form.parameters(2) - form.parameters(1)) if form.largest > 1 else form.before
        sizes = sorted({max(1, round(s * form.before / each)) for s in SHARES})
        sizes = [s for s in sizes if s <= form.largest and form.parameters(s) < form.before]
        curve, least = [], np.inf
        for size, solution in sorted(form.solve(network.arrays, None, sizes).items()):
            outcome = network.observed.trial(solution.in_place(), f"{place.path} {size}")
            least = min(least, outcome.output_error)
            curve.append(option(place, form, size, least))
        curves.append(curve)
    errors = sorted({o.error for curve in curves for o in curve})

    def choose(rank: float) -> list[Option]:
        most = errors[round(rank * (len(errors) - 1))]
        return [
            next(o for o in curve if o.error <= most)
            for curve in curves
            if any(o.error <= most for o in curve)
        ]

    return within(network, choose), {}


def by_hulls(network: Network, slots: list[list[Option]]) -> list[Option]:
    """Return the options of least error that save enough, of convex curves: what a Lagrangian finds."""

    def saved(o: Option) -> float:
        return float(o.saved)

    path = path_of(slots, saved)
    steps = path.saving(network.least)
    if steps is None:
        return path.at(len(path.steps))
    chosen = path.at(steps)
    return trimmed(chosen, slots, sum(map(saved, chosen)) - network.least, saved)


def balf(network: Network) -> Chosen:
    """All at the sizes that keep most energy of the responses, summed."""
    forms = network.forms(PLAIN)
    seen = network.observed.gather([place for place, _ in forms], network.arrays)
    for path, moments in seen.items():
        # Second moments, no bias fitted, no gradients.
        moments.metric = None
        seen[path] = moments.about_zero() if hasattr(moments, "about_zero") else moments
    slots = []
    for place, form in forms:
        errors = form.errors(network.arrays, seen[place.path])
        found = (option(place, form, n, float(error)) for n, error in enumerate(errors, 1))
        slots.append([o for o in found if o.saved > 0])
    return by_hulls(network, slots), seen


def dense(network: Network) -> Chosen:
    """All Dense layers, by what each alone costs."""
    places = {
        path: place
        for path, place in network.places.items()
        if place.kind and place.kind.family == "dense"
    }
    stage = Stage(network.file, places, network.networks, 1)
    slots = [[o for o in slot if o.form.name == "rank"] for slot in stage.slots]
    return by_hulls(network, [slot for slot in slots if slot]), dict(stage.seen)


WAYS: dict[str, Callable[[Network], Chosen]] = {
    "uniform": uniform, "greedy": greedy, "BALF": balf, "dense": dense,
}  # fmt: skip


def measure(goal: str, way: str, seed: int) -> dict[str, Any]:
    """Compress one network one way and score it."""
    make, budget, value, *_ = GOALS[goal]
    assert budget == "reduction", goal
    network = Network(make(), value, seed)
    started = time.perf_counter()
    chosen, seen = WAYS[way](network)
    row: dict[str, Any] = {"goal": goal, "way": way, "seed": seed, "value": value}
    most = sum(o.saved for o in chosen) / network.file.parameters
    if not network.met(chosen):
        return row | {"lost": "cannot", "can_save": most}
    solutions = network.solved(chosen, seen)
    error = network.observed.trial(in_place(solutions), way).output_error
    row["seconds"] = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / f"small{network.file.path.suffix}"
        written = write_changed(network.file, edits_of(solutions), path)
        scores = []
        for model in (network.original, storing.load_model(path)):
            (outputs,) = predict_all(model, network.task.test).values()
            scores.append(network.task.score(outputs))
    return row | {
        "saved": 1 - written.parameters / network.file.parameters, "before": scores[0],
        "after": scores[1], "lost": scores[1] - scores[0], "unit": network.task.unit,
        "output_error": error,
        "layers": [f"{o.place.path}: {o.form.name} {o.size}/{o.form.largest}" for o in chosen],
    }  # fmt: skip


def main() -> None:
    """Run the goals that are asked for, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--goal", action="append", choices=[*GOALS], help=f"default: {ASKED}")
    parser.add_argument("--way", action="append", choices=[*WAYS], help="default: all")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    known["command"] = ["python", "benchmarks/whole_baselines.py"]
    for goal in arguments.goal or ASKED:
        for way in arguments.way or WAYS:
            row = known[f"{goal}, {way}"] = measure(goal, way, 0)
            print(json.dumps(row), flush=True)
            arguments.output.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
