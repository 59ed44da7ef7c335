"""How a model is set while it is fitted: its precision, without dropout, its frozen layers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras


@contextlib.contextmanager
def _while_fitted(layers: list[Any], name: str, value: Callable[[Any], Any]) -> Iterator[None]:
    """Give an attribute of layers other values, and their own again after."""
    kept = [getattr(layer, name) for layer in layers]
    try:
        for layer in layers:
            setattr(layer, name, value(layer))
        yield
    finally:
        # Models stand before the layers in them, whose own settings count.
        for layer, own in zip(layers, kept, strict=True):
            setattr(layer, name, own)


def computing_in(model: Any, policy: str) -> AbstractContextManager[None]:
    """Let a Keras model compute in a policy such as ``mixed_bfloat16``, and in its own again after.

    Weights, files and every measured figure stay float32. Layers that are not plain float32 stay as
    they are, and so do the outputs' own layers, whose softmax and loss need float32's digits.
    bfloat16 has float32's range, so no loss need be scaled, unlike with float16.
    """
    inner = model._flatten_layers()
    last = {
        tensor._keras_history.operation
        for layer in inner
        for tensor in (isinstance(layer, keras.Model) and getattr(layer, "outputs", None)) or []
    }
    # A model casts what it is given as a whole: numbers of words would not survive bfloat16.
    layers = [
        layer
        for layer in inner
        if not isinstance(layer, keras.Model)
        and layer not in last
        and layer.dtype_policy.name == "float32"
        and policy != "float32"
    ]
    return _while_fitted(layers, "dtype_policy", lambda layer: policy)


def without_dropout(model: Any) -> AbstractContextManager[None]:
    """Switch the model's Dropout layers off, at any depth, and give them their rates back."""
    layers = [x for x in model._flatten_layers() if isinstance(x, keras.layers.Dropout)]
    return _while_fitted(layers, "rate", lambda layer: 0.0)


def frozen_weights(model: Any) -> int:
    """Return how many weights would be trained if no layer were frozen, and are not."""
    frozen = [layer for layer in model._flatten_layers() if not layer.trainable]
    return sum(math.prod(v.shape) for layer in frozen for v in layer._trainable_variables)


def thawed(model: Any) -> AbstractContextManager[None]:
    """Let a model train of which every layer is frozen, but for its normalizations."""
    layers = [] if model.trainable_variables else list(model._flatten_layers())
    normalizes = keras.layers.BatchNormalization
    return _while_fitted(layers, "trainable", lambda layer: not isinstance(layer, normalizes))
