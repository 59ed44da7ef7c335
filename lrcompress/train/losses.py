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


@dataclass(frozen=True)
class Output:
    """What an output says.

    Attributes:
        kind: ``classes`` (softmax over the last axis), ``yes-no`` (a sigmoid each unit) or
            ``numbers``.
        units: Size of the last axis.
        is_logits: Whether the model leaves softmax or sigmoid to the loss.
    """

    kind: str
    units: int
    is_logits: bool

    @property
    def columns(self) -> int:
        """The number of columns that labels take: one class number, or one value a unit."""
        return 1 if self.kind == CLASSES else self.units


@dataclass(frozen=True)
class Blend:
    """How much of the loss is the teacher's.

    Attributes:
        weight: Between 0 and 1.
        temperature: Above 1 lets the unlikely classes speak.
    """

    weight: float
    temperature: float


def logits_of(output: Output, values: Any) -> Any:
    """Return float32 logits for an output, up to what softmax does not see; numbers as they are."""
    values = ops.cast(values, "float32")
    if output.is_logits or output.kind == NUMBERS:
        return values
    if output.kind == CLASSES:
        # Thousands of classes of SMALLEST each would together be likely at a temperature of 2, at
        # which they weigh the root of that.
        return ops.log(ops.clip(values, min(SMALLEST, 1e-3 / output.units**2), 1.0))
    # float32 has no 1 - SMALLEST / 2; both ends are kept off by the same.
    p = ops.clip(values, SMALLEST, 1.0 - SMALLEST)
    return ops.log(p) - ops.log(1.0 - p)


def from_labels(output: Output, labels: Any, logits: Any) -> Any:
    """Return the loss against labels, (..., columns), one number a prediction, (...)."""
    if output.kind == CLASSES:
        return keras.losses.sparse_categorical_crossentropy(
            ops.squeeze(labels, -1), logits, from_logits=True
        )
    if output.kind == YES_NO:
        return keras.losses.binary_crossentropy(labels, logits, from_logits=True)
    return keras.losses.mean_squared_error(labels, logits)


def from_teacher(output: Output, taught: Any, logits: Any, temperature: float) -> Any:
    """Return the loss against a teacher's logits, (..., units), one number a prediction, (...)."""
    if output.kind == CLASSES:
        soft = ops.softmax(taught / temperature, axis=-1)
        entropy = keras.losses.categorical_crossentropy(
            soft, logits / temperature, from_logits=True
        )
        return temperature**2 * entropy
    if output.kind == YES_NO:
        soft = ops.sigmoid(taught / temperature)
        entropy = keras.losses.binary_crossentropy(soft, logits / temperature, from_logits=True)
        return temperature**2 * entropy
    return keras.losses.mean_squared_error(taught, logits)


def label_loss(output: Output) -> Callable[[Any, Any], Any]:
    """Return the loss of labels alone, for targets (..., columns)."""

    def from_labels_alone(y_true: Any, y_pred: Any) -> Any:  # backend tensors
        return from_labels(output, ops.cast(y_true, "float32"), logits_of(output, y_pred))

    return from_labels_alone


def blended_loss(output: Output, teacher: Output, blend: Blend) -> Callable[[Any, Any], Any]:
    """Return the loss of labels and teacher together.

    The teacher's outputs stand beside the labels in the targets, (..., columns + units), or beside
    the student's outputs in those, (..., 2 units); the widths tell which.
    """

    def distillation(y_true: Any, y_pred: Any) -> Any:  # backend tensors
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        if y_pred.shape[-1] == output.units:
            taught = y_true[..., output.columns :]
        else:
            taught, y_pred = y_pred[..., output.units :], y_pred[..., : output.units]
        logits = logits_of(output, y_pred)
        labels = from_labels(output, y_true[..., : output.columns], logits)
        return (1 - blend.weight) * labels + blend.weight * from_teacher(
            output, logits_of(teacher, taught), logits, blend.temperature
        )

    return distillation
