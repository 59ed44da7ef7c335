"""How many multiplications a model needs: those of its kernels, which are nearly all of them."""

from __future__ import annotations

import math
from typing import Any

import keras

_CONVOLUTIONS = (
    keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D,
)  # fmt: skip
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose,
)  # fmt: skip
_RECURRENT = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)

Shape = tuple[int | None, ...]


def multiplications(model: Any, length: int) -> tuple[int | None, list[str]]:
    """Count the multiplications by kernels that one sample takes.

    Those of Dense, convolutional and recurrent layers; not those of biases, normalizations,
    activations and embeddings, which grow with the activations only.

    Args:
        model: A functional or Sequential Keras model.
        length: What stands for a length that the model leaves open.

    Returns:
        Their number, None where layers with weights of their own could not be counted, and the
        classes of these layers.
    """
    total, unknown = 0, set[str]()
    for layer, inputs, output in _uses(model):
        found = _of_layer(layer, inputs, output, length)
        if found is None:
            unknown.add(type(layer).__name__)
        else:
            total += found
    return (None if unknown else total), sorted(unknown)


def _uses(model: Any) -> list[tuple[Any, Shape, Shape]]:
    """Return each use of a layer in a model, nested ones included, with its first shapes."""
    found: list[tuple[Any, Shape, Shape]] = []
    nodes = [node for depth in getattr(model, "_nodes_by_depth", {}).values() for node in depth]
    for node in nodes:
        layer = node.operation
        if isinstance(layer, keras.Model):
            found += _uses(layer)
        elif isinstance(layer, keras.layers.Layer) and node.input_tensors:
            found.append((layer, node.input_tensors[0].shape, node.output_tensors[0].shape))
    if isinstance(model, keras.Sequential) and model._functional is not None:
        return _uses(model._functional)
    return found


def _of_layer(layer: Any, inputs: Shape, output: Shape, length: int) -> int | None:
    """Return the multiplications of one use of a layer; None if they are not known."""
    if isinstance(layer, keras.layers.TimeDistributed):
        steps = inputs[1] or length
        inner = _of_layer(layer.layer, (None, *inputs[2:]), (None, *output[2:]), length)
        return None if inner is None else steps * inner
    if isinstance(layer, keras.layers.Bidirectional):
        halves = [_of_layer(half, inputs, output, length)
                  for half in (layer.forward_layer, layer.backward_layer)]  # fmt: skip
        return None if None in halves else sum(half or 0 for half in halves)
    if isinstance(layer, _RECURRENT):
        cell = layer.cell
        return (inputs[1] or length) * (_size(cell.kernel) + _size(cell.recurrent_kernel))
    if isinstance(layer, keras.layers.Dense):
        return _positions(output[1:-1], length) * _size(layer.kernel)
    if isinstance(layer, (*_CONVOLUTIONS, *_SEPARABLE, *_TRANSPOSED)):
        shape = inputs if isinstance(layer, _TRANSPOSED) else output
        spatial = shape[2:] if layer.data_format == "channels_first" else shape[1:-1]
        if None in spatial:
            # Strides make less of a length, and nothing tells how much.
            return None
        kernels = (
            [layer.depthwise_kernel, layer.pointwise_kernel]
            if isinstance(layer, _SEPARABLE) else [layer.kernel]
        )  # fmt: skip
        return _positions(spatial, length) * sum(_size(kernel) for kernel in kernels)
    is_free = isinstance(layer, keras.layers.Embedding) or all(
        len(weight.shape) < 2 for weight in layer.weights
    )
    return 0 if is_free else None


def _size(kernel: Any) -> int:
    return math.prod(kernel.shape)


def _positions(shape: Shape, length: int) -> int:
    return math.prod(n or length for n in shape)
