"""Convolutions around new kernels, in the spelling of the layer that they come from, and what a chain of them is."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.conv.window import (
    PLAIN,
    SIZES,
    TRANSPOSED,
    Window,
    each,
    key_of,
    stated_size,
    window_of,
)
from lrcompress.kinds.protocol import Array, Layers, Serialized
from lrcompress.kinds.terms import activation_name

_DEFAULTS = {"biased": True, "groups": 1, "padding": "valid"}
# What a 1x1 convolution has of a transposed or separable one.
KEPT = frozenset({
    "name", "trainable", "dtype", "data_format", "dim_ordering", "filters", "nb_filter", "activation",
    "use_bias", "bias", "bias_initializer", "activity_regularizer", "bias_regularizer", "b_regularizer",
    "bias_constraint", "b_constraint",
})  # fmt: skip
# What the layer that ends a chain says of the whole.
LAST = KEPT | {"kernel_regularizer", "kernel_constraint", "W_regularizer", "W_constraint"}
_OF_PARTS = frozenset(
    f"{part}_{what}"
    for part in ("depthwise", "pointwise")
    for what in ("regularizer", "constraint")
)


def convolution(
    layer: Serialized,
    kernel: Array,
    bias: Array | None = None,
    name: str | None = None,
    **changes: Any,
) -> Serialized:
    """Return a layer, or a new linear one of a `name`, around a kernel (*window, channels of a group, outputs)."""
    size = kernel.shape[:-2]
    own = {"filters": int(kernel.shape[-1]), "biased": bias is not None, **changes}
    config = settled(layer.config, size, name, own)
    if layer.class_name in TRANSPOSED:
        kernel = kernel.swapaxes(-1, -2)
    return Serialized(layer.class_name, config, (kernel,) if bias is None else (kernel, bias))


def settled(
    before: dict[str, Any], size: tuple[int, ...], name: str | None, changes: dict[str, Any]
) -> dict[str, Any]:
    """Return a config for a window of some size and other settings; with a name, that of a new linear layer."""
    config, axes = copy.deepcopy(before), len(size)
    if stated_size(config, axes) != size:
        if "nb_filter" in config:
            config.update(zip(SIZES[axes], map(int, size), strict=True))
        else:
            config["kernel_size"] = [int(k) for k in size]
    for setting, value in changes.items():
        key = key_of(config, setting)
        if setting in ("strides", "dilation"):
            if each(config, setting, axes) != value:
                config[key] = value[0] if key == "subsample_length" else list(value)
        elif config.get(key) != value and (key in config or value != _DEFAULTS.get(setting)):
            config[key] = value
    terms.drop_arrays(config, [key_of(config, "initializer")], "glorot_uniform")
    if name is not None:
        config.update(name=name, activation="linear")
        lost = {*terms.REGULARIZERS, *_OF_PARTS}
        config.update({key: None for key in config if key in lost})
    return config


def pointwise(
    layer: Serialized, kernel: Array, bias: Array | None = None, **changes: Any
) -> Serialized:
    """Return a 1x1 convolution (m, n), also of a transposed or separable one."""
    axes = next(n for n in (1, 2, 3) if f"{n}D" in layer.class_name)
    if layer.class_name not in PLAIN:
        config = {key: value for key, value in layer.config.items() if key in KEPT}
        name = f"Convolution{axes}D" if "nb_filter" in config else f"Conv{axes}D"
        layer = Serialized(name, config)
    one = (1,) * axes
    settings = {"strides": one, "dilation": one, "padding": "valid", "groups": 1, **changes}
    return convolution(layer, kernel.reshape(*one, *kernel.shape), bias, **settings)


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
