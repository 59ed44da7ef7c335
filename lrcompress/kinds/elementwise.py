"""Layers that act on each feature by itself: which they are, and what they make of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.protocol import Array, Arrays, Place, Serialized
from lrcompress.kinds.terms import activation_name
from lrcompress.lowrank.narrowing.states import FUNCTIONS

_POOLS = {"MaxPooling1D": 1, "MaxPooling2D": 2, "MaxPooling3D": 3}
_SLOPES = {"ReLU": 0.0, "LeakyReLU": 0.3}


def acts_on_each(place: Place) -> bool:
    """Return whether a layer acts on each feature by itself, in a way that is known here; features come last."""
    class_name, config = place.layer.class_name, place.layer.config
    if place.per_step:
        return False
    if class_name in terms.NORMALIZATIONS:
        return _is_last(config.get("axis", -1), place) and len(place.layer.arrays) > 1
    if class_name in _POOLS:
        return _pool(place.layer) is not None
    if class_name in _SLOPES:
        return not config.get("threshold") and config.get("max_value") is None
    name = activation_name(config.get("activation"))
    return class_name == "Activation" and name in FUNCTIONS and name != "hard_sigmoid"


def keeps_positions(between: Sequence[Place]) -> bool:
    """Return whether layers act on each position by itself too: none is a maximum."""
    return all(place.layer.class_name not in _POOLS for place in between)


def passed(outputs: Array, between: Sequence[Place], arrays: Arrays) -> Array:
    """Return what layers make of outputs, (samples, ..., features)."""
    for place in between:
        layer = place.layer
        if layer.class_name in terms.NORMALIZATIONS:
            scale, shift = _affine(layer.config, arrays[place.path])
            outputs = outputs * scale + shift
        elif layer.class_name in _POOLS:
            outputs = _pooled(outputs, _pool(layer) or ())
        elif layer.class_name in _SLOPES:
            given = layer.config.get("negative_slope", layer.config.get("alpha"))
            slope = float(_SLOPES[layer.class_name] if given is None else given)
            outputs = np.maximum(outputs, 0) + slope * np.minimum(outputs, 0)
        else:
            outputs = FUNCTIONS[activation_name(layer.config.get("activation"))](outputs)
    return outputs


def narrowed(place: Place, arrays: Arrays, chosen: Array) -> Serialized:
    """Return a layer for some of the features."""
    own = tuple(array[..., chosen] for array in arrays[place.path])
    return Serialized(place.layer.class_name, terms.taking(place.layer.config, len(chosen)), own)


def _affine(config: dict[str, Any], arrays: Sequence[Array]) -> tuple[Array, Array]:
    """Return a BatchNormalization in prediction as a factor and a constant."""
    *learnt, mean, variance = arrays
    scale = 1 / np.sqrt(variance + float(config.get("epsilon", 1e-3)))
    if config.get("scale", True):
        scale = scale * learnt[0]
    shift = learnt[-1] if config.get("center", True) else 0
    return scale, np.asarray(shift - mean * scale)


def _is_last(axis: object, place: Place) -> bool:
    """Return whether an axis of a layer's input is the last; of a positive one the batch counts."""
    axis = terms.as_list(axis)[0] if len(terms.as_list(axis)) == 1 else axis
    return axis == -1 or (
        bool(place.input_shapes) and axis == len((place.input_shapes or ((),))[0])
    )


def _pool(layer: Serialized) -> tuple[int, ...] | None:
    """Return the windows of a maximum that do not overlap; None of others."""
    config, axes = layer.config, _POOLS[layer.class_name]
    size, stride = (_each(config.get(key), axes) for key in ("pool_size", "strides"))
    apart = size is not None and stride in (size, None) and config.get("padding") == "valid"
    return size if apart and config.get("data_format") != "channels_first" else None


def _each(value: object, axes: int) -> tuple[int, ...] | None:
    numbers = (value,) * axes if isinstance(value, int) else tuple(terms.as_list(value))
    return numbers if len(numbers) == axes else None


def _pooled(outputs: Array, size: tuple[int, ...]) -> Array:
    for axis, window in enumerate(size, outputs.ndim - 1 - len(size)):
        whole = outputs.shape[axis] // window
        outputs = outputs.take(range(whole * window), axis)
        shape = (*outputs.shape[:axis], whole, window, *outputs.shape[axis + 1 :])
        outputs = outputs.reshape(shape).max(axis + 1)
    return outputs
