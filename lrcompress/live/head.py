"""The head of a model: where its layers stand, and copies of them as a model of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras

from lrcompress.errors import TrainingError
from lrcompress.live.engine import nothing_drawn


@dataclass(frozen=True)
class HeadLayers:
    """The layers from the head to the output.

    Attributes:
        path: Of the first of them in the model, see `find_layer`.
        layers: One or two Dense layers and what follows them.
    """

    path: str
    layers: list[Any]


def head_of(model: Any) -> HeadLayers:
    """Find the head: the last layer with weights, and the bias-free linear Dense before it, if any."""
    line = _line(model)
    weighty = [i for i, (_, layer) in enumerate(line) if layer.weights]
    if not weighty or not is_dense(line[weighty[-1]][1]):
        msg = (
            f"The last layer with weights of {model.name} is not a Dense layer that leads straight to "
            "its only output; use --scope model."
        )
        raise TrainingError(msg, code="no_head")
    first = weighty[-1]
    if first and _is_first_factor(line[first - 1][1]):
        first -= 1
    return HeadLayers(line[first][0], [layer for _, layer in line[first:]])


def _line(model: Any, outer: str = "") -> list[tuple[str, Any]]:
    """Return path and layer from where the line to the output begins, in order of use."""
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1:
        return []
    tensor, line = outputs[0], list[tuple[str, Any]]()
    while True:
        layer = tensor._keras_history.operation
        if isinstance(layer, keras.Model):
            return _line(layer, f"{outer}{layer.name}/") + line
        inputs = layer._inbound_nodes[tensor._keras_history.node_index].input_tensors
        if len(inputs) != 1 or not isinstance(layer, keras.layers.Layer):
            return line
        line.insert(0, (outer + layer.name, layer))
        tensor = inputs[0]


def is_dense(layer: Any) -> bool:
    """Return whether a layer is a Dense, at each step or not."""
    return isinstance(_core(layer), keras.layers.Dense)


def _core(layer: Any) -> Any:
    """Return the layer inside a TimeDistributed, or the layer itself."""
    return layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer


def _is_first_factor(layer: Any) -> bool:
    core = _core(layer)
    linear = keras.activations.linear
    return is_dense(layer) and not core.use_bias and core.activation is linear


def alone(layers: Sequence[Any], inputs: tuple[int, ...], name: str = "head") -> Any:
    """Return copies of layers in a row as a model of their own, in which only Dense layers train.

    `inputs` is the shape of a sample of what flows into the first.
    """
    copies = [type(layer).from_config(layer.get_config()) for layer in layers]
    with nothing_drawn():
        model = keras.Sequential([keras.Input(inputs), *copies], name=name)
    for layer, copy in zip(layers, copies, strict=True):
        copy.set_weights(layer.get_weights())
        copy.trainable = layer.trainable and is_dense(layer)
    return model


def copied(layer: Any) -> Any:
    """Return a copy of a built layer, which belongs to no model."""
    copy = type(layer).from_config(layer.get_config())
    with nothing_drawn():
        copy.build(layer.get_build_config()["input_shape"])
    copy.set_weights(layer.get_weights())
    return copy
