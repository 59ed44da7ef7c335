"""Models to be timed, beside how much they compute, and calls in turns: what else runs slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import TrainingError
from lrcompress.kinds import Serialized
from lrcompress.kinds.shapes import COUNTED
from lrcompress.kinds.shapes import multiplications as by_kernels
from lrcompress.live.layers import find_layer, head_of
from lrcompress.live.outputs import STEPS
from lrcompress.live.storing import load_model

# Fewer pairs give no 95 % interval of a median: 1 - 2 / 2**6 is 97 %, with five it would be 94 %.
FEWEST = 7
MOST = 2_000
# First calls compile and allocate; the second and third still settle.
WARM_UP = 3
# A call that takes so long has nothing left to settle.
SLOW = 1.0


@dataclass(frozen=True)
class Timing:
    """Seconds of each run of a call in order, without the warm-up; the same rounds for all calls."""

    seconds: NDArray[np.float64]

    @property
    def median(self) -> float:
        """Median in seconds."""
        return float(np.median(self.seconds))

    def to_json(self) -> dict[str, Any]:
        """Return median, quartiles and runs under stable names, in seconds."""
        low, high = np.percentile(self.seconds, [25, 75])
        runs = len(self.seconds)
        return {"median": self.median, "q1": float(low), "q3": float(high), "runs": runs}


@dataclass(frozen=True)
class Speed:
    """How many times as fast a second call is as a first: median over the rounds, and its 95 % interval."""

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``faster`` or ``slower`` by 5 % or more, ``same`` within 5 %, else ``unclear``."""
        if self.low > 1.05:
            return "faster"
        if self.high < 1 / 1.05:
            return "slower"
        return "same" if self.low >= 1 / 1.05 and self.high <= 1.05 else "unclear"

    def to_json(self) -> dict[str, Any]:
        """Return the figures and the verdict under stable names."""
        return {"ratio": self.ratio, "low": self.low, "high": self.high, "verdict": self.verdict}


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 2.0,
    after_round: Callable[[float], None] = lambda share: None,
) -> dict[str, Timing]:
    """Time calls, which must end when their work is done, by name in rounds of one run each, about `seconds` each."""
    # The first of a round is another one each time.
    names = list(calls)
    for _ in range(WARM_UP):
        started = time.perf_counter()
        for name in names:
            calls[name]()
        if time.perf_counter() - started > SLOW * len(names):
            break
    rounds: list[list[float]] = []
    budget, began = seconds * len(names), time.perf_counter()
    while len(rounds) < FEWEST or (len(rounds) < MOST and time.perf_counter() - began < budget):
        turn, first = [0.0] * len(names), len(rounds) % len(names)
        for place in [*range(first, len(names)), *range(first)]:
            started = time.perf_counter()
            calls[names[place]]()
            turn[place] = time.perf_counter() - started
        rounds.append(turn)
        after_round(min(1.0, (time.perf_counter() - began) / budget if budget else 1.0))
    columns = np.asarray(rounds, np.float64).T
    return {name: Timing(column) for name, column in zip(names, columns, strict=True)}


def speed(before: Timing, after: Timing) -> Speed:
    """Compare two calls, timed in the same rounds, round by round."""
    # Half a second of imports that nobody else in this module needs.
    from scipy.stats import quantile_test

    # The interval is that of order statistics, which assumes nothing of the distribution but that
    # rounds are independent: load that lasts for many rounds makes it too narrow.
    ratios = before.seconds / after.seconds
    median = float(np.median(ratios))
    interval = quantile_test(ratios, q=median, p=0.5).confidence_interval(0.95)
    return Speed(median, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Subject:
    """A model to be timed."""

    path: Path
    model: Any
    # The layers from the head to the output as a model of their own, or the layers that were
    # factorized; None where they do not stand alone.
    head: Any | None

    def to_json(self) -> dict[str, Any]:
        """Return what is known before anything is timed: None where a layer could not be counted."""
        total, not_counted = multiplications(self.model)
        head = self.head
        return {
            "model": str(self.path),
            "parameters": self.model.count_params(),
            "head_parameters": None if head is None else head.count_params(),
            "multiplications": total,
            "head_multiplications": None if head is None else multiplications(head)[0],
            "not_counted": not_counted,
        }


def runnable(path: Path) -> Any:
    """Load a model that says what it takes in."""
    model = load_model(path)
    if not getattr(model, "inputs", None):
        msg = f"{path} does not say what it takes in; expected a functional or Sequential model."
        raise TrainingError(msg, code="no_inputs")
    return model


def check_same_inputs(path: Path, model: Any, other_path: Path, other: Any) -> None:
    """Refuse two models that do not take the same inputs."""
    shapes = [[tuple(tensor.shape[1:]) for tensor in one.inputs] for one in (model, other)]
    if shapes[0] != shapes[1]:
        msg = (
            f"{path} takes inputs of shape {shapes[0]}, {other_path} of {shapes[1]}; expected "
            "models of the same inputs."
        )
        raise TrainingError(msg, code="inputs_differ")


def subject(path: Path, layers: Sequence[Sequence[str]] | None = None) -> Subject:
    """Load a model to be timed."""
    model = runnable(path)
    try:
        rows = [[find_layer(model, path) for path in row] for row in layers or ()]
        head = _side_by_side(model, rows if layers is not None else [head_of(model).layers])
    except TrainingError:
        head = None
    return Subject(path, model, head)


def _side_by_side(model: Any, rows: Sequence[Sequence[Any]]) -> Any:
    """Return rows of layers as one model, each with inputs of its own; None where they are not called in a row."""
    nodes = {node.operation: node for node in reversed([*_nodes(model)])}
    parts = []
    for layers in rows:
        uses = [nodes[layer] for layer in layers]
        made = {id(tensor) for node in uses for tensor in node.output_tensors}
        taken = [t for node in uses for t in node.input_tensors if id(t) not in made]
        given = list({id(tensor): tensor for tensor in taken}.values())
        parts.append(keras.Model(given, uses[-1].output_tensors))
    if len(parts) == 1:
        return parts[0]
    entries, outputs = list[Any](), list[Any]()
    for part in parts:
        own = [
            keras.Input(t.shape[1:], dtype=t.dtype, name=f"into_{len(entries) + place}")
            for place, t in enumerate(part.inputs)
        ]
        entries += own
        outputs += keras.tree.flatten(part(own))
    return keras.Model(entries, outputs)


def multiplications(model: Any) -> tuple[int | None, list[str]]:
    """Count the multiplications by kernels that one sample takes, and name the classes that could not be counted."""
    total, unknown = 0, set[str]()
    for node in _nodes(model):
        found = _of_use(node)
        if found is None:
            unknown.add(type(node.operation).__name__)
        else:
            total += found
    return (None if unknown else total), sorted(unknown)


def _nodes(model: Any) -> Iterator[Any]:
    """Yield each use of a layer in a model, nested ones included."""
    graph = getattr(model, "_functional", None) or model
    for nodes in getattr(graph, "_nodes_by_depth", {}).values():
        for node in nodes:
            layer = node.operation
            if isinstance(layer, keras.Model):
                yield from _nodes(layer)
            elif isinstance(layer, keras.layers.Layer) and node.input_tensors:
                yield node


def _of_use(node: Any) -> int | None:
    """Return the multiplications of one use of a layer; None if they are not known."""
    layer, shapes = node.operation, [tensor.shape[1:] for tensor in node.input_tensors]
    inner = getattr(layer, "layer", None)
    if isinstance(inner, keras.Model):  # at each step
        once = multiplications(inner)[0]
        return None if once is None else (shapes[0][0] or STEPS) * once
    # Of a layer of someone's own, the one of Keras that it extends.
    classes = (c.__name__ for c in type(layer).__mro__ if c.__module__.startswith("keras."))
    name = next(classes)
    config = layer.get_config() if name in COUNTED else {}
    output = node.output_tensors[0].shape[1:]
    serialized = Serialized(name, config, tuple(layer.weights))
    return by_kernels(serialized, shapes, output, open_length=STEPS)
