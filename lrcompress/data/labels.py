"""What labels mean: classes, any number of labels, or numbers; decided with the model's head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.data.class_numbers import Parts, is_binary
from lrcompress.errors import DatasetError
from lrcompress.kinds.terms import ONE_SIDED, PROBABILITIES

# Losses that compare numbers; all others compare classes or labels.
REGRESSION_LOSSES = {
    "huber", "log_cosh", "logcosh", "mae", "mape", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error",
    "mse", "msle", "poisson",
}  # fmt: skip


@dataclass(frozen=True)
class Output:
    """One output of a model: all that labels must fit, and that says what its numbers mean."""

    name: str
    layer: str  # that makes it
    shape: tuple[int | None, ...]  # without the samples; None where the model leaves a length open
    activation: (
        str  # that ends it; by its values softmax, sigmoid or linear where the graph does not tell
    )
    loss: str = ""  # that the model was compiled with
    loss_weight: float = 1.0
    dtype: str = "float32"

    @property
    def regression(self) -> bool:
        """Whether the model was compiled with a loss that compares numbers."""
        return self.loss in REGRESSION_LOSSES

    @property
    def is_logits(self) -> bool:
        """Whether the outputs are anything but probabilities."""
        return self.activation not in PROBABILITIES

    @property
    def is_sigmoid(self) -> bool:
        """Whether each unit is a probability for itself."""
        return PROBABILITIES.get(self.activation) == "sigmoid"


def fit_labels(parts: Parts, head: Output, data: str) -> Parts:
    """Return labels in the form that the head's kind has; of data without labels only the output is checked."""
    if not head.shape or "float" not in head.dtype:
        msg = (
            f"Output {head.name} gives {head.dtype} of shape {head.shape} a sample; expected "
            "probabilities, logits or numbers along a last axis, not decisions: give the model without "
            "its last step."
        )
        raise DatasetError(msg, code="model_outputs")
    if not parts:
        return {}
    fitting = {key: _fitting(y, head) for key, y in parts.items()}
    numbers = {key: y for key, y in fitting.items() if y is not None}
    if len(numbers) < len(parts):
        return {key: _as_classes(y, head, key, data) for key, y in parts.items()}
    integral = all(y.dtype.kind in "iu" for y in parts.values())
    single = head.shape[-1] == 1
    may_hold_several = head.is_sigmoid or (head.is_logits and not head.regression)
    if not single and may_hold_several and is_binary(*numbers.values()):
        _check_two_sided(head)
        return {key: y.astype(np.bool_) for key, y in numbers.items()}
    # One unit tells two classes apart; other whole numbers it can only say as such.
    two_classes = integral and single and max(y.max() for y in parts.values()) <= 1
    two_classes = two_classes and not (head.is_logits and head.regression)
    speaks_numbers = head.is_logits or (head.regression and not integral)
    if speaks_numbers and not two_classes:
        return {key: y.astype(np.float32) for key, y in numbers.items()}
    if single:
        _check_two_sided(head)
    return {key: _as_classes(y, head, key, data) for key, y in parts.items()}


def _check_two_sided(head: Output) -> None:
    """Refuse outputs that stay on one side of 0, where logits would part yes from no."""
    if head.activation in ONE_SIDED:
        msg = (
            f"Output {head.name} ends in {head.activation}, which never crosses 0, so that what it says "
            "of yes and no cannot be told; expected sigmoid, logits, or labels that are numbers."
        )
        raise DatasetError(msg, code="dataset_labels")


def _fitting(labels: NDArray[Any], head: Output) -> NDArray[Any] | None:
    """Return labels in the shape of the outputs, None if they are not so many."""
    options = [labels, labels[..., None]]
    return next((y for y in options if matches(y.shape[1:], head.shape)), None)


def _as_classes(labels: NDArray[Any], head: Output, key: str, data: str) -> NDArray[np.int64]:
    what = f"{key} of data set {data}"
    outputs = f"output {head.name} ({head.activation}, shape {head.shape})"
    if labels.dtype.kind not in "iu":
        wanted = "class numbers or one-hot rows"
        if head.is_sigmoid and head.shape[-1] != 1:
            wanted += f", or rows of {head.shape[-1]} zeros and ones"
        elif head.is_logits:
            wanted += f", or numbers of shape {head.shape} a sample"
        msg = (
            f"{what} has {labels.dtype} of shape {labels.shape[1:]} a sample that are not class "
            f"numbers; {outputs} expects {wanted}: give the data set that the model was trained on."
        )
        raise DatasetError(msg, code="dataset_labels")
    predicted = head.shape[:-1]
    if not matches(labels.shape[1:], predicted):
        msg = (
            f"{what} has shape {labels.shape[1:]} a sample; {outputs} makes predictions of shape "
            f"{predicted}: give one class number for each prediction."
        )
        raise DatasetError(msg, code="dataset_labels")
    units = head.shape[-1]
    classes = None if units is None else max(units, 2)
    if classes is not None and labels.max() >= classes:
        msg = (
            f"{what} has class numbers up to {labels.max()}; {outputs} tells {classes} classes "
            f"apart (0 to {classes - 1}): give the data set that it was trained on."
        )
        raise DatasetError(msg, code="dataset_classes")
    return np.asarray(labels, np.int64)


def matches(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Return whether a shape is the one wanted, where None is any length."""
    pairs_up = len(shape) == len(wanted)
    return pairs_up and all(w is None or w == s for s, w in zip(shape, wanted, strict=True))
