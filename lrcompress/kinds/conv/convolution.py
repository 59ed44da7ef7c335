"""Convolutions: patches of the input times A (window * channels, outputs), and a bias.

The rows of A are in the order of the kernel's axes: pixels of the window row by row, the channels
of each. Of a convolution in groups A has blocks: an output sees the channels of its group.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from lrcompress.kinds.conv.chains import merged_windows
from lrcompress.kinds.conv.forms import Channels, WindowForm
from lrcompress.kinds.conv.layers import convolution
from lrcompress.kinds.conv.shared_forms import Inputs, RowsColumns, Tucker
from lrcompress.kinds.conv.window import PLAIN, Window, blocks, outputs_at, patches, window_of
from lrcompress.kinds.linear import LinearLayer, with_constant
from lrcompress.kinds.protocol import Array, Arrays, Batch, Form, Layers, Place, Serialized, Tensors
from lrcompress.kinds.units import Units, gather_outputs, has_consumers, is_elementwise


class Convolution(LinearLayer):
    """A kernel (*window, channels of a group, outputs) and perhaps a bias, of Keras 1 to 3."""

    name = "Conv"
    family = "conv"
    classes = PLAIN

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return the forms that make sense for the window: of a single pixel it is a Dense."""
        window = window_of(place.layer)
        if window is None:
            return ()
        forms: list[type[WindowForm]] = [Channels]
        if window.groups == 1 and math.prod(window.size) > 1:
            forms += [Inputs, Tucker]
            if window.size[0] > 1 and math.prod(window.size[1:]) > 1:
                forms.append(RowsColumns)
        elementwise = is_elementwise(place.layer.config.get("activation"))
        narrows = window.groups == 1 and elementwise and not window.first
        narrow = [Filters(self, place)] * (narrows and has_consumers(place, window.outputs))
        place = shifted(place, window)
        return (*(form(self, place, window) for form in forms), *narrow)

    def gather(self, place: Place, arrays: Arrays, batch: Batch, seen: Any | None) -> Any:
        """Add some patches and outputs of a batch to their moments."""
        seen = super().gather(place, arrays, batch, seen)
        return gather_outputs(place, arrays, batch, seen)

    def inlets(self, layer: Serialized) -> tuple[tuple[int, int], ...]:
        """Return the kernel's axis of channels, where they are the input's last."""
        window = window_of(layer)
        one = window is not None and window.groups == 1 and not window.first
        return ((0, len(layer.arrays[0].shape) - 2),) if one else ()

    def kernel(self, layer: Serialized, arrays: Tensors) -> Array:
        """Return A, with zeros outside its blocks where there are groups."""
        window, kernel = known_window(layer), arrays[0]
        if window.groups == 1:
            return kernel.reshape(-1, window.outputs)
        *size, inner, outputs = kernel.shape
        whole = np.zeros((math.prod(size), window.channels, outputs), kernel.dtype)
        for rows, columns in blocks(window):
            whole[:, rows, columns] = kernel.reshape(-1, inner, outputs)[:, :, columns]
        return whole.reshape(-1, outputs)

    def with_kernel(
        self, place: Place, arrays: Arrays, kernel: Array, shift: Array | None
    ) -> Arrays:
        """Return another kernel and the bias; what is outside the blocks of groups is lost."""
        window = known_window(place.layer)
        whole = kernel.reshape(-1, window.channels, window.outputs)
        parts = [whole[:, rows, columns] for rows, columns in blocks(window)]
        own = np.concatenate(parts, axis=-1).reshape(*window.size, -1, window.outputs)
        made = (own, *arrays[place.path][1:])
        bias = 1 if window.biased else None
        return with_constant(shifted(place, window), arrays, made, bias, shift)

    def rows(self, place: Place, batch: Batch) -> Array:
        """Return some patches of each sample, zeros where they reach over its edge."""
        return patches(batch.inputs[0], known_window(place.layer), batch.seed)

    def beside(self, place: Place, batch: Batch) -> Array | None:
        """Return what is added to the outputs at the same positions."""
        window = known_window(place.layer)
        return None if batch.beside is None else outputs_at(batch.beside, window, batch.seed)

    def merged(self, layers: Layers) -> Serialized | None:
        """Return the convolution that a chain of smaller ones computes."""
        return merged_windows(layers)


class Filters(Units):
    """A convolution of fewer filters."""

    name = "filters"

    def narrowed(self, arrays: Tensors, chosen: Array) -> Serialized:
        """Return the layer with some of its filters."""
        kernel, *rest = (array[..., chosen] for array in arrays)
        return convolution(self.place.layer, kernel, rest[0] if rest else None)


def known_window(layer: Serialized) -> Window:
    """Return the window of a layer that has forms."""
    window = window_of(layer)
    assert window is not None  # noqa: S101
    return window


def shifted(place: Place, window: Window) -> Place:
    """Return a place whose normalization takes a constant: of a layer without bias, where it normalizes channels."""
    if place.shift is None or window.biased:
        return replace(place, shift=None)
    axis = place.shift.layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, (list, tuple)) and len(axis) == 1 else axis
    last = window.axes + 1
    fits = axis in ((1, -last) if window.first else (-1, last))
    return place if fits else replace(place, shift=None)
