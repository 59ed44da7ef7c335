"""What the forms of a convolution share, and the one that every convolution has: fewer responses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrcompress.kinds.conv.layers import convolution, pointwise
from lrcompress.kinds.conv.window import Window, blocks, in_front
from lrcompress.kinds.linear import LinearForm, Seen
from lrcompress.kinds.protocol import Array, Arrays, Layers, Place, Solution, Tensors
from lrcompress.lowrank.responses import errors_by_size, response_basis


class WindowForm(LinearForm):
    """What the forms share: the window, and how often it is applied."""

    def __init__(self, kind: Any, place: Place, window: Window) -> None:
        super().__init__(kind, place)
        self.window = window
        # With groups A has blocks, which a metric over all responses would mix.
        self.takes_metric = window.groups == 1

    def solve(self, arrays: Arrays, seen: Seen, sizes: Sequence[int]) -> dict[int, Solution]:
        """Return the layer in factors of some sizes."""
        return super().solve(arrays, self.seen(seen), sizes)

    def seen(self, seen: Seen) -> Seen:
        """Return the moments of the rows, about 0 where neither a bias nor a normalization takes a constant."""
        if seen is None or self.window.biased or self.place.shift is not None:
            return seen
        return seen.about_zero()

    @property
    def _pixels(self) -> int:
        return math.prod(self.window.size)

    def _weights(self, size: int) -> dict[str, int]:
        """Return the weights of its layers by where they are applied, see `multiplications`."""
        raise NotImplementedError

    def parameters(self, size: int) -> int:
        """Return the weights of its layers."""
        biases = self.window.outputs if self.window.biased else 0
        return sum(self._weights(size).values()) + biases

    def multiplications(self, size: int) -> int | None:
        """Return those of all positions of one sample."""
        front = in_front(self.place, self.window)
        if front is None:
            return None
        samples, grid = front
        out = self.window.grid(grid)
        # The whole window is applied at each pixel of the output, a transposed one of the input.
        places = {"input": grid, "window": grid if self.window.transposed else out, "output": out}
        places["rows"] = (*out[:1], *grid[1:])
        weights = self._weights(size).items()
        return samples * sum(count * math.prod(places[where]) for where, count in weights)


class Channels(WindowForm):
    """A convolution to r filters that keeps all settings, and a 1x1 one; with groups r filters a group."""

    name = "channels"

    @property
    def largest(self) -> int:
        """Return the full rank, of a group."""
        window = self.window
        inner = self._pixels * window.channels // window.groups
        return min(inner, window.outputs // window.groups)

    def _weights(self, size: int) -> dict[str, int]:
        first = self._pixels * self.window.channels
        return {"window": size * first, "output": size * self.window.outputs}

    def errors(self, arrays: Arrays, seen: Seen) -> Array:
        """Return the share of the responses' energy that is lost at each rank."""
        kernel = self.kernel(arrays)
        parts = self._parts(kernel, self.seen(seen))
        return errors_by_size(np.sum([response_basis(*part)[0] for part in parts], axis=0))

    def factors(self, kernel: Array, seen: Seen, sizes: Sequence[int]) -> dict[int, Tensors]:
        """Return both kernels, (window, channels of a group, groups * r) and (r, outputs)."""
        bases = [(part, response_basis(part, own)[1]) for part, own in self._parts(kernel, seen)]
        found: dict[int, Tensors] = {}
        for size in sizes:
            firsts = [part.astype(np.float64) @ basis[:, :size] for part, basis in bases]
            seconds = [basis[:, :size].T for _, basis in bases]
            found[size] = (np.concatenate(firsts, axis=1), np.concatenate(seconds, axis=1))
        return found

    def product(self, factors: Tensors) -> Array:
        """Return A, with its blocks."""
        first, second = factors
        window, size = self.window, len(second)
        if window.groups == 1:
            return first @ second
        whole = np.zeros((self._pixels, window.channels, window.outputs))
        for group, (rows, columns) in enumerate(blocks(window)):
            own = first[:, group * size : (group + 1) * size] @ second[:, columns]
            whole[:, rows, columns] = own.reshape(self._pixels, -1, own.shape[1])
        return whole.reshape(-1, window.outputs)

    def build(self, factors: Tensors, arrays: Tensors) -> Layers:
        """Return both."""
        layer, (first, second) = self.place.layer, factors
        kernel = first.reshape(*self.window.size, -1, first.shape[1])
        return (
            convolution(layer, kernel, name=self.new_name),
            pointwise(layer, second, bias_of(arrays), groups=self.window.groups),
        )

    def _parts(self, kernel: Array, seen: Seen) -> list[tuple[Array, Seen]]:
        """Return A and the moments of its rows, of each group."""
        window = self.window
        if window.groups == 1:
            return [(kernel, seen)]
        index = np.arange(len(kernel)).reshape(-1, window.channels)
        found: list[tuple[Array, Seen]] = []
        for rows, columns in blocks(window):
            chosen = index[:, rows].ravel()
            own = None if seen is None else seen.part(chosen, columns)
            found.append((kernel[chosen, columns], own))
        return found


def bias_of(arrays: Tensors) -> Array | None:
    """Return a layer's bias, if it has one."""
    return arrays[1] if len(arrays) > 1 else None
