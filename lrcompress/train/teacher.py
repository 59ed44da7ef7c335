"""The original model as a teacher: asked once and remembered, or asked again at every step.

Its outputs on the training inputs are kept in memory where they are small. A language model's, a
probability for each word at each step of each sample, are not: there teacher and student run side
by side on the device, and the loss sees both.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, chunks, count, take
from lrcompress.data.scaling import Scaling
from lrcompress.errors import DatasetError
from lrcompress.events import progress
from lrcompress.live.predict import predict_all

# Outputs up to this size are kept in memory.
IN_MEMORY_BYTES = 2**29
# Inputs that are scaled at once while the teacher is asked.
SCALED_AT_ONCE = 8_192


def check(student: Any, teacher: Any) -> None:
    """Refuse a teacher that speaks of other classes."""
    theirs, ours = ([tuple(t.shape[1:]) for t in model.outputs] for model in (teacher, student))
    if theirs != ours:
        msg = (
            f"The original has outputs of shape {theirs}, the factorized model {ours}; expected the "
            "same: leave distillation out with --no-distill."
        )
        raise DatasetError(msg, code="teacher_classes")


def fits_in_memory(teacher: Any, samples: int) -> bool:
    """Return whether a teacher's outputs on so many samples should be remembered."""
    shapes = [tensor.shape[1:] for tensor in teacher.outputs]
    # Outputs of a length that the inputs decide are asked anew: what they need is not known.
    if any(size is None for shape in shapes for size in shape):
        return False
    return 4 * samples * sum(map(math.prod, shapes)) <= IN_MEMORY_BYTES


def remembered(teacher: Any, x: Arrays, scaling: Scaling) -> list[NDArray[np.float32]]:
    """Return a teacher's outputs on raw inputs, in its order, each (samples, ..., units)."""
    parts = []
    for part in chunks(count(x), SCALED_AT_ONCE):
        parts.append(list(predict_all(teacher, scaling(take(x, part))).values()))
        progress("teacher's outputs", part.stop, count(x))
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


class Predicting(keras.Model):  # type: ignore[misc]  # keras ships no types
    """A model that runs as when it predicts while it is fitted, too: Keras hands `training` on to every layer."""

    def __init__(self, model: Any) -> None:
        # What it is given, numbers of words perhaps, is the model's own to cast.
        super().__init__(autocast=False)
        self.model = model

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Run it without dropout, by the statistics that batch normalization has kept."""
        return self.model(x, training=False)


class SideBySide(keras.Model):  # type: ignore[misc]  # keras ships no types
    """A student, which alone is trained, and its teacher on the same inputs; each output is theirs joined."""

    def __init__(self, student: Any, teacher: Any, *, trains: bool) -> None:
        super().__init__(autocast=False)
        teacher.trainable = False
        self._trains = trains
        self.student, self.teacher = student, teacher
        self.joined = [Joined() for _ in student.outputs]

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Run both; the teacher always as when it predicts, the student unless it `trains`."""
        ours = self.student(x, training=training and self._trains)
        theirs = self.teacher(x, training=False)
        pairs = zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True)
        joined = [join(list(pair)) for join, pair in zip(self.joined, pairs, strict=True)]
        return keras.tree.pack_sequence_as(ours, joined)


class Joined(keras.layers.Layer):  # type: ignore[misc]
    """Joins an output of the student with the teacher's; the mask stays the student's."""

    def __init__(self) -> None:
        super().__init__(dtype="float32")
        self.supports_masking = True

    def call(self, pair: Any) -> Any:
        """Return them in float32, one after the other along the last axis."""
        return ops.concatenate([ops.cast(output, "float32") for output in pair], axis=-1)

    def compute_mask(self, pair: Any, previous_mask: Any = None) -> Any:
        """Return the student's, which the loss is to see."""
        return None if previous_mask is None else previous_mask[0]
