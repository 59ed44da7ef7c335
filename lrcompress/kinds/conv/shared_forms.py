"""The forms of a convolution that begin with one small kernel for all rows, columns or pixels of the window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from lrcompress.kinds.conv.forms import WindowForm, bias_of
from lrcompress.kinds.conv.layers import convolution, pointwise
from lrcompress.kinds.conv.window import in_front
from lrcompress.kinds.linear import LARGE, Seen
from lrcompress.kinds.protocol import Array, Arrays, Layers, Tensors
from lrcompress.lowrank.forms.separable import (
    large_tucker,
    rounds_for,
    shared_energy,
    shared_factors,
)
from lrcompress.lowrank.responses import errors_by_size, response_basis


class Inputs(WindowForm):
    """A 1x1 convolution to r channels, without a bias so that zeros at the edge stay zero, and the convolution."""

    name = "inputs"

    @property
    def largest(self) -> int:
        """Return the full rank."""
        return min(self.window.channels, self._pixels * self.window.outputs)

    def _weights(self, size: int) -> dict[str, int]:
        second = self._pixels * self.window.outputs
        return {"input": size * self.window.channels, "window": size * second}

    def errors(self, arrays: Arrays, seen: Seen) -> Array:
        """Return the share of energy that the start loses at each rank; the fit loses less."""
        kernel = self.kernel(arrays)
        parts = kernel.reshape(self._pixels, -1, kernel.shape[-1])
        return errors_by_size(shared_energy(parts, _whole(self.seen(seen))))

    def factors(self, kernel: Array, seen: Seen, sizes: Sequence[int]) -> dict[int, Tensors]:
        """Return B (channels, r) and C (pixels, r, outputs)."""
        parts = kernel.reshape(self._pixels, -1, kernel.shape[-1])
        return {**shared_factors(parts, _whole(seen), sizes, rounds_for(sizes))}

    def build(self, factors: Tensors, arrays: Tensors) -> Layers:
        """Return both."""
        layer, (first, second) = self.place.layer, factors
        kernel = second.reshape(*self.window.size, *second.shape[1:])
        return (
            pointwise(layer, first, name=self.new_name),
            convolution(layer, kernel, bias_of(arrays)),
        )


class RowsColumns(WindowForm):
    """A convolution along the first axis to r channels, and one along the others, or the other way round if square."""

    name = "rows x columns"

    @property
    def largest(self) -> int:
        """Return the full rank."""
        return min(self._weights(1).values())

    def _weights(self, size: int) -> dict[str, int]:
        first, *rest = self.window.size
        before, after = first * self.window.channels, math.prod(rest) * self.window.outputs
        return {"rows": size * before, "output": size * after}

    @property
    def _ways(self) -> tuple[bool, ...]:
        """Whether the first axis comes first: also not where weights and multiplications stay the same."""
        window = self.window
        if window.axes != 2 or len({*window.size}) > 1:
            return (True,)
        front = in_front(self.place, window)
        if front is not None:
            grid, out = front[1], window.grid(front[1])
            if out[0] * grid[1] != grid[0] * out[1]:
                return (True,)
        return True, False

    def _by_slot(self, matrix: Array, *, down: bool) -> Array:
        """Return (m, n) as (slots, inner, n): the slots of a first kernel along the first axis are the other ones."""
        first, n = self.window.size[0], matrix.shape[-1]
        if not down:
            return matrix.reshape(first, -1, n)
        parts = matrix.reshape(first, self._pixels // first, -1, n)
        return parts.transpose(1, 0, 2, 3).reshape(self._pixels // first, -1, n)

    def _split(self, kernel: Array, seen: Seen) -> dict[bool, tuple[Array, Array | None]]:
        """Return A and the covariance of its rows by slots, either way."""
        ways = {down: partial(self._by_slot, down=down) for down in self._ways}
        return {down: (way(kernel), _turned(seen, way)) for down, way in ways.items()}

    def errors(self, arrays: Arrays, seen: Seen) -> Array:
        """Return the share of energy that the better start loses at each rank; the fit loses less."""
        kernel = self.kernel(arrays)
        parts = self._split(kernel, self.seen(seen)).values()
        return np.asarray(np.min([errors_by_size(shared_energy(*part)) for part in parts], axis=0))

    def factors(self, kernel: Array, seen: Seen, sizes: Sequence[int]) -> dict[int, Tensors]:
        """Return both kernels, (*window, inputs, outputs) each."""
        parts = self._split(kernel, seen)
        lost = {down: errors_by_size(shared_energy(*part)) for down, part in parts.items()}
        better = {size: min(lost, key=lambda down: float(lost[down][size - 1])) for size in sizes}
        first, *rest = self.window.size
        found: dict[int, Tensors] = {}
        for down, part in parts.items():
            own = [size for size in sizes if better[size] == down]
            one, other = (first, *(1 for _ in rest)), (1, *rest)
            before, after = (one, other) if down else (other, one)
            for size, (left, right) in shared_factors(*part, own, rounds_for(sizes)).items():
                found[size] = (
                    left.reshape(*before, -1, size),
                    right.reshape(*after, size, right.shape[-1]),
                )
        return found

    def build(self, factors: Tensors, arrays: Tensors) -> Layers:
        """Return both; each keeps stride and dilation of its own axes."""
        layer, (first, second) = self.place.layer, factors
        down = first.shape[0] > 1
        return (
            convolution(layer, first, name=self.new_name, **self._settings(down=down)),
            convolution(layer, second, bias_of(arrays), **self._settings(down=not down)),
        )

    def _settings(self, *, down: bool) -> dict[str, Any]:
        """Return stride and dilation of the first axis alone, or of the others."""
        found = {}
        for name in ("strides", "dilation"):
            setting: tuple[int, ...] = getattr(self.window, name)
            first, *rest = setting
            found[name] = (first, *(1 for _ in rest)) if down else (1, *rest)
        return found


class Tucker(WindowForm):
    """A 1x1 convolution to r1 channels, the convolution to r2, and a 1x1 one; the size is r2, r1 in proportion."""

    name = "Tucker-2"
    power = 1.0  # of the share of r2 that is that of r1

    @property
    def largest(self) -> int:
        """Return the full rank of the responses, at which r1 is that of the inputs."""
        return min(self.window.outputs, self._pixels * self.window.channels)

    def _inputs(self, size: int) -> int:
        whole = min(self.window.channels, self._pixels * self.window.outputs)
        return max(1, round(whole * math.pow(size / self.largest, self.power)))

    def _weights(self, size: int) -> dict[str, int]:
        inputs = self._inputs(size)
        first, core = self.window.channels * inputs, self._pixels * inputs * size
        return {"input": first, "window": core, "output": size * self.window.outputs}

    def errors(self, arrays: Arrays, seen: Seen) -> Array:
        """Return the sum of what the inputs and the responses lose at each size."""
        seen = self.seen(seen)
        kernel = self.kernel(arrays)
        parts = kernel.reshape(self._pixels, -1, kernel.shape[-1])
        inputs = errors_by_size(shared_energy(parts, _whole(seen)))
        responses = errors_by_size(self._responses(arrays, kernel, seen))
        ranks = [self._inputs(size) - 1 for size in range(1, self.largest + 1)]
        return np.minimum(inputs[ranks] + responses, 1)

    def _responses(self, arrays: Arrays, kernel: Array, seen: Seen) -> Array:
        """Return the energy of the responses in each of their directions."""
        return response_basis(kernel, seen)[0]

    def factors(self, kernel: Array, seen: Seen, sizes: Sequence[int]) -> dict[int, Tensors]:
        """Return B (channels, r1), the core (pixels, r1, r2) and C (r2, outputs)."""
        if seen is None and kernel.size > LARGE:
            ranks = {size: self._inputs(size) for size in sizes}
            return {s: large_tucker(kernel, self._pixels, ranks[s], s) for s in sizes}
        basis, covariance = response_basis(kernel, seen)[1], _whole(seen)
        rounds = rounds_for(sizes)
        found: dict[int, Tensors] = {}
        for size in sizes:
            inputs, last = self._inputs(size), basis[:, :size].T
            kept = (kernel @ last.T).reshape(self._pixels, -1, size)
            first, core = shared_factors(kept, covariance, [inputs], rounds)[inputs]
            if size < self.largest and (seen is None or covariance is not None):
                last = _refitted((first @ core).reshape(-1, size), kernel, covariance)
            found[size] = (first, core, last)
        return found

    def build(self, factors: Tensors, arrays: Tensors) -> Layers:
        """Return the three."""
        layer, (first, core, last) = self.place.layer, factors
        kernel = core.reshape(*self.window.size, *core.shape[1:])
        return (
            pointwise(layer, first, name=self.new_name),
            convolution(layer, kernel, name=f"{self.new_name}_core"),
            pointwise(layer, last, bias_of(arrays)),
        )


def _whole(seen: Seen) -> Array | None:
    """Return the covariance of the rows; None where only that of the responses is known, or all were zero."""
    if seen is None or not seen.is_whole:
        return None
    found = seen.covariance
    return found if np.trace(found) > 1e-70 else None


def _turned(seen: Seen, by_slot: Callable[[Array], Array]) -> Array | None:
    """Return the covariance of rows in another order."""
    found = _whole(seen)
    if found is None:
        return None
    for _ in range(2):  # its rows, and its columns as rows
        found = by_slot(found).reshape(found.shape).T
    return np.ascontiguousarray(found)


def _refitted(made: Array, kernel: Array, covariance: Array | None) -> Array:
    """Return the last factor beside the product of the others."""
    half = made.T if covariance is None else made.T @ covariance
    return np.asarray(np.linalg.lstsq(half @ made, half @ kernel, rcond=1e-12)[0])
