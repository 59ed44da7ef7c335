"""How a model is set while it is fitted: precision, dropout, normalizations, frozen layers, optimizer."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import keras

from lrcompress.errors import TrainingError, one_line
from lrcompress.live.engine import temporarily

WARM_UP = 0.05
# Share of the peak at which the warm-up begins.
FIRST_RATE = 0.1


def computing_in(model: Any, policy: str) -> AbstractContextManager[None]:
    """Let a Keras model compute in a policy such as ``mixed_bfloat16``, and in its own again after."""
    # Weights, files and every measured figure stay float32. Layers that are not plain float32 stay as
    # they are, and so do the outputs' own layers, whose softmax and loss need float32's digits.
    # bfloat16 has float32's range, so no loss need be scaled, unlike with float16.
    inner = [] if policy == "float32" else model._flatten_layers()
    # A model casts what it is given as a whole: numbers of words would not survive bfloat16.
    models = [layer for layer in inner if isinstance(layer, keras.Model)]
    ends = [tensor for one in models for tensor in getattr(one, "outputs", None) or []]
    as_they_are = {*models, *(tensor._keras_history.operation for tensor in ends)}
    plain = (layer for layer in inner if layer.dtype_policy.name == "float32")
    layers = [layer for layer in plain if layer not in as_they_are]
    return temporarily(layers, "dtype_policy", lambda layer: policy)


def without_dropout(model: Any) -> AbstractContextManager[None]:
    """Switch the model's Dropout layers off, at any depth, and give them their rates back."""
    layers = [x for x in model._flatten_layers() if isinstance(x, keras.layers.Dropout)]
    return temporarily(layers, "rate", lambda layer: 0.0)


def with_kept_statistics(model: Any) -> AbstractContextManager[None]:
    """Let a model's batch normalizations work as when it predicts while all else works as in training."""

    def still(layer: Any) -> Any:
        call = layer.call
        return lambda *args, training=None, **kwargs: call(*args, training=False, **kwargs)

    normalizes = keras.layers.BatchNormalization
    layers = [x for x in model._flatten_layers() if isinstance(x, normalizes)]
    return temporarily(layers, "call", still)


def frozen_weights(model: Any) -> int:
    """Return how many weights would be trained if no layer were frozen, and are not."""
    frozen = [layer for layer in model._flatten_layers() if not layer.trainable]
    return sum(math.prod(v.shape) for layer in frozen for v in layer._trainable_variables)


def thawed(model: Any) -> AbstractContextManager[None]:
    """Let a model train of which every layer is frozen, but for its normalizations."""
    # Models stand before the layers in them, whose own settings count.
    layers = [] if model.trainable_variables else list(model._flatten_layers())
    normalizes = keras.layers.BatchNormalization
    return temporarily(layers, "trainable", lambda layer: not isinstance(layer, normalizes))


def adam(learning_rate: float, steps: int) -> Any:
    """Return Adam with a linear warm-up to a peak and a cosine decay to zero over so many steps."""
    warm_up = max(1, int(WARM_UP * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=FIRST_RATE * learning_rate,
        decay_steps=max(1, steps - warm_up),
        warmup_target=learning_rate,
        warmup_steps=warm_up,
    )
    return keras.optimizers.Adam(rate)


def original_optimizer(compiled: dict[str, Any] | None, learning_rate: float | None) -> Any:
    """Return the optimizer of a compile config, without its state; a rate replaces its own or its schedule."""
    config = (compiled or {}).get("optimizer")
    if config is None:
        msg = "The model was saved without its optimizer; leave --optimizer original out."
        raise TrainingError(msg, code="no_optimizer")
    try:
        optimizer = keras.saving.deserialize_keras_object(config)
    except Exception as error:  # a stranger's class can fail in any way
        msg = (
            f"Keras cannot make the model's own optimizer ({type(error).__name__}: {one_line(error)}); "
            "leave --optimizer original out."
        )
        raise TrainingError(msg, code="no_optimizer") from error
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        optimizer = keras.optimizers.get(optimizer)
    if learning_rate is not None:
        fresh = optimizer.get_config() | {"learning_rate": learning_rate}
        optimizer = type(optimizer).from_config(fresh)
    return optimizer
