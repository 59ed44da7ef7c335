"""Fewer units: those that are left out are affine functions of the kept ones, which what follows takes in.

With x = x_k A + c, exact where a unit is dead or depends on others, ``x G + b`` is
``x_k (A G) + (b + c G)``: the layer gets narrower, its consumers take fewer inputs, no layer is new.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.activations import ONE_SIDED, OTHERS, activation_name
from lrcompress.kinds.between import narrowed, passed
from lrcompress.kinds.linear import drawn_steps
from lrcompress.kinds.protocol import Array, Arrays, Batch, Place, Serialized, Solution
from lrcompress.kinds.shapes.multiplications import multiplications
from lrcompress.lowrank.narrowing.subset import Kept, compensated, elimination, likeness
from lrcompress.lowrank.responses import RowMoments

# Activations that are not 0 at 0, and those of which each output needs its own unit alone.
_AT_ZERO = ONE_SIDED - {"relu", "relu6"} | {"sigmoid", "hard_sigmoid"}
ELEMENTWISE = (OTHERS - {"glu", "log_softmax"}) | {"sigmoid", "hard_sigmoid"}


class _Shaped(NamedTuple):
    """An array of which only the shape counts."""

    shape: tuple[int, ...]


class Units:
    """A layer with fewer outputs; a subclass says what becomes of its own arrays.

    Attributes:
        blocks: In how many blocks of as many units each the outputs stand; each keeps as many.
    """

    name = "units"
    narrows = True
    blocks = 1

    def __init__(self, kind: Any, place: Place) -> None:
        """Of a layer with `consumers`."""
        self.kind, self.place = kind, place
        self._between = [other for other in place.between if other.layer.arrays]
        others = (*self._between, *place.beyond)
        self.touches = (place.path, *(other.path for other in others))
        # A constant that a consumer has no place for, or that is not there where it pads with
        # zeros, would be wrong.
        self._shifted = all(_takes_constant(other.layer.config) for other in place.beyond)

    @property
    def largest(self) -> int:
        """Return all units."""
        raise NotImplementedError

    def sized(self, size: int) -> list[tuple[int, ...]]:
        """Return the shapes of the layer's own arrays at a size."""
        raise NotImplementedError

    def narrowed(self, arrays: tuple[Array, ...], chosen: Array) -> Serialized:
        """Return the layer with some of its outputs."""
        raise NotImplementedError

    def mixed(self, arrays: tuple[Array, ...], mixing: Array, constant: Array) -> tuple[Array, ...]:
        """Return arrays of full size of a layer that itself takes in its outputs mixed."""
        return arrays

    def outlets(self, arrays: tuple[Array, ...]) -> list[Array]:
        """Return what the layer itself multiplies its outputs with, (outputs, p)."""
        return []

    def makers(self, arrays: tuple[Array, ...]) -> Array:
        """Return the weights that make each output, (p, outputs); where they are 0 it is 0."""
        rows = [array.reshape(-1, array.shape[-1]) for array in arrays]
        if not is_zero_at_zero(self.place.layer.config.get("activation")):
            rows.append(np.ones((1, rows[0].shape[1])))
        return np.concatenate(rows)

    def states(self, seen: Any) -> RowMoments | None:
        """Return the moments of the outputs."""
        found: RowMoments | None = seen and seen.outputs
        return found

    @property
    def before(self) -> int:
        """Return the weights of the layer and its consumers."""
        return self.parameters(self.largest)

    def parameters(self, size: int) -> int:
        """Return the weights of the layer and its consumers."""
        return sum(math.prod(shape) for _, shapes in self._layers(size) for shape in shapes)

    def multiplications(self, size: int) -> int | None:
        """Return those of the layer and its consumers."""
        total = 0
        for place, shapes in self._layers(size):
            layer = replace(place.layer, arrays=tuple(_Shaped(shape) for shape in shapes))
            if place.input_shapes is None or place.output_shape is None:
                return None
            count = multiplications(layer, place.input_shapes, place.output_shape)
            if count is None:
                return None
            total += count
        return total

    def _layers(self, size: int) -> list[tuple[Place, list[tuple[int, ...]]]]:
        """Return the layers with the shapes of their arrays at a size."""
        found = [(self.place, self.sized(size))]
        found += [(o, [(size * self.blocks,)] * len(o.layer.arrays)) for o in self._between]
        for other in self.place.beyond:
            shapes = [tuple(array.shape) for array in other.layer.arrays]
            for number, axis in inlets(other):
                shape = list(shapes[number])
                shape[axis] = shape[axis] * size // self.largest
                shapes[number] = tuple(shape)
            found.append((other, shapes))
        return found

    def errors(self, arrays: Arrays, seen: Any) -> Array:
        """Return the error of what follows, of blocks the mean."""
        return np.asarray(np.mean([errors for _, errors in self._ranked(arrays, seen)], axis=0))

    def solve(self, arrays: Arrays, seen: Any, sizes: Sequence[int]) -> dict[int, Solution]:
        """Return the layer with the units that serve what follows best, which is fitted to them."""
        ranked = self._ranked(arrays, seen)
        return {size: self._solution(arrays, seen, ranked, size) for size in sizes}

    def _ranked(self, arrays: Arrays, seen: Any) -> list[tuple[Array, Array]]:
        """Return the order of the units of each block, and the error at each size."""
        outlets = [*self.outlets(arrays[self.place.path])]
        outlets += [
            _outlet(other, arrays, self.blocks * self.largest) for other in self.place.beyond
        ]
        found = []
        for block, (_, covariance, count) in enumerate(self._moments(arrays, seen)):
            own = slice(block * self.largest, (block + 1) * self.largest)
            parts = [outlet[own] for outlet in outlets]
            # All that take the outputs in count alike.
            energies = [np.einsum("ij,ij->", part, covariance @ part) for part in parts]
            weighted = [
                part / math.sqrt(energy)
                for part, energy in zip(parts, energies, strict=True)
                if energy > 0
            ]
            whole = np.concatenate(weighted or [np.zeros((self.largest, 1))], axis=1)
            found.append(elimination(covariance, whole, count))
        return found

    def _moments(self, arrays: Arrays, seen: Any) -> list[tuple[Array, Array, float]]:
        """Return mean, covariance and number of rows of each block of outputs, see `compensated`."""
        states = self.states(seen)
        u = self.largest
        if states is None or not states.is_whole or not states.count:
            makers = self.makers(arrays[self.place.path])
            # Equal units are so behind a normalization where that treats them alike.
            makers = np.concatenate([makers, *(arrays[o.path] for o in self._between)])
            return [
                (np.zeros(u), likeness(makers[:, b * u : (b + 1) * u]), math.inf)
                for b in range(self.blocks)
            ]
        parts = [slice(b * u, (b + 1) * u) for b in range(self.blocks)]
        mean, covariance = states.mean, states.undamped
        if not self._shifted:
            mean, covariance = np.zeros_like(mean), covariance + np.outer(mean, mean)
        return [(mean[part], covariance[part, part], states.count) for part in parts]

    def _solution(
        self, arrays: Arrays, seen: Any, ranked: list[tuple[Array, Array]], size: int
    ) -> Solution:
        moments = self._moments(arrays, seen)
        kept = _joined(
            [
                compensated(mean, covariance, order[:size], count)
                for (order, _), (mean, covariance, count) in zip(ranked, moments, strict=True)
            ]
        )
        own, path = arrays[self.place.path], self.place.path
        constant = kept.constant

        def in_place() -> dict[str, tuple[Array, ...]]:
            wide = kept.in_place
            found = {other.path: arrays[other.path] for other in self._between}
            found[path] = self.mixed(own, wide, constant)
            for other in self.place.beyond:
                found[other.path] = absorbed(other, arrays, wide, constant)
            return found

        def layers() -> dict[str, tuple[Serialized, ...]]:
            mixed = self.mixed(own, kept.in_place, kept.constant)
            found: dict[str, tuple[Serialized, ...]] = {}
            found[path] = (self.narrowed(mixed, kept.chosen),)
            for between in self._between:
                found[between.path] = (narrowed(between, arrays, kept.chosen),)
            for other in self.place.beyond:
                small = absorbed(other, arrays, kept.mixing, constant)
                number, axis = inlets(other)[0]
                config = terms.taking(other.layer.config, small[number].shape[axis])
                found[other.path] = (Serialized(other.layer.class_name, config, small),)
            return found

        error = float(np.mean([errors[size - 1] for _, errors in ranked]))
        return Solution(error, layers, in_place)


def inlets(place: Place) -> tuple[tuple[int, int], ...]:
    """Return which axes of which arrays a layer multiplies the features of its input with; none where not known."""
    kind: Any = place.kind
    if kind is None or not hasattr(kind, "inlets") or kind.refuse(place.layer) is not None:
        return ()
    found: tuple[tuple[int, int], ...] = kind.inlets(place.layer)
    return found


def absorbed(place: Place, arrays: Arrays, mixing: Array, constant: Array) -> tuple[Array, ...]:
    """Return the arrays of a layer for inputs z where they were z A + c.

    Args:
        place: The layer, with `inlets`.
        arrays: Of full size, by path.
        mixing: A, (k, m); the features of a flattened input are mixed position by position.
        constant: c, (m,).
    """
    kind: Any = place.kind
    if constant.any():
        kernel = kind.kernel(place.layer, arrays[place.path])
        whole = kernel.astype(np.float64).reshape(-1, mixing.shape[1], kernel.shape[1])
        shift = np.einsum("m,pmn->n", constant, whole)
        arrays = kind.with_kernel(place, arrays, kernel, shift)
    own = list(arrays[place.path])
    for number, axis in inlets(place):
        front = np.moveaxis(own[number], axis, 0).astype(np.float64)
        parts = front.reshape(-1, mixing.shape[1], *front.shape[1:])
        made = np.moveaxis(np.tensordot(mixing, parts, (1, 1)), 0, 1)
        own[number] = np.moveaxis(made.reshape(-1, *front.shape[1:]), 0, axis)
    return tuple(own)


def has_consumers(place: Place, outputs: int) -> bool:
    """Return whether all that take in a layer's outputs are linear in them."""
    return bool(place.beyond) and all(
        inlets(other) and all(not _axis(other, inlet) % outputs for inlet in inlets(other))
        for other in place.beyond
    )


def is_elementwise(*activations: object) -> bool:
    """Return whether each output of activations needs its own unit alone."""
    return all(activation_name(each) in ELEMENTWISE for each in activations)


def is_zero_at_zero(activation: object) -> bool:
    """Return whether an activation gives 0 of 0."""
    return activation_name(activation) not in _AT_ZERO


def gather_outputs(place: Place, arrays: Arrays, batch: Batch, seen: RowMoments) -> RowMoments:
    """Add a layer's outputs, as what follows takes them in, to the moments of its rows."""
    if place.beyond:
        if seen.outputs is None:
            seen.outputs = RowMoments(np.zeros((batch.output.shape[-1], 1), np.float32))
        given = passed(batch.output, place.between, arrays)
        seen.outputs.update(drawn_steps(batch._replace(inputs=(given,))))
    return seen


def _axis(place: Place, inlet: tuple[int, int]) -> int:
    number, axis = inlet
    return int(place.layer.arrays[number].shape[axis])


def _outlet(place: Place, arrays: Arrays, outputs: int) -> Array:
    """Return what a layer multiplies its inputs with, (outputs, p); all positions of a flattened input side by side."""
    found = []
    for number, axis in inlets(place):
        front = np.moveaxis(arrays[place.path][number], axis, 0).astype(np.float64)
        parts = front.reshape(len(front) // outputs, outputs, -1)
        found.append(np.moveaxis(parts, 0, 1).reshape(outputs, -1))
    return np.concatenate(found, axis=1)


def _takes_constant(config: dict[str, Any]) -> bool:
    """Return whether a constant added to each input of a layer can go into its bias, or those it wraps."""
    wrapped = [terms.as_dict(config.get(key)) for key in ("layer", "backward_layer", "cell")]
    inner = [terms.as_dict(each["config"]) for each in wrapped if "config" in each]
    if inner:
        return all(_takes_constant(each) for each in inner)
    biased = config.get("use_bias", config.get("bias", True))
    return bool(biased) and config.get("padding", config.get("border_mode", "valid")) == "valid"


def _joined(parts: list[Kept]) -> Kept:
    """Return blocks of variables as one."""
    if len(parts) == 1:
        return parts[0]
    k, u = parts[0].mixing.shape
    mixing = np.zeros((k * len(parts), u * len(parts)))
    for b, part in enumerate(parts):
        mixing[b * k : (b + 1) * k, b * u : (b + 1) * u] = part.mixing
    chosen = np.concatenate([part.chosen + b * u for b, part in enumerate(parts)])
    return Kept(chosen, mixing, np.concatenate([part.constant for part in parts]))
