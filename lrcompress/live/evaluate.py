"""A model measured by labels, a few batches at a time."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays
from lrcompress.data.labels import Output
from lrcompress.errors import DatasetError
from lrcompress.live.outputs import output_names, outputs_of
from lrcompress.live.predict import Mask, Run, masked_weights, masks_of, run_over, spread
from lrcompress.measure import Evaluation, Original, kind_of


def evaluate(
    model: Any,
    x: Arrays,
    y: Arrays,
    task: str = "",
    *,
    sample_weight: NDArray[Any] | None = None,
    run: Run | None = None,
    decided: bool = False,
) -> Evaluation:
    """Measure a model by what fits its labels.

    Args:
        model: A Keras model, which tells what its outputs mean.
        x: Scaled inputs, (samples, ...), or a dictionary of them by input name.
        y: Labels as `fit_to_model` makes them: class numbers, booleans of labels, or numbers; a
            dictionary of them by output name for a model with several outputs.
        task: What the run is called where its steps are told; they are not where it is empty.
        sample_weight: (samples,), or (samples, steps) for a prediction each step; None weighs all
            alike.
        run: Makes the outputs in the model's place: what it was exported to. None runs the model.
        decided: Whether the labels are what the original decides.

    Raises:
        DatasetError: If all weights are 0, or labels of an output are missing.
    """
    found, outputs = _by_output(model, y), outputs_of(model)
    masks = masks_of(model, x)
    looks = [
        Original(
            labels, _each_weight(sample_weight, labels, mask),
            is_logits=output.is_logits, by_labels=False, decided=decided,
        ).first
        for labels, output, mask in zip(found, outputs, masks, strict=True)
    ]  # fmt: skip
    for part, values in run_over(model, x, task, run):
        for look, value in zip(looks, values, strict=True):
            look.add(part, value)
    evaluations = [
        _without_padding(look.evaluation, labels, mask)
        for look, labels, mask in zip(looks, found, masks, strict=True)
    ]
    return together(outputs, evaluations) if isinstance(y, dict) else evaluations[0]


def _without_padding(
    found: Evaluation | None, labels: NDArray[Any], mask: Mask | None
) -> Evaluation:
    """Return an evaluation that tells the share of padding, which was left out."""
    if found is None:
        raise AssertionError  # there are labels
    if mask is None or mask.all():
        return found
    padding = 100 * float(1 - spread(mask, predictions_of(labels)).mean())
    return dataclasses.replace(found, figures={**found.figures, "padding": padding})


def together(outputs: list[Output], evaluations: list[Evaluation]) -> Evaluation:
    """Return the evaluation of a model with several outputs from those of each."""
    pairs = list(zip(outputs, evaluations, strict=True))
    loss = sum(output.loss_weight * found.loss for output, found in pairs)
    by_name = {output.name: found for output, found in pairs}
    samples = max(found.samples for _, found in pairs)
    return Evaluation("outputs", {"samples": samples, "loss": loss}, outputs=by_name)


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


def _each_weight(
    weights: NDArray[Any] | None, labels: NDArray[Any], mask: Mask | None
) -> NDArray[Any] | None:
    """Return a weight for each prediction; 0 where the mask says so."""
    shape = predictions_of(labels)
    weights = masked_weights(weights, mask, shape)
    return None if weights is None else spread(weights, shape).astype(np.float64)
