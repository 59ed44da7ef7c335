"""Convolutions around new kernels, in the spelling of the layer that they come from."""

from __future__ import annotations

import copy
from typing import Any

from lrcompress.kinds import terms
from lrcompress.kinds.conv.window import PLAIN, SIZES, TRANSPOSED, each, key_of, stated_size
from lrcompress.kinds.protocol import Array, Serialized

_DEFAULTS = {"biased": True, "groups": 1, "padding": "valid"}
# What a 1x1 convolution has of a transposed or separable one.
KEPT = frozenset({
    "name", "trainable", "dtype", "data_format", "dim_ordering", "filters", "nb_filter", "activation",
    "use_bias", "bias", "bias_initializer", "activity_regularizer", "bias_regularizer", "b_regularizer",
    "bias_constraint", "b_constraint",
})  # fmt: skip
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
