"""Separable convolutions: each channel is filtered by itself, and a pointwise kernel A mixes what comes out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from lrcompress.kinds.conv.chains import LAST, is_one
from lrcompress.kinds.conv.convolution import shifted
from lrcompress.kinds.conv.forms import WindowForm
from lrcompress.kinds.conv.layers import pointwise, settled
from lrcompress.kinds.conv.window import Window, patches, window_of
from lrcompress.kinds.linear import with_constant
from lrcompress.kinds.protocol import Array, Arrays, Batch, Form, Layers, Place, Serialized, Tensors
from lrcompress.kinds.terms import activation_name, refuse_kernel
from lrcompress.lowrank.responses import RowMoments


class SeparableConvolution:
    """A depthwise kernel (*window, channels, multiplier), A (1, ..., inner, outputs), and perhaps a bias."""

    name = "SeparableConv"
    family = "conv"
    linear = False
    refuse = staticmethod(refuse_kernel)
    classes = frozenset(f"SeparableConv{long}{n}D" for long in ("", "olution") for n in (1, 2))

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return fewer responses of A; the depthwise kernel has no rank to lose."""
        found = _window(place.layer)
        return () if found is None else (_Pointwise(self, shifted(place, found), found),)

    def kernel(self, layer: Serialized, arrays: Tensors) -> Array:
        """Return A."""
        return arrays[1].reshape(-1, arrays[1].shape[-1])

    def with_kernel(
        self, place: Place, arrays: Arrays, kernel: Array, shift: Array | None
    ) -> Arrays:
        """Return another A and the bias."""
        depthwise, before, *bias = arrays[place.path]
        own = (depthwise, kernel.reshape(before.shape), *bias)
        return with_constant(place, arrays, own, 2 if bias else None, shift)

    def gather(self, place: Place, arrays: Arrays, batch: Batch, seen: Any | None) -> Any:
        """Add what the depthwise kernel gives at some positions of a batch to its moments."""
        if seen is None:
            seen = RowMoments(self.kernel(place.layer, arrays[place.path]))
        window = _window(place.layer)
        if window is not None:
            *_, channels, multiplier = arrays[place.path][0].shape
            depthwise = arrays[place.path][0].reshape(-1, channels, multiplier)
            rows = patches(batch.inputs[0], window, batch.seed).reshape(-1, *depthwise.shape[:2])
            seen.update(np.einsum("ikc,kcm->icm", rows, depthwise).reshape(len(rows), -1))
        return seen

    def merged(self, layers: Layers) -> Serialized | None:
        """Return the separable convolution that a linear one and a 1x1 convolution are."""
        if len(layers) != 2 or layers[0].class_name not in self.classes:
            return None
        first, second = layers
        a, b = _window(first), window_of(second)
        linear = activation_name(first.config.get("activation")) == "linear"
        if a is None or b is None or a.biased or not linear or a.first != b.first:
            return None
        depthwise, left = first.arrays
        inner = left.shape[-2]
        if (
            not is_one(b)
            or b.groups > 1
            or a.outputs != b.channels
            or a.outputs > min(inner, b.outputs)
        ):
            return None
        right = second.arrays[0].reshape(b.channels, b.outputs)
        config = first.config | {k: v for k, v in second.config.items() if k in LAST}
        changes = {"filters": b.outputs, "biased": b.biased}
        arrays = (depthwise, left.astype(np.float64) @ right, *second.arrays[1:])
        return Serialized(first.class_name, settled(config, a.size, None, changes), arrays)


class _Pointwise(WindowForm):
    """A linear one of r filters, and a 1x1 convolution."""

    name = "channels"

    @property
    def _inner(self) -> int:
        return int(self.place.layer.arrays[1].shape[-2])

    @property
    def largest(self) -> int:
        return min(self._inner, self.window.outputs)

    def _weights(self, size: int) -> dict[str, int]:
        return {"output": self._pixels * self._inner + size * (self._inner + self.window.outputs)}

    def build(self, factors: Tensors, arrays: Tensors) -> Layers:
        layer, (first, second) = self.place.layer, factors
        depthwise, before, *bias = arrays
        changes = {"filters": first.shape[1], "biased": False}
        config = settled(layer.config, self.window.size, self.new_name, changes)
        own = (depthwise, first.reshape(*before.shape[:-1], -1))
        last = pointwise(layer, second, bias[0] if bias else None)
        return Serialized(layer.class_name, config, own), last


def _window(layer: Serialized) -> Window | None:
    """Return the window of the depthwise kernel, its outputs those of the whole; None where the arrays do not fit."""
    if len(layer.arrays) < 2:
        return None
    depthwise, pointwise_kernel, *bias = layer.arrays
    outputs = pointwise_kernel.shape[-1]
    if len(depthwise.shape) < 3 or pointwise_kernel.shape[-2] != math.prod(depthwise.shape[-2:]):
        return None
    # As if it were one kernel.
    whole = np.broadcast_to(np.float32(0), (*depthwise.shape[:-1], outputs))
    return window_of(replace(layer, arrays=(whole, *bias)))
