"""Models to be timed, beside how much they compute, and calls timed in turns.

Calls take turns so that what else the machine does slows all of them alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import TrainingError
from lrcompress.live.activations import find_layer
from lrcompress.live.head import alone, head_of
from lrcompress.live.outputs import STEPS
from lrcompress.live.storing import load_model

# Fewer pairs give no 95 % interval of a median: 1 - 2 / 2**6 is 97 %, with five it would be 94 %.
FEWEST = 7
MOST = 2_000
# First calls compile and allocate; the second and third still settle.
WARM_UP = 3
# A call that takes so long has nothing left to settle.
SLOW = 1.0
_CONVOLUTIONS = (
    keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D,
)  # fmt: skip
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose,
)  # fmt: skip
_RECURRENT = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Timing:
    """Seconds of each run of a call in order, shape (runs,); the same rounds for all calls."""

    seconds: NDArray[np.float64]

    @property
    def runs(self) -> int:
        """Number of runs, without the warm-up."""
        return len(self.seconds)

    @property
    def median(self) -> float:
        """Median in seconds."""
        return float(np.median(self.seconds))

    def to_json(self) -> dict[str, Any]:
        """Return median, quartiles and runs under stable names, in seconds."""
        low, high = np.percentile(self.seconds, [25, 75])
        return {"median": self.median, "q1": float(low), "q3": float(high), "runs": self.runs}


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
    """Time calls in rounds of one run each, the first of a round another one each time.

    Args:
        calls: By name; each must end when its work is done, not when it is sent off.
        seconds: Time for each call; it has at least 7 runs whatever they take, and at most 2,000.
        after_round: Told the share that is done.

    Returns:
        Timings by the same names.
    """
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
    """Compare two calls, timed in the same rounds, round by round.

    The interval is that of order statistics, which assumes nothing of the distribution but that
    rounds are independent: load that lasts for many rounds makes it too narrow.
    """
    # Half a second of imports that nobody else in this module needs.
    from scipy.stats import quantile_test

    ratios = before.seconds / after.seconds
    median = float(np.median(ratios))
    interval = quantile_test(ratios, q=median, p=0.5).confidence_interval(0.95)
    return Speed(median, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Subject:
    """A model to be timed.

    Attributes:
        path: The file.
        model: The whole Keras model.
        head: The layers from the head to the output as a model of their own, or the layers that were
            factorized; None where they do not stand alone.
    """

    path: Path
    model: Any
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
    """Load a model to be timed.

    Args:
        path: The file.
        layers: Paths of the layers to be timed alone, one or two in a row each; None for the head.
    """
    model = runnable(path)
    try:
        rows = [[find_layer(model, path) for path in row] for row in layers or ()]
        head = _side_by_side(rows if layers is not None else [head_of(model).layers])
    except TrainingError:
        head = None
    return Subject(path, model, head)


def _side_by_side(rows: Sequence[Sequence[Any]]) -> Any:
    """Return rows of layers as one model, each with an input of its own."""
    models = []
    for number, layers in enumerate(rows):
        shape = keras.tree.flatten(layers[0].input)[0].shape[1:]
        models.append(alone(layers, tuple(n or STEPS for n in shape), f"part_{number}"))
    if len(models) == 1:
        return models[0]
    entries = [keras.Input(model.input_shape[1:], name=f"into_{model.name}") for model in models]
    outputs = [model(entry) for model, entry in zip(models, entries, strict=True)]
    return keras.Model(entries, outputs)


def multiplications(model: Any) -> tuple[int | None, list[str]]:
    """Count the multiplications by kernels that one sample takes: nearly all there are.

    Those of Dense, convolutional and recurrent layers; not those of biases, normalizations,
    activations and embeddings, which grow with the activations only.

    Returns:
        Their number, None where layers with weights of their own could not be counted, and the
        classes of these layers.
    """
    total, unknown = 0, set[str]()
    for layer, inputs, output in _uses(model):
        found = _of_layer(layer, inputs, output)
        if found is None:
            unknown.add(type(layer).__name__)
        else:
            total += found
    return (None if unknown else total), sorted(unknown)


def _uses(model: Any) -> Iterator[tuple[Any, Shape, Shape]]:
    """Yield each use of a layer in a model, nested ones included, with its first shapes."""
    graph = getattr(model, "_functional", None) or model
    for nodes in getattr(graph, "_nodes_by_depth", {}).values():
        for node in nodes:
            layer = node.operation
            if isinstance(layer, keras.Model):
                yield from _uses(layer)
            elif isinstance(layer, keras.layers.Layer) and node.input_tensors:
                yield layer, node.input_tensors[0].shape, node.output_tensors[0].shape


def _of_layer(layer: Any, inputs: Shape, output: Shape) -> int | None:
    """Return the multiplications of one use of a layer; None if they are not known."""
    if isinstance(layer, keras.layers.TimeDistributed):
        inner = _of_layer(layer.layer, (None, *inputs[2:]), (None, *output[2:]))
        return None if inner is None else (inputs[1] or STEPS) * inner
    if isinstance(layer, keras.layers.Bidirectional):
        halves = (layer.forward_layer, layer.backward_layer)
        each = [_of_layer(half, inputs, output) for half in halves]
        return None if None in each else sum(number or 0 for number in each)
    if isinstance(layer, _RECURRENT):
        return _times(inputs[1:2], layer.cell.kernel, layer.cell.recurrent_kernel)
    if isinstance(layer, keras.layers.Dense):
        return _times(output[1:-1], layer.kernel)
    if isinstance(layer, (*_CONVOLUTIONS, *_SEPARABLE, *_TRANSPOSED)):
        shape = inputs if isinstance(layer, _TRANSPOSED) else output
        positions = shape[2:] if layer.data_format == "channels_first" else shape[1:-1]
        if None in positions:
            # Strides make less of a length, and nothing tells how much.
            return None
        if isinstance(layer, _SEPARABLE):
            return _times(positions, layer.depthwise_kernel, layer.pointwise_kernel)
        return _times(positions, layer.kernel)
    is_free = isinstance(layer, keras.layers.Embedding) or all(
        len(weight.shape) < 2 for weight in layer.weights
    )
    return 0 if is_free else None


def _times(positions: Shape, *kernels: Any) -> int:
    """Return the multiplications by kernels at so many positions."""
    sizes: list[int] = [math.prod(kernel.shape) for kernel in kernels]
    return math.prod(n or STEPS for n in positions) * sum(sizes)
