"""The teacher's part of the loss: Hinton, Vinyals & Dean, arXiv:1503.02531 (2015).

With the labels y, the student's logits s, the teacher's t, a temperature T and a weight w,

    loss = (1 - w) CE(y, softmax(s)) + w T^2 CE(softmax(t / T), softmax(s / T)).

The teacher is the original model; its outputs on the training inputs are computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

# On MNIST and digits this weight made no measurable difference to labels alone, 0.9 was worse:
# benchmarks/finetune_choices.py.
TEMPERATURE = 2.0
WEIGHT = 0.5
# Keeps log finite where a softmax underflowed.
SMALLEST = 1e-7


def targets(
    labels: NDArray[np.int64], teacher: NDArray[np.float32], *, is_logits: bool
) -> NDArray[np.float32]:
    """Return labels and softened teacher side by side, (..., 2 n): what `loss` takes as y_true.

    Args:
        labels: Class numbers, (...).
        teacher: The teacher's outputs, (..., n).
        is_logits: Whether these are logits rather than probabilities.
    """
    logits = teacher if is_logits else np.log(np.maximum(teacher, SMALLEST))
    scaled = logits / TEMPERATURE
    soft = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    soft /= soft.sum(axis=-1, keepdims=True)
    one_hot = np.eye(teacher.shape[-1], dtype=np.float32)[labels]
    return np.concatenate([one_hot, soft], axis=-1).astype(np.float32)


def loss(*, is_logits: bool) -> Callable[[Any, Any], Any]:
    """Return the loss for targets made by `targets`; `is_logits` speaks of the student's output."""

    def distillation(y_true: Any, y_pred: Any) -> Any:  # backend tensors
        y_pred = ops.cast(y_pred, "float32")
        logits = y_pred if is_logits else ops.log(ops.clip(y_pred, SMALLEST, 1.0))
        hard, soft = ops.split(ops.cast(y_true, "float32"), 2, axis=-1)
        from_labels = keras.losses.categorical_crossentropy(hard, logits, from_logits=True)
        from_teacher = keras.losses.categorical_crossentropy(
            soft, logits / TEMPERATURE, from_logits=True
        )
        return (1 - WEIGHT) * from_labels + WEIGHT * TEMPERATURE**2 * from_teacher

    return distillation
