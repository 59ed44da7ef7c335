"""What an original says of data without labels: it serves as their labels, and others are measured by it.

An error against these labels is a disagreement with the original, and is called that wherever it is told.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays
from lrcompress.data.output import Output
from lrcompress.live.outputs import outputs_of
from lrcompress.live.predict import run_over
from lrcompress.measure.scores import classes_of

# What figures by labels are called where these are the original's own.
_CALLED = {
    "error_rate": "disagreement", "binary_error": "disagreement", "balanced_error": "balanced_disagreement",
    "rmse": "deviation", "mae": "mean_deviation",
}  # fmt: skip
# Of what they say nothing: whether it ranks well what it decided itself.
_LEFT_OUT = ("auc",)


def decisions(model: Any, x: Arrays) -> Arrays:
    """Return what a model decides, in the form of labels, see `scores.kind_of`.

    Args:
        model: The original Keras model.
        x: Scaled inputs, (samples, ...), or a dictionary of them by input name.

    Returns:
        Class numbers, booleans of labels, or the outputs themselves where they are no decisions; a
        dictionary of them by output name where there are several.
    """
    ends = outputs_of(model)
    parts: list[list[NDArray[Any]]] = [[] for _ in ends]
    for _, outputs in run_over(model, x, "the original's decisions"):
        for found, head, output in zip(parts, ends, outputs, strict=True):
            found.append(_decided(head, output))
    labels = {head.name: np.concatenate(found) for head, found in zip(ends, parts, strict=True)}
    return labels if len(labels) > 1 else next(iter(labels.values()))


def _decided(head: Output, outputs: NDArray[np.float32]) -> NDArray[Any]:
    """Return an output's decisions.

    What no activation and no loss calls classes may be anything, and is taken as numbers.
    """
    if head.is_logits and (head.regression or not head.loss):
        return outputs
    each = head.is_sigmoid or (head.is_logits and head.loss.startswith("binary"))
    if each and outputs.shape[-1] > 1:
        return np.asarray(outputs > (0.0 if head.is_logits else 0.5))
    return np.asarray(classes_of(outputs, head.is_logits), np.int64)


def told(figures: Any, *, labelled: bool) -> Any:
    """Return figures as they are told: those by the original's own labels under names that say so.

    >>> told({"measure": "error_rate", "error_rate": 2.5, "error_rate_low": 1.0}, labelled=False)
    {'measure': 'disagreement', 'disagreement': 2.5, 'disagreement_low': 1.0}

    Args:
        figures: A JSON-ready value.
        labelled: Whether the data have labels; then nothing is changed.
    """
    if labelled:
        return figures
    if isinstance(figures, dict):
        if "error_rate" in figures:
            figures = {"measure": "error_rate"} | figures
        return {
            _called(key): _CALLED.get(value, value)
            if key == "measure"
            else told(value, labelled=False)
            for key, value in figures.items()
            if key not in _LEFT_OUT
        }
    if isinstance(figures, list):
        return [told(value, labelled=False) for value in figures]
    return figures


def _called(key: str) -> str:
    for name, other in _CALLED.items():
        # With the part before it and the end of an interval behind it.
        if key == name or f"_{name}" in key or key.startswith(f"{name}_"):
            return key.replace(name, other)
    return key
