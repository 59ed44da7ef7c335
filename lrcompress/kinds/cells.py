"""Which arrays of a recurrent layer are what, in all Keras versions, by itself or in a wrapper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.protocol import Array, Serialized, Tensors

GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}


@dataclass(frozen=True)
class Direction:
    """One way through the sequence: a layer has one, a bidirectional one two."""

    gates: int  # how many blocks of units stand side by side
    units: int
    # Which of the layer's arrays they are; in Keras 1 one for each gate.
    kernels: tuple[int, ...]
    recurrent: tuple[int, ...]
    biases: tuple[int, ...]


def directions(layer: Serialized) -> tuple[Direction, ...]:
    """Return which arrays of a layer are what; nothing where they are not what its config says."""
    shapes = [tuple(array.shape) for array in layer.arrays]
    found: list[Direction] = []
    start = 0
    for gates, config in cells(layer):
        units, biased = terms.units(config), bool(config.get("use_bias", True))
        if not gates or not units or start >= len(shapes) or len(shapes[start]) != 2:
            return ()
        m, width = shapes[start]
        blocks = gates if width == units else 1
        each = (2 + biased) * blocks
        one = [{(m, width)}, {(units, width)}, {(width,), (2, width)}][: 2 + biased]
        fits = len(shapes) >= start + each and all(
            shape in allowed
            for shape, allowed in zip(shapes[start : start + each], one * blocks, strict=True)
        )
        if not fits or width * blocks != gates * units or m != shapes[0][0]:
            return ()
        numbers = tuple(range(start, start + each))
        parts = [numbers[i :: 2 + biased] for i in range(2 + biased)]
        found.append(Direction(gates, units, parts[0], parts[1], parts[2] if biased else ()))
        start += each
    return tuple(found) if start == len(shapes) else ()


def input_kernel(layer: Serialized, arrays: Sequence[Array]) -> Array:
    """Return the input kernels of all gates and directions side by side."""
    return np.concatenate([arrays[i] for d in directions(layer) for i in d.kernels], axis=1)


def with_input_kernel(
    layer: Serialized, arrays: Sequence[Array], kernel: Array, shift: Array | None
) -> Tensors:
    """Return a layer's arrays with other input kernels, a constant added to the biases that inputs have."""
    own, start = list(arrays), 0
    for direction in directions(layer):
        for block, number in enumerate(direction.kernels):
            columns = slice(start, start + own[number].shape[1])
            start = columns.stop
            own[number] = kernel[:, columns]
            if shift is not None and direction.biases:
                bias = np.array(own[direction.biases[block]], np.float64)
                # Of a GRU that resets after the product, the second row is the states'.
                bias.reshape(-1, len(shift[columns]))[0] += shift[columns]
                own[direction.biases[block]] = bias
    return tuple(own)


def cells(layer: Serialized) -> list[tuple[int, dict[str, Any]]]:
    """Return the gates and the config of each direction's cell; no gates where its class is not known."""
    entry = {"class_name": layer.class_name, "config": layer.config}
    if layer.class_name != "Bidirectional":
        return [_cell(entry)]
    forward = terms.as_dict(layer.config.get("layer"))
    return [_cell(forward), _cell(terms.as_dict(layer.config.get("backward_layer")) or forward)]


def _cell(entry: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the gates and the config of a serialized layer's cell."""
    suffix = ""
    if entry.get("class_name") == "RNN" and terms.is_built_in(entry):
        entry, suffix = terms.as_dict(terms.as_dict(entry.get("config")).get("cell")), "Cell"
    gates = {name + suffix: gates for name, gates in GATES.items()}
    known = gates.get(str(entry.get("class_name")), 0) if terms.is_built_in(entry) else 0
    return known, terms.as_dict(entry.get("config"))
