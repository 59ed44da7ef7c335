"""A Dense behind a Flatten, as the convolution that it is: its window is the whole of what is flattened.

A 1x1 convolution before the Flatten leaves fewer channels, and the kernel gets smaller by as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lrcompress.kinds.conv.forms import WindowForm, bias_of
from lrcompress.kinds.conv.shared_forms import Inputs, Tucker
from lrcompress.kinds.conv.window import PLAIN, Window, window_of
from lrcompress.kinds.linear import LARGE, LinearForm, Seen
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Edits,
    Form,
    Layers,
    Place,
    Serialized,
    Solution,
    Tensors,
)
from lrcompress.kinds.terms import activation_name

# Of so few units a second Dense could hardly save anything.
_FEW = 16
_FLATTEN = "Flatten"


def behind_flatten(kind: Any, place: Place, whole: LinearForm) -> tuple[Form, ...]:
    """Return the form of a Dense that takes in several channels, flattened; none of another one."""
    before = place.before
    window = None if before is None else _window(place, before)
    if window is None:
        return ()
    # Fewer channels alone lost more at every size that was tried, wherever there were units to save.
    form = _FewerChannelsAndUnits if window.outputs > _FEW else _FewerChannels
    return (form(kind, place, window, whole),)


def merged_flatten(kind: Any, layers: Layers) -> Serialized | None:
    """Return the Dense behind a Flatten that takes in what its 1x1 convolution did; None where it cannot."""
    first, flatten, *rest = layers
    last = rest[0] if len(rest) == 1 else kind.merged(tuple(rest))
    window = window_of(first) if first.class_name in PLAIN else None
    if (
        last is None
        or window is None
        or flatten.class_name != _FLATTEN
        or last.class_name not in kind.classes
        or set(window.size) | set(window.strides) != {1}
        or window.groups > 1
        or window.first
        or window.biased
        or activation_name(first.config.get("activation")) != "linear"
        or flatten.config.get("data_format") == "channels_first"
    ):
        return None
    kernel, *bias = last.arrays
    pixels, wide = len(kernel) // window.outputs, first.arrays[0].reshape(-1, window.outputs)
    if len(kernel) % window.outputs or len(wide.T) > min(len(wide), pixels * kernel.shape[1]):
        return None
    parts = wide.astype(np.float64) @ kernel.reshape(pixels, window.outputs, -1)
    merged: Serialized = kind.refit(last, (parts.reshape(-1, kernel.shape[1]), *bias))
    return merged


def _window(place: Place, before: Place) -> Window | None:
    """Return the window, None where the layer before is no Flatten that keeps channels last."""
    config, shapes = before.layer.config, before.input_shapes
    starts = any(key in config for key in ("batch_input_shape", "batch_shape", "input_shape"))
    keras1 = "output_dim" in place.layer.config
    if (
        before.layer.class_name != _FLATTEN
        or config.get("data_format", "channels_last") not in ("channels_last", None)
        or starts  # a layer before it would have to say what the model takes in
        or keras1
        or place.per_step
        or not shapes
        or not 2 <= len(shapes[0]) <= 4
        or None in shapes[0]
    ):
        return None
    *size, channels = (n or 0 for n in shapes[0])
    inputs, outputs = place.layer.arrays[0].shape
    window = Window(
        tuple(size), channels, outputs, 1, (1,) * len(size), (1,) * len(size), "valid",
        first=False, biased=len(place.layer.arrays) > 1,
    )  # fmt: skip
    pixels = math.prod(size)
    return window if channels > 1 and pixels > 1 and inputs == pixels * channels else None


class _Flattened(WindowForm):
    """What both forms share: the first layer stands before the Flatten."""

    name = "flatten"

    def __init__(self, kind: Any, place: Place, window: Window, whole: LinearForm) -> None:
        before, self._matrix = place.before, whole
        assert before is not None  # noqa: S101  # there is a window
        super().__init__(kind, replace(place, input_shapes=before.input_shapes), window)
        self.flatten = before
        self.touches = (place.path, before.path, *self.touches[1:])

    def solve(self, arrays: Arrays, seen: Seen, sizes: Sequence[int]) -> dict[int, Solution]:
        found = super().solve(arrays, seen, sizes)
        return {s: replace(o, layers=partial(self._apart, o.layers)) for s, o in found.items()}

    def _apart(self, layers: Callable[[], Edits]) -> Edits:
        """Return the layers with the convolution before the Flatten."""
        made, flatten = layers(), self.flatten
        first, *rest = made[self.place.path]
        return {**made, flatten.path: (first, flatten.layer), self.place.path: tuple(rest)}

    def _convolution(self, kernel: Array) -> Serialized:
        axes, name = self.window.axes, self.flatten.layer.config.get("name", "flatten")
        config: dict[str, Any] = {
            "name": f"{name}_lowrank", "filters": int(kernel.shape[1]), "kernel_size": [1] * axes,
            "strides": [1] * axes, "padding": "valid", "data_format": "channels_last",
            "activation": "linear", "use_bias": False,
        }  # fmt: skip
        if "dtype" in self.place.layer.config:
            config["dtype"] = self.place.layer.config["dtype"]
        return Serialized(f"Conv{axes}D", config, (kernel.reshape(*[1] * axes, *kernel.shape),))


class _FewerChannels(_Flattened, Inputs):
    """A 1x1 convolution to r channels, the Flatten, and the Dense."""

    def build(self, factors: Tensors, arrays: Tensors) -> Layers:
        first, second = factors
        own = (second.reshape(-1, second.shape[-1]), *arrays[1:])
        return self._convolution(first), self.kind.refit(self.place.layer, own)


class _FewerChannelsAndUnits(_Flattened, Tucker):
    """A 1x1 convolution to r1 channels, the Flatten, a Dense of r2 units and the Dense.

    The share of the channels that are kept is the root of that of the units: there are fewer of
    them, and each is worth more. With shares alike 3 % of the kernel cost 0.018 in KL on a small
    MNIST network and 0.021 on a CIFAR-100 one, so 0.005 and 0.002; powers from 0.33 to 2 were tried.
    """

    power = 0.5

    def _responses(self, arrays: Arrays, kernel: Array, seen: Seen) -> Array:
        if seen is None and kernel.size > LARGE:
            return self._matrix.energy(arrays, None)
        return super()._responses(arrays, kernel, seen)

    def build(self, factors: Tensors, arrays: Tensors) -> Layers:
        kind, layer, (first, core, last) = self.kind, self.place.layer, factors
        halves = (core.reshape(-1, core.shape[-1]), last, bias_of(arrays))
        two = kind.split(kind.views(layer)[0], layer, halves, self.new_name)
        return self._convolution(first), *two
