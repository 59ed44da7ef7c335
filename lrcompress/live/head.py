"""The head of a model as a small model of its own, on what the rest of the network hands to it.

The network below the head runs once over the data; after that an epoch of the head takes
milliseconds.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, evenly
from lrcompress.data.scaling import parse
from lrcompress.errors import TrainingError
from lrcompress.live.activations import layer_inputs, samples_for
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
class Tail:
    """The layers from the head to the output.

    Attributes:
        path: Of the first of them in the model, see `find_layer`.
        layers: One or two Dense layers and what follows them.
    """

    path: str
    layers: list[Any]

    def take_back(self, model: Any) -> None:
        """Give the layers the weights of such a copy."""
        for layer, copy in zip(self.layers, model.layers, strict=True):
            layer.set_weights(copy.get_weights())


def alone(layers: Sequence[Any], inputs: tuple[int, ...], name: str = "head") -> Any:
    """Return copies of layers as a model of their own, in which only Dense layers train.

    Args:
        layers: In the order of their use.
        inputs: Shape of a sample of what flows into the first.
        name: Of the model.
    """
    copies = [type(layer).from_config(layer.get_config()) for layer in layers]
    model = keras.Sequential([keras.Input(inputs), *copies], name=name)
    for layer, copy in zip(layers, copies, strict=True):
        copy.set_weights(layer.get_weights())
        copy.trainable = layer.trainable and isinstance(_core(layer), keras.layers.Dense)
    return model


def copied(layer: Any) -> Any:
    """Return a copy of a built layer, which belongs to no model."""
    copy = type(layer).from_config(layer.get_config())
    copy.build(layer.get_build_config()["input_shape"])
    copy.set_weights(layer.get_weights())
    return copy


def tail_of(model: Any) -> Tail:
    """Find the head: the last layer with weights, and the bias-free linear Dense before it, if any.

    Raises:
        TrainingError: If the head is no Dense layer, or does not stand in one line before the
            model's only output.
    """
    chain = _chain(model)
    weighty = [i for i, (_, layer) in enumerate(chain) if layer.weights]
    if not weighty or not isinstance(_core(chain[weighty[-1]][1]), keras.layers.Dense):
        msg = (
            f"The last layer with weights of {model.name} is no Dense layer that leads straight to "
            "its only output; use --scope model."
        )
        raise TrainingError(msg, code="no_head")
    first = weighty[-1]
    if first and _is_first_factor(_core(chain[first - 1][1])):
        first -= 1
    return Tail(chain[first][0], [layer for _, layer in chain[first:]])


def _chain(model: Any, outer: str = "") -> list[tuple[str, Any]]:
    """Return path and layer from where the line to the output begins, in order of use."""
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1:
        return []
    tensor, line = outputs[0], list[tuple[str, Any]]()
    while True:
        layer = tensor._keras_history.operation
        if isinstance(layer, keras.Model):
            return _chain(layer, f"{outer}{layer.name}/") + line
        inputs = layer._inbound_nodes[tensor._keras_history.node_index].input_tensors
        if len(inputs) != 1 or not isinstance(layer, keras.layers.Layer):
            return line
        line.insert(0, (outer + layer.name, layer))
        tensor = inputs[0]


def _core(layer: Any) -> Any:
    """Return the layer inside a TimeDistributed, or the layer itself."""
    return layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer


def _is_first_factor(layer: Any) -> bool:
    return (
        isinstance(layer, keras.layers.Dense)
        and not layer.use_bias
        and layer.activation is keras.activations.linear
    )


@dataclass(frozen=True)
class Part:
    """What is trained: the whole model, or its head alone.

    Attributes:
        student: The factorized model, or its head as a model.
        teacher: The original likewise, on the same inputs; None if it is not at hand, or the
            network below its head is another.
        data: For these; activations take the place of inputs where the head is alone.
        head: Where the factors are, in these; None if that is not known.
        tail: The head's layers in the whole student; None where that is trained itself.
    """

    student: Any
    teacher: Any | None
    data: Prepared
    head: SplitHead | None
    tail: Tail | None = None

    def inputs(self, most: int) -> Arrays:
        """Return training inputs, so many at most, scaled; a head alone gets them without padding."""
        split = self.data.split
        x, weights = split.x_train, split.w_train
        if self.tail is not None and weights is not None and not isinstance(x, dict):
            x = packed(x, weights > 0)
        return self.data.scaling(evenly(x, most))

    def take_back(self) -> None:
        """Put trained weights into the whole student."""
        if self.tail is not None:
            self.tail.take_back(self.student)


def reduce_to_head(
    student: Any,
    teacher: Any | None,
    data: Prepared,
    head: SplitHead | None,
) -> Part:
    """Run the network below the head once over all data and return what is left to do.

    Args:
        student: The factorized Keras model.
        teacher: The original; None if it is not at hand.
        data: The data set.
        head: The factorized layer as in the record; None if that is not known.

    Raises:
        TrainingError: If the student's head cannot stand alone, see `tail_of`, or another layer
            than the last was factorized.
    """
    tail = tail_of(student)
    if head is not None and head.first_path != tail.path:
        msg = f"Layer {head.path!r}, which was factorized, is not the last one; use --scope model."
        raise TrainingError(msg, code="no_head")
    split = data.split
    weights = sum(math.prod(w.shape) for layer in tail.layers for w in layer.trainable_weights)
    samples = samples_for(student, split.x_train, max(FEWEST, PREDICTIONS_A_WEIGHT * weights))
    x_train, x_val, x_test = (
        layer_inputs(student, tail.path, data.scaling(x))
        for x in (evenly(split.x_train, samples), split.x_val, split.x_test)
    )
    train, val, test = (
        _weights(student, data.scaling(x), weights)
        for x, weights in (
            (split.x_train, split.w_train), (split.x_val, split.w_val), (split.x_test, split.w_test)
        )
    )  # fmt: skip
    # Labels and weights are thinned out with the inputs.
    split = replace(
        split,
        x_train=x_train,
        y_train=evenly(split.y_train, samples),
        x_val=x_val,
        x_test=x_test,
        w_train=None if train is None else np.asarray(evenly(train, samples)),
        w_val=val,
        w_test=test,
    )
    inputs = x_train.shape[1:]
    small_teacher = None
    if teacher is not None:
        with contextlib.suppress(TrainingError):
            theirs = tail_of(teacher)
            if _same_below(student, tail, teacher, theirs):
                small_teacher = alone(theirs.layers, inputs)
    return Part(
        student=alone(tail.layers, inputs),
        teacher=small_teacher,
        data=replace(data, split=split, scaling=parse("as-is", np.zeros(1))),
        head=head and replace(head, path=_name(head.path), first_path=_name(head.first_path)),
        tail=tail,
    )


def _weights(model: Any, x: Arrays, weights: NDArray[Any] | None) -> NDArray[Any] | None:
    """Return weights that are 0 at padding: a head alone has no mask that would tell."""
    (mask,) = masks_of(model, x)
    return weights if mask is None else masked_weights(weights, mask, mask.shape)


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _same_below(student: Any, tail: Tail, teacher: Any, theirs: Tail) -> bool:
    """Return whether two models are the same below their heads, weight by weight."""
    below = []
    for model, part in ((student, tail), (teacher, theirs)):
        top = {id(weight) for layer in part.layers for weight in layer.weights}
        below.append([weight for weight in model.weights if id(weight) not in top])
    return len(below[0]) == len(below[1]) and all(
        np.array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))
        for a, b in zip(*below, strict=True)
    )
