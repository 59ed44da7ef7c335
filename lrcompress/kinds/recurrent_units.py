"""Recurrent layers with fewer units: the layer itself takes its states in as well, by the recurrent kernel."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.cells import Direction, cells, directions
from lrcompress.kinds.protocol import Array, Batch, Form, Place, Serialized, Tensors
from lrcompress.kinds.terms import activation_name
from lrcompress.kinds.units import Units, has_consumers, is_elementwise, is_zero_at_zero
from lrcompress.lowrank.narrowing.states import FUNCTIONS, all_states
from lrcompress.lowrank.responses import RowMoments

_INITIALIZERS = ("kernel_initializer", "recurrent_initializer", "bias_initializer", "init", "inner_init")  # fmt: skip
# States that are looked at of one batch, and how far the last may be from what the layer gave.
_STATES, _NEAR = 2**17, 1e-3


def fewer_units(kind: Any, place: Place) -> tuple[Form, ...]:
    """Return the form of a layer whose states are taken in by linear layers alone, itself among them."""
    config, found = place.layer.config, directions(place.layer)
    both = config.get("merge_mode", "concat") == "concat" or len(found) == 1
    elementwise = all(is_elementwise(*_activations(cell)) for _, cell in cells(place.layer))
    states = any(each.get("return_state") or each.get("time_major") for each in _configs(config))
    alike = len({way.units for way in found}) == 1
    if not (found and both and elementwise and alike) or place.per_step or place.between or states:
        return ()
    outputs = len(found) * found[0].units
    return (_States(kind, place),) if has_consumers(place, outputs) and outputs > 1 else ()


def gather_states(place: Place, arrays: Tensors, batch: Batch, seen: RowMoments) -> bool:
    """Add the states after each step of a layer that gives the last alone; False where they cannot be told."""
    x, mask, found = batch.inputs[0], batch.mask, directions(place.layer)
    names = [_activations(cell) for _, cell in cells(place.layer)]
    if x.ndim != 3 or any(name not in FUNCTIONS for each in names for name in each):
        return False
    some = max(1, _STATES // max(1, x.shape[1]))
    x, mask = x[:some], None if mask is None else mask[:some].astype(bool)
    parts = []
    for number, (way, functions) in enumerate(zip(found, names, strict=True)):
        kernel, recurrent, bias = (
            np.concatenate([arrays[i] for i in numbers], axis=-1) if numbers else None
            for numbers in (way.kernels, way.recurrent, way.biases)
        )
        if kernel is None or recurrent is None or len(way.kernels) > 1:  # Keras 1 has its own order
            return False
        order = -1 if _goes_backwards(place.layer, number) else 1
        given = None if mask is None else mask[:, ::order]
        parts.append(
            all_states(x[:, ::order], kernel, recurrent, bias, functions, given)[:, ::order]
        )
        last = parts[-1][:, 0 if order < 0 else -1]
        own = batch.output[:some, number * way.units : (number + 1) * way.units]
        if own.shape != last.shape or np.abs(own - last).max(initial=0) > _NEAR:
            return False
    states = np.concatenate(parts, axis=-1)
    seen.update(states.reshape(-1, states.shape[-1]) if mask is None else states[mask])
    return True


class _States(Units):
    """A recurrent layer of fewer units, in each direction as many."""

    def __init__(self, kind: Any, place: Place) -> None:
        super().__init__(kind, place)
        self._ways = directions(place.layer)
        self.blocks = len(self._ways)
        self._shifted = self._shifted and all(_takes_constants(place, way) for way in self._ways)

    @property
    def largest(self) -> int:
        return self._ways[0].units

    def sized(self, size: int) -> list[tuple[int, ...]]:
        """Return the shapes of kernels, recurrent kernels and biases."""
        shapes = [list(array.shape) for array in self.place.layer.arrays]
        for way in self._ways:
            for number in (*way.kernels, *way.recurrent, *way.biases):
                shapes[number][-1] = shapes[number][-1] * size // way.units
            for number in way.recurrent:
                shapes[number][0] = size
        return [tuple(shape) for shape in shapes]

    def narrowed(self, arrays: Tensors, chosen: Array) -> Serialized:
        """Return the layer with some of its units, all gates of them."""
        own = list(arrays)
        for block, way in enumerate(self._ways):
            part = chosen[chosen // way.units == block] % way.units
            for number in (*way.kernels, *way.recurrent, *way.biases):
                starts = np.arange(0, own[number].shape[-1], way.units)
                own[number] = own[number][..., (starts[:, None] + part).ravel()]
            for number in way.recurrent:
                own[number] = own[number][part]
        config = _sized(self.place.layer.config, len(chosen) // self.blocks)
        return Serialized(self.place.layer.class_name, config, tuple(own))

    def mixed(self, arrays: Tensors, mixing: Array, constant: Array) -> Tensors:
        """Return recurrent kernels A U, and c U in the biases that states have."""
        # A GRU that resets before the product multiplies r h with its last kernel: r h is taken for (r h)_k A, which
        # it is where the units that depend on each other have their gates alike.
        own = list(arrays)
        for block, way in enumerate(self._ways):
            part = slice(block * way.units, (block + 1) * way.units)
            for gate, number in enumerate(way.recurrent):
                wide = own[number].astype(np.float64)
                own[number] = mixing[part, part] @ wide
                if way.biases and constant[part].any():
                    bias = own[way.biases[gate]].astype(np.float64)
                    # Of a GRU that resets after the product, the second row is the states'.
                    bias.reshape(-1, wide.shape[1])[-1] += constant[part] @ wide
                    own[way.biases[gate]] = bias
        return tuple(own)

    def outlets(self, arrays: Tensors) -> list[Array]:
        """Return the recurrent kernel of each direction, zeros where the other one's units are."""
        found = []
        for block, way in enumerate(self._ways):
            own = np.concatenate([arrays[number] for number in way.recurrent], axis=1)
            whole = np.zeros((self.blocks * way.units, own.shape[1]))
            whole[block * way.units : (block + 1) * way.units] = own
            found.append(whole)
        return found

    def makers(self, arrays: Tensors) -> list[Array]:
        """Return the weights of each unit's gates; a row of ones where all of them 0 do not give 0."""
        found = []
        for way, (_, cell) in zip(self._ways, cells(self.place.layer), strict=True):
            numbers = (*way.kernels, *way.recurrent, *way.biases)
            rows = [arrays[number].reshape(-1, way.units) for number in numbers]
            zero = is_zero_at_zero(_activations(cell)[0])
            rows.append(np.full((1, way.units), float(not zero)))
            found.append(np.concatenate(rows))
        most = max(len(rows) for rows in found)
        padded = [np.pad(rows, ((0, most - len(rows)), (0, 0))) for rows in found]
        return [np.concatenate(padded, axis=1)]


def gives_sequences(layer: Serialized) -> bool:
    """Return whether a layer gives its state after each step."""
    return any(config.get("return_sequences") for config in _configs(layer.config))


def _configs(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a layer's config and that of the layer that it applies in both directions."""
    return [config, terms.as_dict(terms.as_dict(config.get("layer")).get("config"))]


def _goes_backwards(layer: Serialized, number: int) -> bool:
    """Return whether a direction of a layer begins with the last step."""
    backwards = any(config.get("go_backwards") for config in _configs(layer.config))
    return backwards != (number == 1)


def _activations(cell: dict[str, Any]) -> tuple[str, str]:
    """Return a cell's activation and that of its gates."""
    gates = cell.get("recurrent_activation", cell.get("inner_activation", "sigmoid"))
    return activation_name(cell.get("activation", "tanh")), activation_name(gates)


def _takes_constants(place: Place, way: Direction) -> bool:
    """Return whether biases can stand for constant states: of a GRU that resets before the product they cannot."""
    rows = [place.layer.arrays[number].shape for number in way.biases]
    return bool(rows) and (way.gates != 3 or all(len(shape) > 1 for shape in rows))


def _sized(config: dict[str, Any], units: int) -> dict[str, Any]:
    """Return a config, and those of what it wraps, that state another number of units."""
    config = copy.deepcopy(config)
    for key in ("units", "output_dim"):
        if key in config:
            config[key] = units
    terms.drop_arrays(config, _INITIALIZERS, "zeros")
    for key in ("layer", "backward_layer", "cell"):
        inner = terms.as_dict(config.get(key))
        if "config" in inner:
            inner["config"] = _sized(terms.as_dict(inner["config"]), units)
    return config
