"""The forms of a convolution that begin with one small kernel for all rows, columns or pixels of the window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrcompress.kinds.conv.forms import WindowForm, bias_of
from lrcompress.kinds.conv.layers import convolution, pointwise
from lrcompress.kinds.protocol import Array, Arrays, Serialized
from lrcompress.lowrank.forms.separable import shared_energy, shared_factors, slot_moments
from lrcompress.lowrank.responses import RowMoments, errors_by_size, response_basis


class _Shared(WindowForm):
    """A first factor B (inner, r) that is the same at all slots of the window, and C (slots, r, outputs)."""

    @property
    def _slots(self) -> int:
        raise NotImplementedError

    def _by_slot(self, matrix: Array) -> Array:
        """Return (m, n) with its rows in the order of slots, (slots, inner, n)."""
        return matrix.reshape(self._slots, -1, matrix.shape[-1])

    def _by_row(self, parts: Array) -> Array:
        """Return (slots, inner, n) as (m, n)."""
        return parts.reshape(-1, parts.shape[-1])

    @property
    def _inner(self) -> int:
        return self._pixels * self.window.channels // self._slots

    @property
    def largest(self) -> int:
        """Return the full rank."""
        return min(self._inner, self._slots * self.window.outputs)

    def parameters(self, size: int) -> int:
        """Return those of both."""
        return size * (self._inner + self._slots * self.window.outputs) + self._biases

    def _covariance(self, seen: RowMoments | None) -> Array | None:
        """Return the covariance by slots; None where only that of the responses is known."""
        if seen is None or not seen.is_whole:
            return None
        found = seen.covariance
        for _ in range(2):  # its rows, and its columns as rows
            found = self._by_slot(found).reshape(found.shape).T
        return np.ascontiguousarray(found)

    def errors(self, arrays: Arrays, seen: RowMoments | None) -> Array:
        """Return the share of energy that the start loses at each rank; the fit loses less."""
        seen = self.seen(seen)
        kernel = self.kind.kernel(self.place.layer, arrays[self.place.path])
        return errors_by_size(shared_energy(self._by_slot(kernel), self._covariance(seen)))

    def factors(
        self, kernel: Array, seen: RowMoments | None, sizes: Sequence[int]
    ) -> dict[int, tuple[Array, ...]]:
        """Return B and C."""
        return {**shared_factors(self._by_slot(kernel), self._covariance(seen), sizes)}

    def product(self, factors: tuple[Array, ...]) -> Array:
        """Return A."""
        first, second = factors
        return self._by_row(first @ second)


class Inputs(_Shared):
    """A 1x1 convolution to r channels, without a bias so that zeros at the edge stay zero, and the convolution."""

    name = "inputs"

    @property
    def _slots(self) -> int:
        return self._pixels

    def _times(self, size: int, grid: tuple[int, ...], out: tuple[int, ...]) -> int:
        second = self._spots(grid, out) * self._pixels * self.window.outputs
        return size * (math.prod(grid) * self.window.channels + second)

    def build(
        self, factors: tuple[Array, ...], arrays: tuple[Array, ...]
    ) -> tuple[Serialized, ...]:
        """Return both."""
        layer, (first, second) = self.place.layer, factors
        kernel = second.reshape(*self.window.size, *second.shape[1:])
        return (
            pointwise(layer, first, name=self._new_name),
            convolution(layer, kernel, bias_of(arrays)),
        )


class RowsColumns(_Shared):
    """A convolution along the first spatial axis to r channels, and one along the others."""

    name = "rows x columns"

    @property
    def _slots(self) -> int:
        return math.prod(self.window.size[1:])

    def _by_slot(self, matrix: Array) -> Array:
        n = matrix.shape[-1]
        parts = matrix.reshape(self.window.size[0], self._slots, -1, n)
        return parts.transpose(1, 0, 2, 3).reshape(self._slots, -1, n)

    def _by_row(self, parts: Array) -> Array:
        slots, _, n = parts.shape
        return parts.reshape(slots, self.window.size[0], -1, n).transpose(1, 0, 2, 3).reshape(-1, n)

    def _times(self, size: int, grid: tuple[int, ...], out: tuple[int, ...]) -> int:
        between = out[0] * math.prod(grid[1:])
        return size * (between * self._inner + math.prod(out) * self._slots * self.window.outputs)

    def build(
        self, factors: tuple[Array, ...], arrays: tuple[Array, ...]
    ) -> tuple[Serialized, ...]:
        """Return both; each keeps stride and dilation of its own axes."""
        layer, window, (first, second) = self.place.layer, self.window, factors
        height, *rest = window.size
        ones = (1,) * len(rest)
        kernel = first.reshape(height, *ones, -1, first.shape[1])
        return (
            convolution(layer, kernel, name=self._new_name, **self._settings(vertical=True)),
            convolution(
                layer,
                second.reshape(1, *rest, *second.shape[1:]),
                bias_of(arrays),
                **self._settings(vertical=False),
            ),
        )

    def _settings(self, *, vertical: bool) -> dict[str, Any]:
        """Return stride and dilation of the first axis alone, or of the others."""
        found = {}
        for name in ("strides", "dilation"):
            setting: tuple[int, ...] = getattr(self.window, name)
            ones = (1,) * (len(setting) - 1)
            found[name] = (setting[0], *ones) if vertical else (1, *setting[1:])
        return found


class Tucker(_Shared):
    """A 1x1 convolution to r1 channels, the convolution to r2, and a 1x1 one; the size is r2, r1 in proportion."""

    name = "Tucker-2"
    power = 1.0  # of the share of r2 that is that of r1

    @property
    def _slots(self) -> int:
        return self._pixels

    @property
    def largest(self) -> int:
        """Return the full rank of the responses, at which r1 is that of the inputs."""
        return min(self.window.outputs, self._pixels * self.window.channels)

    def _inputs(self, size: int) -> int:
        whole = min(self.window.channels, self._pixels * self.window.outputs)
        return max(1, round(whole * math.pow(size / self.largest, self.power)))

    def parameters(self, size: int) -> int:
        """Return those of the three."""
        inputs = self._inputs(size)
        first, core = self.window.channels * inputs, self._pixels * inputs * size
        return first + core + size * self.window.outputs + self._biases

    def _times(self, size: int, grid: tuple[int, ...], out: tuple[int, ...]) -> int:
        inputs = self._inputs(size)
        core = self._spots(grid, out) * self._pixels * inputs * size
        last = math.prod(out) * size * self.window.outputs
        return math.prod(grid) * self.window.channels * inputs + core + last

    def errors(self, arrays: Arrays, seen: RowMoments | None) -> Array:
        """Return the sum of what the inputs and the responses lose at each size."""
        seen = self.seen(seen)
        kernel = self.kind.kernel(self.place.layer, arrays[self.place.path])
        inputs = errors_by_size(shared_energy(self._by_slot(kernel), self._covariance(seen)))
        responses = errors_by_size(response_basis(kernel, seen)[0])
        ranks = [self._inputs(size) - 1 for size in range(1, self.largest + 1)]
        return np.minimum(inputs[ranks] + responses, 1)

    def factors(
        self, kernel: Array, seen: RowMoments | None, sizes: Sequence[int]
    ) -> dict[int, tuple[Array, ...]]:
        """Return B, the core (slots, r1, r2) and C (r2, outputs)."""
        covariance = self._covariance(seen)
        ranks = sorted({self._inputs(size) for size in sizes})
        shared = shared_factors(self._by_slot(kernel), covariance, ranks)
        found: dict[int, tuple[Array, ...]] = {}
        for size in sizes:
            first, core = shared[self._inputs(size)]
            basis = self._basis(kernel, seen, covariance, first, core)[:, :size]
            found[size] = (first, core @ basis, basis.T)
        return found

    def _basis(
        self, kernel: Array, seen: RowMoments | None, covariance: Array | None, first: Array, core: Array
    ) -> Array:  # fmt: skip
        """Return the directions of the core's responses; of the kernel's where only these were kept."""
        if seen is not None and covariance is None:
            return response_basis(kernel, seen)[1]
        flat = core.reshape(-1, core.shape[-1])
        half = flat
        if covariance is not None:
            half = slot_moments(covariance, first, self._slots) @ flat
        basis: Array = np.linalg.eigh(flat.T @ half)[1][:, ::-1]
        return basis

    def product(self, factors: tuple[Array, ...]) -> Array:
        """Return A."""
        first, core, last = factors
        return self._by_row(first @ core @ last)

    def build(
        self, factors: tuple[Array, ...], arrays: tuple[Array, ...]
    ) -> tuple[Serialized, ...]:
        """Return the three."""
        layer, (first, core, last) = self.place.layer, factors
        kernel = core.reshape(*self.window.size, *core.shape[1:])
        return (
            pointwise(layer, first, name=self._new_name),
            convolution(layer, kernel, name=f"{self._new_name}_core"),
            pointwise(layer, last, bias_of(arrays)),
        )
