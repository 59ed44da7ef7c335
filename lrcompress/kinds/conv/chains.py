"""What a chain of convolutions is: one convolution again, where it is."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from lrcompress.kinds.conv.layers import KEPT, convolution
from lrcompress.kinds.conv.window import TRANSPOSED, Window, window_of
from lrcompress.kinds.protocol import Array, Layers, Serialized
from lrcompress.kinds.terms import activation_name

# What the layer that ends a chain says of the whole.
LAST = KEPT | {"kernel_regularizer", "kernel_constraint", "W_regularizer", "W_constraint"}


def merged_windows(layers: Layers) -> Serialized | None:
    """Return the convolution that two, or three with pointwise ends, in a row are, None where they are not one."""
    if len(layers) == 2:
        found = _joined(*layers)
    elif len(layers) == 3 and is_one(window_of(layers[0])) and is_one(window_of(layers[2])):
        inner = _joined(*layers[:2])
        found = None if inner is None else _joined(inner, layers[2])
    else:
        return None
    # A designer who leaves out an activation builds wider ones than a factor of low rank can be.
    return found if found is not None and _is_low(layers, found) else None


def is_one(window: Window | None) -> bool:
    """Return whether a window is one pixel that moves by one."""
    return (
        window is not None
        and not window.transposed
        and set(window.size) | set(window.strides) == {1}
    )


def _is_low(layers: Layers, whole: Serialized) -> bool:
    """Return whether none but the last has more filters than a factor of full rank."""
    windows = [window for window in map(window_of, (*layers, whole)) if window is not None]
    *parts, last = windows
    sizes = [math.prod(window.size) for window in parts]
    groups = last.groups
    return all(
        window.outputs
        <= min(
            math.prod(sizes[:number]) * last.channels // groups,
            math.prod(sizes[number:]) * last.outputs // groups,
        )
        * groups
        for number, window in enumerate(parts[:-1], 1)
    )


def _joined(first: Serialized, second: Serialized) -> Serialized | None:
    a, b = window_of(first), window_of(second)
    linear = activation_name(first.config.get("activation")) == "linear"
    if a is None or b is None or a.biased or not linear or a.first != b.first:
        return None
    if a.axes != b.axes or a.outputs != b.channels:
        return None
    left, right = _kernel(first), _kernel(second)
    bias = second.arrays[1] if b.biased else None
    if is_one(b) and b.groups in (1, a.groups):
        if b.groups != a.groups:
            return None
        per = right.reshape(-1, b.groups, b.outputs // b.groups).transpose(1, 0, 2)
        parts = np.split(left, a.groups, axis=-1)
        kernel = np.concatenate([part @ own for part, own in zip(parts, per, strict=True)], axis=-1)
        config = first.config | {k: v for k, v in second.config.items() if k in LAST}
        return convolution(replace(first, config=config), kernel, bias)
    if a.groups != 1 or b.groups != 1:
        return None
    if is_one(a):
        return convolution(second, left.reshape(a.channels, -1) @ right, bias)
    return _crossed(second, a, b, left, right, bias)


def _crossed(
    layer: Serialized, a: Window, b: Window, left: Array, right: Array, bias: Array | None
) -> Serialized | None:
    """Return the convolution of one along some axes and one along the others."""
    settings = zip(
        (a, b), (a.size, b.size), (a.strides, b.strides), (a.dilation, b.dilation), strict=True
    )
    one, other = ([{*axis} == {1} for axis in zip(*rest, strict=True)] for _, *rest in settings)
    apart = all(x or y for x, y in zip(one, other, strict=True))
    if not apart or a.padding != b.padding or a.padding == "causal" or a.transposed or b.transposed:
        return None
    pairs = {"strides": (a.strides, b.strides), "dilation": (a.dilation, b.dilation)}
    both: dict[str, Any] = {name: tuple(map(max, *pair)) for name, pair in pairs.items()}
    return convolution(layer, left @ right, bias, **both)


def _kernel(layer: Serialized) -> Array:
    """Return (*window, channels, outputs)."""
    kernel: Array = layer.arrays[0].astype(np.float64)
    return kernel.swapaxes(-1, -2) if layer.class_name in TRANSPOSED else kernel
