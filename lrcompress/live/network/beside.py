"""What is added to a layer's output: with a shortcut lost in part, the layer can make up for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

# As a share of the mean slope of a normalization.
_STOPPED = 0.1


def only_takers(nodes: Sequence[Any], outputs: Sequence[Any]) -> dict[int, Any]:
    """Return by tensor the one node that takes it in; None where there are several, or it is an output."""
    found: dict[int, Any] = {}
    for node in nodes:
        for tensor in node.input_tensors:
            found[id(tensor)] = None if id(tensor) in found else node
    return found | {id(tensor): None for tensor in outputs}


def added(
    node: Any,
    takers: dict[int, Any],
    flow: Sequence[dict[int, Any]],
    run: Callable[[Any], list[list[Any]]],
) -> list[Any] | None:
    """Return by batch what is added to a layer's output, in its units; None if nothing is, or it is not there yet."""
    tensor, back = node.outputs[0], None
    layer = getattr(node.operation, "layer", node.operation)
    if getattr(layer, "activation", None) not in (None, keras.activations.linear):
        return None
    taker = takers.get(id(tensor))
    if taker is not None and isinstance(taker.operation, keras.layers.BatchNormalization):
        back = _undoing(taker.operation, len(tensor.shape))
        if back is None:
            return None
        tensor = taker.outputs[0]
        taker = takers.get(id(tensor))
    # A layer, or the sum of two tensors.
    if taker is None or type(taker.operation).__name__ != "Add":
        return None
    others = [other for other in taker.input_tensors if other is not tensor]
    if len(others) != 1 or others[0].shape != tensor.shape:
        return None
    found = _early(others[0], flow, run)
    if found is None or back is None:
        return found
    return [keras.ops.multiply(one, back) for one in found]


def knee_of(node: Any, takers: dict[int, Any], *, summed: bool) -> tuple[Any, Any] | None:
    """Return by output the sign with which a ReLU takes it in, and from which value on; None where none does."""
    tensor, layer = node.outputs[0], getattr(node.operation, "layer", node.operation)
    units = tensor.shape[-1]
    sign, at = np.ones(units), np.zeros(units)
    own = getattr(layer, "activation", None)
    if isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
        return None  # its responses are in the gates
    if own is keras.activations.relu:
        return sign, at
    if own not in (None, keras.activations.linear):
        return None
    taker = takers.get(id(tensor))
    if taker is not None and isinstance(taker.operation, keras.layers.BatchNormalization):
        normal = taker.operation
        if normal.axis % len(tensor.shape) != len(tensor.shape) - 1:
            return None
        slope, offset = _affine(normal)
        sign = np.where(slope < 0, -1.0, 1.0)
        at = -offset / np.where(slope == 0, 1e-12, slope)
        tensor = taker.outputs[0]
        taker = takers.get(id(tensor))
    if taker is not None and type(taker.operation).__name__ == "Add":
        if not summed:  # what is added before the ReLU is not known
            return None
        taker = takers.get(id(taker.outputs[0]))
    return (sign, at) if taker is not None and _is_relu(taker.operation) else None


def _is_relu(layer: Any) -> bool:
    if isinstance(layer, keras.layers.ReLU):
        return not layer.negative_slope and not layer.threshold
    return getattr(layer, "activation", None) is keras.activations.relu and isinstance(
        layer, keras.layers.Activation
    )


def _affine(layer: Any) -> tuple[Any, Any]:
    """Return what a BatchNormalization multiplies its inputs by, and what it adds then."""
    array = keras.ops.convert_to_numpy
    slope = 1 / np.sqrt(array(layer.moving_variance).astype(np.float64) + layer.epsilon)
    slope = slope * array(layer.gamma) if layer.scale else slope
    offset = (array(layer.beta) if layer.center else 0.0) - slope * array(layer.moving_mean)
    return slope, offset


def _early(
    tensor: Any, flow: Sequence[dict[int, Any]], run: Callable[[Any], list[list[Any]]]
) -> list[Any] | None:
    """Return a tensor by batch; one that only a normalization is missing for comes about for it."""
    if all(id(tensor) in batch for batch in flow):
        return [batch[id(tensor)] for batch in flow]
    operation, index, _ = tensor._keras_history
    if not isinstance(operation, keras.layers.BatchNormalization):
        return None
    node = operation._inbound_nodes[index]
    there = all(id(node.input_tensors[0]) in batch for batch in flow)
    return [values[0] for values in run(node)] if there else None


def _undoing(layer: Any, axes: int) -> NDArray[np.float32] | None:
    """Return by what a BatchNormalization's outputs are multiplied to undo its slopes; None of another axis."""
    if layer.axis % axes != axes - 1:
        return None
    array = keras.ops.convert_to_numpy
    slope = 1 / np.sqrt(array(layer.moving_variance) + layer.epsilon)
    slope = slope * array(layer.gamma) if layer.scale else slope
    # An output that is nearly stopped cannot make up for anything.
    return np.asarray(slope / (slope**2 + (_STOPPED * np.abs(slope).mean()) ** 2), np.float32)
