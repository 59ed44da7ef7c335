"""What a whole network does with other kernels in some of its layers, before any file is written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays
from lrcompress.live.activations import find_layer
from lrcompress.live.evaluate import predict_all, score, together
from lrcompress.live.losing import Losing
from lrcompress.live.outputs import Head, heads, output_names
from lrcompress.live.padding import masked_weights, masks_of
from lrcompress.measure.evaluation import ClassEvaluation, Evaluation, OutputsEvaluation
from lrcompress.measure.scores import classes_of, kind_of

# Kernel (m, n) and bias (n,), or None to keep the layer's own, by path of the layer.
Kernels = Mapping[str, tuple[NDArray[Any], NDArray[Any] | None]]
# Probabilities below this are not told apart from 0.
SMALLEST = 1e-30


@dataclass(frozen=True)
class Probed:
    """What was measured of a changed network.

    Attributes:
        output_error: Against the original's outputs: mean Kullback-Leibler divergence in nats for
            probabilities (summed over units for sigmoid), squared error relative to the outputs'
            variance for others; summed over several outputs.
        agreement: Share of decisions that are the original's, in percent; None where outputs are
            numbers. The mean of several outputs.
        error_rate: What is decided wrongly, in percent; None without labels, or where those of an
            output are numbers. The mean of several outputs.
        wrong: Which predictions of a classifier are wrong, for paired comparisons; None without
            labels, for other models, and where samples have weights.
        evaluation: By the labels; None without.
        drop: What it loses, in points, see `losing`; None without labels, or where those of an
            output are numbers. The mean of several outputs.
    """

    output_error: float
    agreement: float | None
    error_rate: float | None
    wrong: NDArray[np.bool_] | None = None
    evaluation: Evaluation | None = None
    drop: float | None = None


class Probe:
    """A live Keras model and some inputs on which changed kernels are tried."""

    def __init__(
        self,
        model: Any,
        x: Arrays,
        y: Arrays | None,
        task: str = "original",
        *,
        outputs: Sequence[str] | None = None,
        sample_weight: NDArray[Any] | None = None,
        by_labels: bool = True,
    ) -> None:
        """Run the original once.

        Args:
            model: A Keras model; given back unchanged after each trial.
            x: Scaled inputs, (samples, ...), or a dictionary of them by input name.
            y: Labels as `fit_to_model` makes them, or None.
            task: What the first run is called.
            outputs: Names of the outputs to measure; None for all.
            sample_weight: Of the samples, see `evaluate`; None weighs all alike.
            by_labels: Whether the labels are new to the original, and a drop counts them.
        """
        self._model, self._x = model, x
        self._heads = [head for head in heads(model) if outputs is None or head.name in outputs]
        labels = y if isinstance(y, dict) or y is None else {self._heads[0].name: y}
        self._y = labels
        self._original = predict_all(model, x, task)
        masks = dict(zip(output_names(model), masks_of(model, x), strict=True))
        self._weights = {
            head.name: masked_weights(
                sample_weight, masks[head.name], self._original[head.name].shape[:-1]
            )
            for head in self._heads
        }
        self._losing = None if labels is None else [
            Losing(head, self._original[head.name], labels[head.name], self._weights[head.name],
                   by_labels=by_labels)
            for head in self._heads if kind_of(labels[head.name]) != "regression"
        ]  # fmt: skip
        self.original = self._measure(self._original)

    def __call__(self, kernels: Kernels, task: str = "trial") -> Probed:
        """Return what the network does with these kernels."""
        with substituted(self._model, kernels):
            return self._measure(predict_all(self._model, self._x, task))

    def _measure(self, outputs: dict[str, NDArray[np.float32]]) -> Probed:
        pairs = [
            (head, self._counted(self._original, head), self._counted(outputs, head))
            for head in self._heads
        ]
        apart = sum(distance(old, new, head) for head, old, new in pairs)
        evaluation = self._evaluate(outputs)
        return Probed(
            output_error=apart,
            agreement=_mean([self._agreement(*pair) for pair in pairs]),
            error_rate=None if evaluation is None else _error_rate(evaluation),
            wrong=_wrong(evaluation),
            evaluation=evaluation,
            drop=self._drop(outputs),
        )

    def _drop(self, outputs: dict[str, NDArray[np.float32]]) -> float | None:
        if self._losing is None or len(self._losing) < len(self._heads):
            return None
        pairs = zip(self._losing, self._heads, strict=True)
        return float(np.mean([losing(outputs[head.name]) for losing, head in pairs]))

    def _counted(self, outputs: dict[str, NDArray[np.float32]], head: Head) -> NDArray[np.float32]:
        """Return an output without what has weight 0, such as padding."""
        found, weights = outputs[head.name], self._weights[head.name]
        return found if weights is None or (weights > 0).all() else found[weights > 0]

    def _evaluate(self, outputs: dict[str, NDArray[np.float32]]) -> Evaluation | None:
        if self._y is None:
            return None
        found = [
            score(outputs[head.name], self._y[head.name], is_logits=head.is_logits,
                  sample_weight=self._weights[head.name])
            for head in self._heads
        ]  # fmt: skip
        return found[0] if len(found) == 1 else together(self._heads, found)

    def _agreement(
        self, head: Head, old: NDArray[np.float32], new: NDArray[np.float32]
    ) -> float | None:
        kind = "classes" if self._y is None else kind_of(self._y[head.name])
        if kind == "regression":
            return None
        if kind == "labels":
            edge = 0.0 if head.is_logits else 0.5
            return 100 * float(((old > edge) == (new > edge)).mean())
        return 100 * float(
            (classes_of(old, head.is_logits) == classes_of(new, head.is_logits)).mean()
        )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _error_rate(evaluation: Evaluation) -> float | None:
    if not isinstance(evaluation, OutputsEvaluation):
        return evaluation.percent_wrong
    rates = [found.percent_wrong for found in evaluation.outputs.values()]
    # A mean without one of the outputs would let that be ruined unseen.
    return None if None in rates else _mean(rates)


def _wrong(evaluation: Evaluation | None) -> NDArray[np.bool_] | None:
    if isinstance(evaluation, ClassEvaluation) and evaluation.each_weight is None:
        return evaluation.wrong
    return None


def distance(old: NDArray[np.float32], new: NDArray[np.float32], head: Head) -> float:
    """Return how far outputs are from the original's; see `Probed`."""
    before, after = old.astype(np.float64), new.astype(np.float64)
    if head.is_logits:
        spread = float(np.square(before - before.mean(axis=0)).mean())
        return float(np.square(before - after).mean()) / (spread or 1.0)
    divergence = _divergence(before, after)
    sums = before.sum(axis=-1)
    if before.shape[-1] == 1 or not np.allclose(sums, 1, atol=1e-3):
        divergence = divergence + _divergence(1 - before, 1 - after)
    return float(divergence.sum(axis=-1).mean())


def _divergence(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log(np.maximum(old, SMALLEST)) - np.log(np.maximum(new, SMALLEST))
    return np.asarray(old * logs)


@contextlib.contextmanager
def substituted(model: Any, kernels: Kernels) -> Iterator[None]:
    """Give layers other kernels while the context lasts."""
    kept: list[tuple[Any, Any]] = []
    try:
        for path, (kernel, bias) in kernels.items():
            layer = find_layer(model, path)
            layer = getattr(layer, "layer", layer)
            for variable, value in ((layer.kernel, kernel), (layer.bias, bias)):
                if variable is not None and value is not None:
                    kept.append((variable, keras.ops.convert_to_numpy(variable)))
                    variable.assign(value.astype(np.float32))
        yield
    finally:
        for variable, value in reversed(kept):
            variable.assign(value)
