"""Fewer units: those that are left out are affine functions of the kept ones, which what follows takes in.

With x = x_k A + c, exact where a unit is dead or depends on others, ``x G + b`` is
``x_k (A G) + (b + c G)``: the layer gets narrower, its consumers take fewer inputs, no layer is new.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lrcompress.kinds.elementwise import keeps_positions, narrowed, passed
from lrcompress.kinds.inlets import (
    absorbed,
    inlets,
    inputs_of,
    narrower,
    outlet_energies,
    outlet_gram,
    takes_constant,
)
from lrcompress.kinds.linear import drawn_steps
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Batch,
    Edits,
    Layers,
    Place,
    Serialized,
    Solution,
    Tensors,
)
from lrcompress.kinds.shapes.multiplications import multiplications
from lrcompress.kinds.terms import ONE_SIDED, OTHERS, activation_name
from lrcompress.lowrank.narrowing.subset import (
    Kept,
    alike,
    by_norm,
    compensated,
    elimination,
    merged,
)
from lrcompress.lowrank.responses import RowMoments

# Activations that are not 0 at 0, and those of which each output needs its own unit alone.
_AT_ZERO = ONE_SIDED - {"relu", "relu6"} | {"sigmoid", "hard_sigmoid"}
ELEMENTWISE = (OTHERS - {"glu", "log_softmax"}) | {"sigmoid", "hard_sigmoid"}


class Units:
    """A layer with fewer outputs; a subclass says what becomes of its own arrays."""

    name = "units"
    narrows = True
    blocks = 1  # of as many units each in which the outputs stand; each keeps as many

    def __init__(self, kind: Any, place: Place) -> None:
        self.kind, self.place = kind, place
        self._between = [other for other in place.between if other.layer.arrays]
        others = (*self._between, *place.beyond)
        self.touches = (place.path, *(other.path for other in others))
        # A constant that a consumer has no place for, or that is not there where it pads with
        # zeros, would be wrong.
        self._shifted = all(takes_constant(other.layer.config) for other in place.beyond)

    @property
    def largest(self) -> int:
        """Return all outputs."""
        return int(self.place.layer.arrays[0].shape[-1])

    def sized(self, size: int) -> list[tuple[int, ...]]:
        """Return the shapes of the layer's own arrays at a size: of a kernel and perhaps a bias."""
        return [(*array.shape[:-1], size) for array in self.place.layer.arrays]

    def narrowed(self, arrays: Tensors, chosen: Array) -> Serialized:
        """Return the layer with some of its outputs."""
        raise NotImplementedError

    def mixed(self, arrays: Tensors, mixing: Array, constant: Array) -> Tensors:
        """Return arrays of full size of a layer that itself takes in its outputs mixed."""
        return arrays

    def outlets(self, arrays: Tensors) -> list[Array]:
        """Return what the layer itself multiplies its outputs with, (outputs, p)."""
        return []

    def makers(self, arrays: Tensors) -> list[Array]:
        """Return the weights that make each output, (p, outputs) each; where they are 0 it is 0."""
        rows = [array.reshape(-1, array.shape[-1]) for array in arrays]
        if not is_zero_at_zero(self.place.layer.config.get("activation")):
            rows.append(np.ones((1, rows[0].shape[1])))
        return rows

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
            # Of the arrays only the shapes count.
            arrays = tuple(np.broadcast_to(np.float32(0), shape) for shape in shapes)
            layer = replace(place.layer, arrays=arrays)
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
        u, moments = self.largest, self._moments(seen)
        grams = [outlet @ outlet.T for outlet in self.outlets(arrays[self.place.path])]
        if moments is None:
            alike = self._alike(arrays)
            outer = [outlet_energies(o, arrays, self.blocks * u, alike) for o in self.place.beyond]
            inner = [_merged_energies(gram, alike) for gram in grams]
            return [
                by_norm(first - b * u, variance, _whole([e[own] for e in (*inner, *outer)]))
                for b, own in enumerate(self._parts)
                for first, variance in [(alike[0][own], alike[1][own])]
            ]
        grams += [outlet_gram(other, arrays, self.blocks * u) for other in self.place.beyond]
        found = []
        for own, (_, covariance, count) in zip(self._parts, moments, strict=True):
            parts = [gram[own, own] for gram in grams]
            # All that take the outputs in count alike.
            energies = [float(np.vdot(part, covariance)) for part in parts]
            gram = sum(p / e for p, e in zip(parts, energies, strict=True) if e > 0)
            found.append(elimination(covariance, gram + np.zeros((u, u)), count))
        return found

    @property
    def _parts(self) -> list[slice]:
        u = self.largest
        return [slice(b * u, (b + 1) * u) for b in range(self.blocks)]

    def _alike(self, arrays: Arrays) -> tuple[Array, Array]:
        """Return which outputs are equal whatever comes in, and the squared norm of what makes them."""
        # Equal units are so behind a normalization where that treats them alike.
        between = [array[None] for o in self._between for array in arrays[o.path]]
        makers = [*self.makers(arrays[self.place.path]), *between]
        found = [alike([maker[..., own] for maker in makers]) for own in self._parts]
        firsts = [first + own.start for own, (first, _) in zip(self._parts, found, strict=True)]
        return np.concatenate(firsts), np.concatenate([variance for _, variance in found])

    def _moments(self, seen: Any) -> list[tuple[Array, Array, float]] | None:
        """Return mean, covariance and number of rows of each block of outputs, see `compensated`; None without data."""
        states: RowMoments | None = seen and seen.outputs
        if states is None or not states.is_whole or not states.count:
            return None
        mean, covariance = states.mean, states.undamped
        if not self._shifted:
            mean, covariance = np.zeros_like(mean), covariance + np.outer(mean, mean)
        return [(mean[part], covariance[part, part], states.count) for part in self._parts]

    def _kept(self, arrays: Arrays, seen: Any, orders: list[Array]) -> Kept:
        """Return the first units of each block's order, and the others by them."""
        moments = self._moments(seen)
        if moments is not None:
            each = zip(orders, moments, strict=True)
            return _joined([compensated(mean, c, order, n) for order, (mean, c, n) in each])
        first, _ = self._alike(arrays)
        own = zip(orders, self._parts, strict=True)
        return _joined([merged(first[part] - part.start, order) for order, part in own])

    def _solution(
        self, arrays: Arrays, seen: Any, ranked: list[tuple[Array, Array]], size: int
    ) -> Solution:
        kept = self._kept(arrays, seen, [order[:size] for order, _ in ranked])
        own, path, constant = arrays[self.place.path], self.place.path, kept.constant
        between, beyond = self._between, self.place.beyond

        def in_place() -> Arrays:
            wide = kept.in_place
            found = {other.path: arrays[other.path] for other in between}
            found[path] = self.mixed(own, wide, constant)
            return found | {o.path: absorbed(o, arrays, wide, constant) for o in beyond}

        def layers() -> Edits:
            mixed = self.mixed(own, kept.in_place, constant)
            found: dict[str, Layers] = {path: (self.narrowed(mixed, kept.chosen),)}
            found |= {o.path: (narrowed(o, arrays, kept.chosen),) for o in between}
            return found | {o.path: (narrower(o, arrays, kept.mixing, constant),) for o in beyond}

        error = float(np.mean([errors[size - 1] for _, errors in ranked]))
        return Solution(error, layers, in_place, kept=kept.chosen)


def has_consumers(place: Place, outputs: int) -> bool:
    """Return whether all that take in a layer's outputs are linear in them."""
    return bool(place.beyond) and all(inputs_of(other, outputs) for other in place.beyond)


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
        if keeps_positions(place.between):
            drawn = drawn_steps(batch._replace(inputs=(batch.output,)))
            seen.outputs.update(passed(drawn, place.between, arrays))
        else:
            given = passed(batch.output, place.between, arrays)
            seen.outputs.update(drawn_steps(batch._replace(inputs=(given,))))
    return seen


def _merged_energies(gram: Array, alike: tuple[Array, Array]) -> Array:
    """Return the same of a Gram matrix."""
    same = alike[0][:, None] == alike[0]
    return np.asarray(((same @ gram) * same).sum(axis=1))


def _whole(energies: list[Array]) -> Array:
    """Return the sum of energies, all that take the outputs in alike."""
    return np.asarray(sum(each / max(float(each.sum()), 1e-300) for each in energies))


def _joined(parts: list[Kept]) -> Kept:
    if len(parts) == 1:
        return parts[0]
    k, u = parts[0].mixing.shape
    mixing = np.zeros((k * len(parts), u * len(parts)))
    for b, part in enumerate(parts):
        mixing[b * k : (b + 1) * k, b * u : (b + 1) * u] = part.mixing
    chosen = np.concatenate([part.chosen + b * u for b, part in enumerate(parts)])
    return Kept(chosen, mixing, np.concatenate([part.constant for part in parts]))
