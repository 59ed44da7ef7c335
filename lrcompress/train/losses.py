"""What an output is trained towards: its labels, and what another model says of the same inputs.

For an output with logits s, labels y, a teacher's logits t, a temperature T and a weight w,

    loss = (1 - w) L(y, s) + w T^2 L(p(t / T), s / T)          (Hinton, Vinyals & Dean 2015)

where L is cross-entropy and p softmax over the classes of a classifier, and both are taken unit by
unit where each unit says yes or no. Where the outputs are plain numbers, L is the squared
difference, p changes nothing and T is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

# Keeps log finite where a softmax or sigmoid underflowed.
SMALLEST = 1e-7
CLASSES, YES_NO, NUMBERS = "classes", "yes-no", "numbers"
# From targets (..., columns) and predictions (..., units) to one number a prediction, (...).
Loss = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Output:
    """What an output says."""

    kind: str  # softmax over the last axis, a sigmoid each unit, or numbers
    units: int  # size of the last axis
    is_logits: bool  # whether the model leaves softmax or sigmoid to the loss

    @property
    def columns(self) -> int:
        """The number of columns that labels take: one class number, or one value a unit."""
        return 1 if self.kind == CLASSES else self.units

    def logits(self, values: Any) -> Any:
        """Return float32 logits for values, up to what softmax does not see; numbers as they are."""
        values = ops.cast(values, "float32")
        if self.is_logits or self.kind == NUMBERS:
            return values
        if self.kind == CLASSES:
            # Thousands of classes of SMALLEST each would together be likely at a temperature of 2, at
            # which they weigh the root of that.
            return ops.log(ops.clip(values, min(SMALLEST, 1e-3 / self.units**2), 1.0))
        # float32 has no 1 - SMALLEST / 2; both ends are kept off by the same.
        p = ops.clip(values, SMALLEST, 1.0 - SMALLEST)
        return ops.log(p) - ops.log(1.0 - p)


def label_loss(output: Output) -> Loss:
    """Return the loss of labels alone."""

    def from_labels_alone(y_true: Any, y_pred: Any) -> Any:  # backend tensors
        return _from_labels(output, ops.cast(y_true, "float32"), output.logits(y_pred))

    return from_labels_alone


def blended_loss(output: Output, teacher: Output, weight: float, temperature: float) -> Loss:
    """Return the loss of labels and, with a weight between 0 and 1, of a teacher together."""

    # The teacher's outputs stand beside the labels in the targets, (..., columns + units), or beside
    # the student's outputs in those, (..., 2 units); the widths tell which.
    def distillation(y_true: Any, y_pred: Any) -> Any:  # backend tensors
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        if y_pred.shape[-1] == output.units:
            taught = y_true[..., output.columns :]
        else:
            taught, y_pred = y_pred[..., output.units :], y_pred[..., : output.units]
        logits = output.logits(y_pred)
        labels = _from_labels(output, y_true[..., : output.columns], logits)
        soft = _from_teacher(output.kind, teacher.logits(taught), logits, temperature)
        return (1 - weight) * labels + weight * soft

    return distillation


def _from_labels(output: Output, labels: Any, logits: Any) -> Any:
    if output.kind == CLASSES:
        return keras.losses.sparse_categorical_crossentropy(
            ops.squeeze(labels, -1), logits, from_logits=True
        )
    if output.kind == YES_NO:
        return keras.losses.binary_crossentropy(labels, logits, from_logits=True)
    return keras.losses.mean_squared_error(labels, logits)


def _from_teacher(kind: str, taught: Any, logits: Any, temperature: float) -> Any:
    if kind == NUMBERS:
        return keras.losses.mean_squared_error(taught, logits)
    entropy, probabilities = keras.losses.binary_crossentropy, ops.sigmoid
    if kind == CLASSES:
        entropy, probabilities = keras.losses.categorical_crossentropy, ops.softmax
    soft = probabilities(taught / temperature)
    return temperature**2 * entropy(soft, logits / temperature, from_logits=True)
