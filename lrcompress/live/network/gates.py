"""Recurrent layers of which the inputs' share of the gates can be seen: it is no output of theirs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from lrcompress.kinds import Serialized
from lrcompress.kinds.cells import directions, input_kernel, with_input_kernel
from lrcompress.kinds.terms import taking

# Wider ones would take longer than what they tell is worth.
_WIDEST = 2048


def has_gates(layer: Any) -> bool:
    """Return whether a layer is a recurrent one whose gates can be computed before it."""
    recurrent = isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional))
    if not recurrent or getattr(layer, "stateful", False):
        return False
    own = _serialized(layer)
    ways = directions(own)
    return bool(ways) and sum(way.gates * way.units for way in ways) <= _WIDEST


def through_gates(layer: Any, inputs: Any, call: dict[str, Any], seen: Callable[[Any], Any]) -> Any:
    """Return what a recurrent layer gives: a Dense computes x A, and `seen` of it goes into a copy.

    Args:
        layer: A built layer.
        inputs: Its first argument.
        call: The others by name.
        seen: Returns what goes on for x A.
    """
    own = _serialized(layer)
    kernel = input_kernel(own, own.arrays)
    width = kernel.shape[1]
    dense = keras.layers.Dense(width, use_bias=False, name=f"{layer.name}_gates")
    copy = keras.layers.deserialize(
        {
            "module": "keras.layers",
            "class_name": own.class_name,
            "config": taking(own.config, width) | {"name": f"{layer.name}_behind"},
            "registered_name": None,
        }
    )
    outputs = copy(seen(dense(inputs)), **call)
    dense.trainable = copy.trainable = False
    dense.set_weights([kernel])
    copy.set_weights(with_input_kernel(own, own.arrays, np.eye(width), None))
    return outputs


def _serialized(layer: Any) -> Serialized:
    """Return a layer as a file would hold it."""
    entry = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    return Serialized(entry["class_name"], entry["config"], tuple(layer.get_weights()))
