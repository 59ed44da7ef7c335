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

from lrcompress.data.arrays import Arrays, evenly
from lrcompress.data.scaling import parse
from lrcompress.errors import TrainingError
from lrcompress.live.layers import (
    HeadLayers,
    alone,
    find_layer,
    head_of,
    inputs_of,
    layer_inputs,
    samples_for,
    unwrapped,
)
from lrcompress.live.masks import masked_weights, masks_of, packed
from lrcompress.live.prepare import Prepared
from lrcompress.lowrank import AUTO, Problem, factorize_ranks, most_inputs

# A head has few weights: more predictions than so many for each cost a pass of the whole network
# and tell it little.
FEWEST = 10_000
PREDICTIONS_A_WEIGHT = 20
# Low ranks gain from more inputs, also after the epochs that follow: MNIST at rank 2, the loss on
# validation data after two epochs is 0.073 from 55,000 and 0.077 from 10,000. The pass through the
# network is a third of the price of an epoch over as many.
REFIT_SAMPLES = 60_000


@dataclass(frozen=True)
class SplitHead:
    """Where the factors are in the factorized model, and what they came from."""

    path: str  # of the original layer, which the second of the two is named after
    first_path: str
    activation: str
    softmax: bool  # whether softmax along the classes is what follows

    @classmethod
    def of(
        cls, *, path: str, name: str, first_name: str, activation: str, softmax: bool, **others: Any
    ) -> SplitHead:
        """Return where the factors are, from what a run record says of a factorized layer."""
        return cls(path, path.removesuffix(name) + first_name, activation, softmax)


@dataclass(frozen=True)
class Part:
    """What is trained: the whole model, or its head alone as a model."""

    student: Any
    teacher: Any | None  # none where the network below its head is another
    data: Prepared  # activations take the place of inputs where the head is alone
    head: SplitHead | None  # where the factors are, if that is known
    layers: tuple[Any, ...] = ()  # the head's in the whole student, where it is alone

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
    """Run the network below the head once over all data and return what is left to do."""
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
        # 0 at padding: a head alone has no mask that would tell.
        (mask,) = masks_of(student, data.scaling(x))
        weights = weights if mask is None else masked_weights(weights, mask, mask.shape)
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


def refit_head(student: Any, teacher: Any, head: SplitHead, x: Arrays) -> None:
    """Put refined factors of the teacher's kernel, by scaled inputs, into a student not trained since."""
    # Without data, `factorize` can only be near the original's kernel; with data and the original at
    # hand, these are near its predictions, in seconds, and the epochs that follow begin from there.
    source = find_layer(teacher, head.path)
    first, second = find_layer(student, head.first_path), find_layer(student, head.path)
    kernel, *rest = (np.asarray(weight) for weight in unwrapped(source).get_weights())
    some = evenly(x, samples_for(teacher, x, most_inputs(kernel.shape[1])))
    inputs = inputs_of(teacher, [head.path], some, pack=True)[head.path]
    rank = unwrapped(first).get_weights()[0].shape[1]
    problem = Problem(
        kernel,
        rest[0] if rest else None,
        softmax=head.softmax,
        activation=head.activation,
        inputs=inputs,
        task="re-fitting the head",
    )
    factors = factorize_ranks(problem, [rank], AUTO)[rank]
    unwrapped(first).set_weights([factors.B])
    bias = [factors.bias if factors.bias is not None else rest[0]] if rest else []
    unwrapped(second).set_weights([factors.C, *bias])


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
