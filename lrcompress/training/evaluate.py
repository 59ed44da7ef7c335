"""What a model gets wrong on a data set, with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError
from lrcompress.progress import Progress, silent
from lrcompress.training.statistics import wilson_interval

BATCH = 256
# Outputs of a batch, at most: a prediction for each step and word of a language model, on all
# samples at once, would fill any memory.
MOST_OUTPUTS = 2**23


@dataclass(frozen=True)
class Evaluation:
    """The result of running a model over labelled inputs.

    Attributes:
        samples: Number of predictions (samples, or samples x steps).
        errors: Number of wrong ones.
        error_rate: In percent.
        error_rate_low: Lower end of its 95 % interval (Wilson), in percent.
        error_rate_high: Upper end.
        loss: Mean cross-entropy in nats.
        wrong: Which predictions are wrong, (samples,), for paired comparisons.
    """

    samples: int
    errors: int
    error_rate: float
    error_rate_low: float
    error_rate_high: float
    loss: float
    wrong: NDArray[np.bool_] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the single predictions."""
        return {key: value for key, value in self.__dict__.items() if key != "wrong"}


def predict(
    model: Any, x: NDArray[Any], progress: Progress = silent, task: str = "predict"
) -> NDArray[np.float32]:
    """Return the model's only output on `x`, float32, (samples, ..., classes).

    Raises:
        DatasetError: If the model has several outputs, or a single unit.
    """
    return np.concatenate([outputs for _, outputs in predicted(model, x, progress, task)])


def predicted(
    model: Any, x: NDArray[Any], progress: Progress = silent, task: str = "predict"
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield samples and the model's only output on them, a few batches at a time.

    Raises:
        DatasetError: If the model has several outputs.
    """
    if len(model.outputs) != 1:
        msg = (
            f"Model {model.name} has {len(model.outputs)} outputs; expected a classifier with one."
        )
        raise DatasetError(msg, code="model_outputs")
    total, batch = len(x), batch_size(model, x)
    # Several batches at a time spare the start of a pass; one that is less than `BATCH` is large.
    chunk = 8 * batch if batch == BATCH else batch
    for start in range(0, total, chunk):
        part = slice(start, min(start + chunk, total))
        outputs = model.predict(x[part], batch_size=batch, verbose=0)
        yield part, np.asarray(outputs, np.float32)
        progress(task, part.stop, total, {})


def batch_size(model: Any, x: NDArray[Any]) -> int:
    """Return how many samples to run at once: `BATCH`, or fewer where each has many outputs."""
    shape = model.outputs[0].shape[1:]
    # A length that the model leaves open is that of the inputs.
    each = math.prod(int(size or x.shape[1]) for size in shape)
    return max(1, min(BATCH, MOST_OUTPUTS // max(each, 1)))


def evaluate(
    model: Any,
    x: NDArray[Any],
    y: NDArray[np.int64],
    progress: Progress = silent,
    task: str = "evaluate",
) -> Evaluation:
    """Measure a classifier.

    Args:
        model: A Keras model with one output: probabilities or logits over classes, or one unit.
        x: Scaled inputs, (samples, ...).
        y: Class numbers, (samples,) or (samples, steps).
        progress: Told of every chunk.
        task: Its name there.
    """
    is_logits = not outputs_probabilities(model)
    parts = [
        score(outputs, y[part], is_logits=is_logits)
        for part, outputs in predicted(model, x, progress, task)
    ]
    return _joined(parts)


def _joined(parts: list[Evaluation]) -> Evaluation:
    """Return the evaluation of all samples from those of some of them."""
    samples, errors = sum(part.samples for part in parts), sum(part.errors for part in parts)
    loss = sum(part.loss * part.samples for part in parts) / samples
    low, high = wilson_interval(errors, samples)
    wrong = np.concatenate([part.wrong for part in parts])
    return Evaluation(samples, errors, 100 * errors / samples, low, high, loss, wrong)


def score(outputs: NDArray[np.float32], y: NDArray[np.int64], *, is_logits: bool) -> Evaluation:
    """Turn outputs, (samples, ..., classes), and class numbers into an `Evaluation`."""
    log_p = _log_probabilities(outputs.astype(np.float64), is_logits=is_logits)
    wrong = log_p.argmax(axis=-1) != y
    loss = -np.take_along_axis(log_p, y[..., None], axis=-1).mean()
    errors, samples = int(wrong.sum()), int(wrong.size)
    low, high = wilson_interval(errors, samples)
    return Evaluation(
        samples, errors, 100 * errors / samples, low, high, float(loss), wrong.reshape(-1)
    )


def _log_probabilities(outputs: NDArray[np.float64], *, is_logits: bool) -> NDArray[np.float64]:
    if outputs.shape[-1] == 1:
        # One unit says how likely class 1 is.
        logits = outputs if is_logits else _logit(outputs)
        outputs, is_logits = np.concatenate([np.zeros_like(logits), logits], axis=-1), True
    if is_logits:
        from scipy.special import log_softmax

        return np.asarray(log_softmax(outputs, axis=-1))
    # Sigmoid outputs over exclusive classes need not sum to one.
    total = np.maximum(outputs.sum(axis=-1, keepdims=True), 1e-300)
    return np.asarray(np.log(np.maximum(outputs / total, 1e-30)))


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return np.log(p) - np.log1p(-p)


def outputs_probabilities(model: Any) -> bool:
    """Return whether the model's only output ends in softmax or sigmoid rather than in logits."""
    tensor = model.outputs[0]
    while True:
        layer = tensor._keras_history.operation
        if isinstance(layer, keras.Model):
            return outputs_probabilities(layer)
        if isinstance(layer, keras.layers.Softmax):
            return True
        # A wrapper such as TimeDistributed holds the layer that has the activation.
        activation = getattr(getattr(layer, "layer", layer), "activation", None)
        name = getattr(activation, "__name__", "linear")
        if name != "linear" or getattr(layer, "weights", []):
            return name in ("softmax", "sigmoid")
        # Dropout, Reshape and their like hand on what the layer before them made.
        inputs = layer._inbound_nodes[0].input_tensors
        if len(inputs) != 1:
            return False
        tensor = inputs[0]
