"""How layers take in the features of their input, mixed or fewer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.protocol import Array, Arrays, Place, Serialized, Tensors


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
