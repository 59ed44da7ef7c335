"""What is trained: the whole model, or its head alone on what the rest of the network hands to it.

The network below the head runs once over the data; after that an epoch of the head takes
milliseconds.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, evenly
from lrcompress.data.scaling import parse
from lrcompress.errors import TrainingError
from lrcompress.live.activations import layer_inputs, samples_for
from lrcompress.live.head import HeadLayers, alone, head_of
from lrcompress.live.predict import masked_weights, masks_of, packed
from lrcompress.live.prepare import Prepared

# A head has few weights: more predictions than so many for each cost a pass of the whole network
# and tell it little.
FEWEST = 10_000
PREDICTIONS_A_WEIGHT = 20


@dataclass(frozen=True)
class SplitHead:
    """Where the factors are in the factorized model, and what they came from.

    Attributes:
        path: The original layer, which the second of the two is named after.
        first_path: The first of the two.
        activation: The layer's own.
        softmax: Whether softmax along the classes is what follows.
    """

    path: str
    first_path: str
    activation: str
    softmax: bool


@dataclass(frozen=True)
class Part:
    """What is trained: the whole model, or its head alone.

    Attributes:
        student: The factorized model, or its head as a model.
        teacher: The original likewise, on the same inputs; None if it is not at hand, or the
            network below its head is another.
        data: For these; activations take the place of inputs where the head is alone.
        head: Where the factors are, in these; None if that is not known.
        layers: The head's in the whole student; none where that is trained itself.
    """

    student: Any
    teacher: Any | None
    data: Prepared
    head: SplitHead | None
    layers: tuple[Any, ...] = ()

    def inputs(self, most: int) -> Arrays:
        """Return training inputs, so many at most, scaled; a head alone gets them without padding."""
        split = self.data.split
        x, weights = split.x_train, split.w_train
        if self.layers and weights is not None and not isinstance(x, dict):
            x = packed(x, weights > 0)
        return self.data.scaling(evenly(x, most))

    def take_back(self) -> None:
        """Put trained weights into the whole student."""
        if self.layers:
            for layer, copy in zip(self.layers, self.student.layers, strict=True):
                layer.set_weights(copy.get_weights())


def reduce_to_head(
    student: Any, teacher: Any | None, data: Prepared, head: SplitHead | None
) -> Part:
    """Run the network below the head once over all data and return what is left to do.

    Args:
        student: The factorized Keras model.
        teacher: The original; None if it is not at hand.
        data: The data set.
        head: The factorized layer as in the record; None if that is not known.

    Raises:
        TrainingError: If the student's head cannot stand alone, see `head_of`, or another layer
            than the last was factorized.
    """
    found = head_of(student)
    if head is not None and head.first_path != found.path:
        msg = f"Layer {head.path!r}, which was factorized, is not the last one; use --scope model."
        raise TrainingError(msg, code="no_head")
    split = data.split
    size = sum(math.prod(w.shape) for layer in found.layers for w in layer.trainable_weights)
    samples = samples_for(student, split.x_train, max(FEWEST, PREDICTIONS_A_WEIGHT * size))
    changed: dict[str, Any] = {"y_train": evenly(split.y_train, samples)}
    for part in ("train", "val", "test"):
        x, weights = getattr(split, f"x_{part}"), getattr(split, f"w_{part}")
        weights = _weights(student, data.scaling(x), weights)
        if part == "train":
            # Labels and weights are thinned out with the inputs.
            x = evenly(x, samples)
            weights = None if weights is None else np.asarray(evenly(weights, samples))
        changed[f"x_{part}"] = layer_inputs(student, found.path, data.scaling(x))
        changed[f"w_{part}"] = weights
    inputs = changed["x_train"].shape[1:]
    small_teacher = None
    if teacher is not None:
        with contextlib.suppress(TrainingError):
            theirs = head_of(teacher)
            if _same_below(student, found, teacher, theirs):
                small_teacher = alone(theirs.layers, inputs)
    return Part(
        student=alone(found.layers, inputs),
        teacher=small_teacher,
        data=replace(data, split=replace(split, **changed), scaling=parse("as-is", np.zeros(1))),
        head=head and replace(head, path=_name(head.path), first_path=_name(head.first_path)),
        layers=tuple(found.layers),
    )


def _weights(model: Any, x: Arrays, weights: NDArray[Any] | None) -> NDArray[Any] | None:
    """Return weights that are 0 at padding: a head alone has no mask that would tell."""
    (mask,) = masks_of(model, x)
    return weights if mask is None else masked_weights(weights, mask, mask.shape)


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _same_below(student: Any, head: HeadLayers, teacher: Any, theirs: HeadLayers) -> bool:
    """Return whether two models are the same below their heads, weight by weight."""
    below = []
    for model, part in ((student, head), (teacher, theirs)):
        top = {id(weight) for layer in part.layers for weight in layer.weights}
        below.append([weight for weight in model.weights if id(weight) not in top])
    return len(below[0]) == len(below[1]) and all(
        np.array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
        for a, b in zip(*below, strict=True)
    )
