"""What of a model's own habits is set aside while it is trained here."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import keras


def frozen_weights(model: Any) -> int:
    """Return how many weights would be trained if no layer were frozen, and are not."""
    frozen = [layer for layer in model._flatten_layers() if not layer.trainable]
    return sum(math.prod(v.shape) for layer in frozen for v in layer._trainable_variables)


@contextlib.contextmanager
def thawed(model: Any) -> Iterator[bool]:
    """Let a model train of which every layer is frozen, but for its normalizations.

    Yields:
        Whether that was so; a model with something to train is left as it is.
    """
    layers = list(model._flatten_layers())
    if model.trainable_variables:
        yield False
        return
    kept = [layer.trainable for layer in layers]
    try:
        for layer in layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        yield True
    finally:
        # Models stand before the layers in them, whose own settings count.
        for layer, trainable in zip(layers, kept, strict=True):
            layer.trainable = trainable
