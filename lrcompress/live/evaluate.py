"""Running a model over labelled inputs, a few batches at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, chunks, count, reaching_back, take
from lrcompress.data.finite import check_outputs
from lrcompress.errors import DatasetError
from lrcompress.events import progress
from lrcompress.live import devices
from lrcompress.live.devices import replicas
from lrcompress.live.outputs import Head, heads, output_names
from lrcompress.live.padding import Mask, masked_weights, masks_of, spread
from lrcompress.measure.evaluation import ClassEvaluation, Evaluation, OutputsEvaluation
from lrcompress.measure.paired import Weights
from lrcompress.measure.scores import SCORERS, Scores, kind_of
from lrcompress.measure.tally import summarize

BATCH = 256
# Outputs of a batch, at most: a prediction for each step and word of a language model, on all
# samples at once, would fill any memory.
MOST_OUTPUTS = 2**23
# What makes a batch's outputs, (samples, ...) each, in the model's order or structure.
Run = Callable[[Arrays], Any]

__all__ = [
    "Evaluation", "batch_size", "evaluate", "evaluate_classes", "outputs_each",
    "outputs_probabilities", "predict", "predict_all", "predicted", "run_over", "score",
]  # fmt: skip


def predict(model: Any, x: Arrays, task: str = "predict") -> NDArray[np.float32]:
    """Return the model's only output on `x`, float32, (samples, ..., classes).

    Raises:
        DatasetError: If the model has several outputs.
    """
    return np.concatenate([outputs for _, outputs in predicted(model, x, task)])


def predicted(
    model: Any, x: Arrays, task: str = "predict"
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
    for part, outputs in run_over(model, x, task):
        yield part, outputs[0]


def predict_all(model: Any, x: Arrays, task: str = "predict") -> dict[str, NDArray[np.float32]]:
    """Return every output on `x` by its name, float32, (samples, ..., units)."""
    parts = [outputs for _, outputs in run_over(model, x, task)]
    columns = zip(*parts, strict=True)
    return {
        name: np.concatenate(column)
        for name, column in zip(output_names(model), columns, strict=True)
    }


def run_over(
    model: Any, x: Arrays, task: str, run: Run | None = None
) -> Iterator[tuple[slice, list[NDArray[np.float32]]]]:
    """Yield samples and all outputs on them, in the model's order."""
    total, batch = count(x), batch_size(model, x)
    run = run or (lambda some: devices.predict(model, some, batch))
    # Several devices are started anew for each part: it holds several batches, unless those are large.
    several = len(replicas().devices) > 1 and batch == BATCH
    for part in chunks(total, 8 * batch if several else batch):
        whole = part if several else reaching_back(part, batch)
        found = keras.tree.flatten(run(take(x, whole)))
        again = part.start - whole.start
        outputs = [np.asarray(output, np.float32)[again:] for output in found]
        for name, values in zip(output_names(model), outputs, strict=True):
            check_outputs(model, name, values, part.start)
        yield part, outputs
        progress(task, part.stop, total)


def batch_size(model: Any, x: Arrays) -> int:
    """Return how many samples to run at once: `BATCH`, or fewer where each has many outputs."""
    return max(1, min(BATCH, MOST_OUTPUTS // max(outputs_each(model, x), 1)))


def outputs_each(model: Any, x: Arrays) -> int:
    """Return how many numbers a model gives out for a sample."""
    # A length that the model leaves open is that of the inputs.
    longest = max(
        (
            array.shape[1]
            for array in (x.values() if isinstance(x, dict) else [x])
            if array.ndim > 1
        ),
        default=1,
    )
    return sum(math.prod(int(n or longest) for n in output.shape[1:]) for output in model.outputs)


def evaluate(
    model: Any,
    x: Arrays,
    y: Arrays,
    task: str = "evaluate",
    *,
    sample_weight: NDArray[Any] | None = None,
    run: Run | None = None,
) -> Evaluation:
    """Measure a model by what fits its labels.

    Args:
        model: A Keras model, which tells what its outputs mean.
        x: Scaled inputs, (samples, ...), or a dictionary of them by input name.
        y: Labels as `fit_to_model` makes them: class numbers, booleans of labels, or numbers; a
            dictionary of them by output name for a model with several outputs.
        task: Its name there.
        sample_weight: (samples,), or (samples, steps) for a prediction each step; None weighs all
            alike.
        run: Makes the outputs in the model's place: what it was exported to. None runs the model.

    Raises:
        DatasetError: If all weights are 0, or labels of an output are missing.
    """
    found, ends = _by_output(model, y), heads(model)
    parts: list[list[Scores]] = [[] for _ in ends]
    for part, outputs in run_over(model, x, task, run):
        for scores, output, labels, head in zip(parts, outputs, found, ends, strict=True):
            scores.append(_score(output, labels[part], head.is_logits))
    evaluations = [
        _placed(
            summarize(kind_of(labels), _joined(scores), _spread(sample_weight, labels, mask)),
            labels, mask,
        )
        for scores, labels, mask in zip(parts, found, masks_of(model, x), strict=True)
    ]  # fmt: skip
    return together(ends, evaluations) if isinstance(y, dict) else evaluations[0]


def _placed(found: Any, labels: NDArray[Any], mask: Mask | None) -> Any:  # an `Evaluation`
    """Return an evaluation that knows whether its predictions stand at the steps of sequences, and the padding."""
    if isinstance(found, ClassEvaluation) and labels.ndim > 1:
        found = dataclasses.replace(found, each_step=True)
    if mask is None or mask.all():
        return found
    padding = 100 * float(1 - spread(mask, predictions_of(labels)).mean())
    return dataclasses.replace(found, padding=padding)


def evaluate_classes(
    model: Any,
    x: Arrays,
    y: Arrays,
    task: str = "evaluate",
    *,
    sample_weight: NDArray[Any] | None = None,
) -> ClassEvaluation:
    """Measure a classifier with one output; see `evaluate`.

    Raises:
        DatasetError: If the model is something else.
    """
    found = evaluate(model, x, y, task, sample_weight=sample_weight)
    if not isinstance(found, ClassEvaluation):
        msg = f"Model {model.name} is measured by its {found.measure}; expected a classifier with one output."
        raise DatasetError(msg, code="not_a_classifier")
    return found


def together(ends: list[Head], evaluations: list[Evaluation]) -> OutputsEvaluation:
    """Return the evaluation of a model with several outputs from those of each."""
    pairs = list(zip(ends, evaluations, strict=True))
    loss = sum(head.loss_weight * found.loss for head, found in pairs)
    return OutputsEvaluation(
        max(found.samples for _, found in pairs), loss, {head.name: found for head, found in pairs}
    )


def _by_output(model: Any, y: Arrays) -> list[NDArray[Any]]:
    if not isinstance(y, dict):
        if len(model.outputs) == 1:
            return [np.asarray(y)]
        y = {}
    names = output_names(model)
    if set(names) != set(y):
        msg = (
            f"Model {model.name} has outputs {', '.join(names)}; received labels for "
            f"{', '.join(y) or 'one'}: give labels for each."
        )
        raise DatasetError(msg, code="model_outputs")
    return [y[name] for name in names]


def predictions_of(labels: NDArray[Any]) -> tuple[int, ...]:
    """Return the shape of the predictions that labels are for, (samples, ...)."""
    return labels.shape if kind_of(labels) == "classes" else labels.shape[:-1]


def _spread(
    weights: NDArray[Any] | None, labels: NDArray[Any], mask: Mask | None = None
) -> Weights | None:
    """Return a weight for each prediction, in one row; 0 where the mask says so."""
    shape = predictions_of(labels)
    weights = masked_weights(weights, mask, shape)
    return None if weights is None else spread(weights, shape).reshape(-1).astype(np.float64)


def score(
    outputs: NDArray[np.float32],
    y: NDArray[Any],
    *,
    is_logits: bool,
    sample_weight: NDArray[Any] | None = None,
) -> Evaluation:
    """Turn outputs, (samples, ..., units), and fitted labels into an `Evaluation`."""
    return summarize(kind_of(y), _score(outputs, y, is_logits), _spread(sample_weight, y))


def _score(outputs: NDArray[np.float32], y: NDArray[Any], is_logits: bool) -> Scores:
    return SCORERS[kind_of(y)](outputs, y, is_logits)


def _joined(parts: list[Scores]) -> Scores:
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def outputs_probabilities(model: Any) -> bool:
    """Return whether the model's only output ends in softmax or sigmoid rather than in logits."""
    return not heads(model)[0].is_logits
