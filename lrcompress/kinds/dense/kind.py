"""Dense: x A + b, where A is the kernel (inputs, units)."""

from __future__ import annotations

import math
from typing import Any

from lrcompress.kinds.dense import DenseHead
from lrcompress.kinds.dense.flatten import behind_flatten, merged_flatten
from lrcompress.kinds.linear import LinearForm, LinearLayer, drawn_steps, with_constant
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Batch,
    Form,
    Layers,
    Place,
    Serialized,
    Tensors,
    folded,
    product,
)
from lrcompress.kinds.units import Units, gather_outputs, has_consumers, is_elementwise


class Dense(DenseHead, LinearLayer):
    """A kernel and perhaps a bias, made smaller in any way."""

    family = "dense"

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return two Dense in a row, what comes before a Flatten that feeds the layer, and fewer units."""
        views = self.views(place.layer)
        if not views:
            return ()
        elementwise = is_elementwise(place.layer.config.get("activation"))
        narrows = elementwise and has_consumers(place, views[0].shape[1])
        rank = _Rank(self, place)
        return (rank, *behind_flatten(self, place, rank), *[_Units(self, place)] * narrows)

    def gather(self, place: Place, arrays: Arrays, batch: Batch, seen: Any | None) -> Any:
        """Add the inputs and outputs of a batch to their moments."""
        seen = super().gather(place, arrays, batch, seen)
        return gather_outputs(place, arrays, batch, seen)

    def inlets(self, layer: Serialized) -> tuple[tuple[int, int], ...]:
        """Return the kernel's first axis."""
        return ((0, 0),) if self.views(layer) else ()

    def kernel(self, layer: Serialized, arrays: Tensors) -> Array:
        """Return the kernel."""
        return arrays[0]

    def with_kernel(
        self, place: Place, arrays: Arrays, kernel: Array, shift: Array | None
    ) -> Arrays:
        """Return another kernel and the bias."""
        own = (kernel, *arrays[place.path][1:])
        return with_constant(place, arrays, own, 1 if len(own) > 1 else None, shift)

    def beside(self, place: Place, batch: Batch) -> Array | None:
        """Return what is added to the outputs, of sequences at the same steps."""
        if batch.beside is None:
            return None
        return drawn_steps(batch._replace(inputs=(batch.beside,)))

    def merged(self, layers: Layers) -> Serialized | None:
        """Return the Dense of B C that a linear one and the one behind it are, or a 1x1 convolution and a Flatten."""
        if len(layers) > 2:
            return merged_flatten(self, layers)
        if len(layers) != 2 or any(layer.class_name not in self.classes for layer in layers):
            return None
        view = self.join(layers)
        if view is None:
            return None
        (left, *before), (right, *after) = (layer.arrays for layer in layers)
        dtype = str(right.dtype)
        if before:
            after = [folded(before[0], right, after[0] if after else None, dtype)]
        return self.refit(layers[1], (product(left, right, dtype), *after))


class _Rank(LinearForm):
    """A linear Dense of r units, and the Dense that takes it in."""

    @property
    def _shape(self) -> tuple[int, int]:
        m, n = self.place.layer.arrays[0].shape
        return m, n

    def multiplications(self, size: int) -> int | None:
        """Return r (m + n) at each step, None where steps are not known."""
        output = self.place.output_shape
        if not output or None in output[:-1]:
            return None
        return math.prod(step or 0 for step in output[:-1]) * size * sum(self._shape)

    def build(self, factors: Tensors, arrays: Tensors) -> Layers:
        (left, right), layer = factors, self.place.layer
        halves = (left, right, arrays[1] if len(arrays) > 1 else None)
        found: Layers = self.kind.split(self.kind.views(layer)[0], layer, halves, self.new_name)
        return found


class _Units(Units):
    """A Dense of fewer units."""

    def narrowed(self, arrays: Tensors, chosen: Array) -> Serialized:
        return Dense().refit(self.place.layer, tuple(array[..., chosen] for array in arrays))
