"""What a whole network does with other kernels in some of its layers, before any file is written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.progress import Progress, silent
from lrcompress.training.calibrate import find_layer
from lrcompress.training.evaluate import outputs_probabilities, predict, score

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
            variance for others.
        agreement: Share of predictions that are the original's, in percent.
        error_rate: In percent, None without labels.
        wrong: Which predictions are wrong, for paired comparisons; None without labels.
    """

    output_error: float
    agreement: float
    error_rate: float | None
    wrong: NDArray[np.bool_] | None = None


class Probe:
    """A live Keras model and some inputs on which changed kernels are tried."""

    def __init__(
        self,
        model: Any,
        x: NDArray[Any],
        y: NDArray[np.int64] | None,
        progress: Progress = silent,
        task: str = "original",
    ) -> None:
        """Run the original once.

        Args:
            model: A Keras model with one output; given back unchanged after each trial.
            x: Scaled inputs, (samples, ...).
            y: Class numbers, or None.
            progress: Told of each run.
            task: What the first run is called.
        """
        self._model, self._x, self._y, self._progress = model, x, y, progress
        self._is_logits = not outputs_probabilities(model)
        self._original = predict(model, x, progress, task)
        sums = self._original.sum(axis=-1, dtype=np.float64)
        self._sums_to_one = self._original.shape[-1] > 1 and bool(np.allclose(sums, 1, atol=1e-3))
        self.original = self._measure(self._original)

    def __call__(self, kernels: Kernels, task: str = "trial") -> Probed:
        """Return what the network does with these kernels."""
        with substituted(self._model, kernels):
            return self._measure(predict(self._model, self._x, self._progress, task))

    def _measure(self, outputs: NDArray[np.float32]) -> Probed:
        same = classes_of(outputs, self._is_logits) == classes_of(self._original, self._is_logits)
        if self._y is None:
            rate, wrong = None, None
        else:
            scored = score(outputs, self._y, is_logits=self._is_logits)
            rate, wrong = scored.error_rate, scored.wrong
        return Probed(self._distance(outputs), 100 * float(same.mean()), rate, wrong)

    def _distance(self, outputs: NDArray[np.float32]) -> float:
        old, new = self._original.astype(np.float64), outputs.astype(np.float64)
        if self._is_logits:
            spread = float(np.square(old - old.mean(axis=0)).mean())
            return float(np.square(old - new).mean()) / (spread or 1.0)
        divergence = _divergence(old, new)
        if not self._sums_to_one:
            divergence = divergence + _divergence(1 - old, 1 - new)
        return float(divergence.sum(axis=-1).mean())


def _divergence(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    logs = np.log(np.maximum(old, SMALLEST)) - np.log(np.maximum(new, SMALLEST))
    return np.asarray(old * logs)


def classes_of(outputs: NDArray[np.float32], is_logits: bool) -> NDArray[np.int64]:
    """Return the predicted classes, (samples, ...); one unit says whether it is class 1."""
    if outputs.shape[-1] > 1:
        return np.asarray(outputs.argmax(axis=-1))
    return np.asarray(outputs[..., 0] > (0.0 if is_logits else 0.5), np.int64)


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
