"""What of a model's own habits is set aside while it is run here, and stands again in its file."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterator
from typing import Any

import keras

from lrcompress.errors import LRCompressWarning

_KEPT = "stateful_in_its_file"


def start_each_anew(model: Any) -> None:
    """Let recurrent layers that carry their state over begin each sample anew, and say so.

    What a sample gives would depend on those before it, and a batch would have one size only.
    """
    layers = [
        x
        for x in model._flatten_layers()
        if getattr(x, "stateful", False) and hasattr(x, "reset_state")
    ]
    for layer in layers:
        layer.stateful = False
        setattr(layer, _KEPT, True)
    if layers:
        warnings.warn(
            f"Stateful layers ({', '.join(layer.name for layer in layers)}) begin each sample anew here; "
            "files keep them stateful.",
            LRCompressWarning,
            stacklevel=3,
        )


@contextlib.contextmanager
def as_in_its_file(model: Any) -> Iterator[None]:
    """Make recurrent layers stateful again while a model is saved."""
    layers = [layer for layer in model._flatten_layers() if getattr(layer, _KEPT, False)]
    try:
        for layer in layers:
            layer.stateful = True
        yield
    finally:
        for layer in layers:
            layer.stateful = False


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
