"""Models to be timed, beside how much they compute, and calls timed in turns.

Calls take turns so that what else the machine does slows all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import TrainingError
from lrcompress.live.activations import find_layer
from lrcompress.live.head import alone, head_of
from lrcompress.live.multiplications import multiplications
from lrcompress.live.outputs import STEPS, Inputs
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
    """How long one call took, again and again.

    Attributes:
        seconds: Of each run in order, shape (runs,), float64; the same rounds for all calls.
    """

    seconds: NDArray[np.float64]

    @property
    def runs(self) -> int:
        """Number of runs, without the warm-up."""
        return len(self.seconds)

    @property
    def median(self) -> float:
        """Median in seconds."""
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third quartile in seconds."""
        low, high = np.percentile(self.seconds, [25, 75])
        return float(low), float(high)

    def to_json(self) -> dict[str, Any]:
        """Return the figures under stable names, in seconds."""
        low, high = self.quartiles
        return {"median": self.median, "q1": low, "q3": high, "runs": self.runs}


@dataclass(frozen=True)
class Speed:
    """How many times as fast a second call is as a first.

    Attributes:
        ratio: Median over the rounds of the first's seconds over the second's.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

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
    """Compare two calls round by round.

    The interval is that of order statistics, which assumes nothing of the distribution but that
    rounds are independent: load that lasts for many rounds makes it too narrow.

    Args:
        before: The first call.
        after: The second call, timed in the same rounds.
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
        total, not_counted = multiplications(self.model, STEPS)
        head = self.head
        return {
            "model": str(self.path),
            "parameters": self.model.count_params(),
            "head_parameters": None if head is None else head.count_params(),
            "multiplications": total,
            "head_multiplications": None if head is None else multiplications(head, STEPS)[0],
            "not_counted": not_counted,
        }


def runnable(path: Path) -> Any:
    """Load a model that says what it takes in.

    Raises:
        TrainingError: If Keras cannot load it, or it does not say so.
    """
    model = load_model(path)
    if not getattr(model, "inputs", None):
        msg = f"{path} does not say what it takes in; expected a functional or Sequential model."
        raise TrainingError(msg, code="no_inputs")
    return model


def check_same_inputs(path: Path, model: Any, other_path: Path, other: Any) -> None:
    """Refuse two models that do not take the same inputs.

    Raises:
        TrainingError: With code ``inputs_differ``.
    """
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


def open_lengths(model: Any) -> bool:
    """Return whether a model leaves a length of its inputs open."""
    return any(None in tensor.shape[1:] for tensor in model.inputs)


def predicts(model: Any, x: Inputs) -> Callable[[], object]:
    """Return a call that computes and fetches the outputs on `x`, compiled as `predict` is."""
    return lambda: model.predict_on_batch(x)
