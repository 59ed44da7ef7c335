"""How layers take in the features of their input, mixed or fewer, and those that act on each feature by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.protocol import Array, Arrays, Place, Serialized, Tensors
from lrcompress.kinds.terms import activation_name
from lrcompress.lowrank.narrowing.states import FUNCTIONS

_POOLS = {"MaxPooling1D": 1, "MaxPooling2D": 2, "MaxPooling3D": 3}
_SLOPES = {"ReLU": 0.0, "LeakyReLU": 0.3}


def inlets(place: Place) -> tuple[tuple[int, int], ...]:
    """Return which axes of which arrays a layer multiplies the features of its input with; none where not known."""
    kind: Any = place.kind
    if kind is None or not hasattr(kind, "inlets") or kind.refuse(place.layer) is not None:
        return ()
    found: tuple[tuple[int, int], ...] = kind.inlets(place.layer)
    return found


def absorbed(place: Place, arrays: Arrays, mixing: Array, constant: Array) -> Tensors:
    """Return a layer's arrays for inputs z where they were z A + c, mixed at each position of a flattened input."""
    kind: Any = place.kind
    if constant.any():
        kernel = kind.kernel(place.layer, arrays[place.path])
        parts = kernel.reshape(-1, mixing.shape[1], kernel.shape[1])
        shift = constant @ parts.sum(axis=0, dtype=np.float64)
        arrays = kind.with_kernel(place, arrays, kernel, shift)
    own = list(arrays[place.path])
    for number, axis in inlets(place):
        front = np.moveaxis(own[number], axis, 0).astype(np.float64)
        parts = front.reshape(-1, mixing.shape[1], *front.shape[1:])
        made = np.moveaxis(np.tensordot(mixing, parts, (1, 1)), 0, 1)
        own[number] = np.moveaxis(made.reshape(-1, *front.shape[1:]), 0, axis)
    return tuple(own)


def narrower(place: Place, arrays: Arrays, mixing: Array, constant: Array) -> Serialized:
    """Return a layer for inputs z where they were z A + c, see `absorbed`: it states as many as A has rows."""
    own = absorbed(place, arrays, mixing, constant)
    number, axis = inlets(place)[0]
    config = terms.taking(place.layer.config, own[number].shape[axis])
    return Serialized(place.layer.class_name, config, own)


def inputs_of(place: Place, width: int) -> tuple[tuple[int, int], ...]:
    """Return which axes of which arrays a layer multiplies rows of a width with; none where not known."""
    found = inlets(place)  # behind a Flatten such an axis is that of several words in a row
    shapes = [array.shape for array in place.layer.arrays]
    return found if all(shapes[number][axis] % width == 0 for number, axis in found) else ()


def outlets(place: Place, arrays: Arrays, outputs: int) -> Iterator[Array]:
    """Yield what a layer multiplies its inputs with, (outputs, p), a position of a flattened input at a time."""
    for number, axis in inlets(place):
        front = np.moveaxis(arrays[place.path][number], axis, 0)
        for position in front.reshape(-1, outputs, *front.shape[1:]):
            yield position.reshape(outputs, -1)


def outlet_gram(place: Place, arrays: Arrays, outputs: int) -> Array:
    """Return G G^T of what a layer multiplies its inputs with."""
    found = np.zeros((outputs, outputs))
    for part in outlets(place, arrays, outputs):
        found += part.astype(np.float64) @ part.T
    return found


def outlet_energies(
    place: Place, arrays: Arrays, outputs: int, alike: tuple[Array, Array]
) -> Array:
    """Return the squared norm of what each output is multiplied with, of equal ones at the first together."""
    found = np.zeros(outputs)
    for part in outlets(place, arrays, outputs):
        whole = part
        again = np.flatnonzero(alike[0] != np.arange(outputs))
        if len(again):
            whole = part.astype(np.float64)
            np.add.at(whole, alike[0][again], part[again])
        found += np.einsum("ij,ij->i", whole, whole, dtype=np.float64)
    return found


def takes_constant(config: dict[str, Any]) -> bool:
    """Return whether a constant added to each input of a layer can go into its bias, or those it wraps."""
    wrapped = [terms.as_dict(config.get(key)) for key in ("layer", "backward_layer", "cell")]
    inner = [terms.as_dict(each["config"]) for each in wrapped if "config" in each]
    if inner:
        return all(takes_constant(each) for each in inner)
    biased = config.get("use_bias", config.get("bias", True))
    return bool(biased) and config.get("padding", config.get("border_mode", "valid")) == "valid"


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
