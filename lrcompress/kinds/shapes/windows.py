"""What a window that moves over positions makes of their number: convolution, pooling, padding, upsampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from lrcompress.kinds import terms
from lrcompress.kinds.terms import as_list

# Without the batch axis; None where an axis is free.
Shape = tuple[int | None, ...]
# From a config and the shapes of the inputs, which are known.
Rule = Callable[[dict[str, Any], list[Shape]], Shape | None]


def is_first(config: dict[str, Any]) -> bool:
    """Return whether channels stand before the positions (Keras 1: th)."""
    return config.get("data_format", config.get("dim_ordering")) in ("channels_first", "th")


def positions(config: dict[str, Any], shape: Shape) -> Shape:
    """Return the axes of a shape but that of the channels."""
    return shape[1:] if is_first(config) else shape[:-1]


def with_channels(config: dict[str, Any], places: Shape, channels: int | None) -> Shape:
    """Return a shape of positions and channels."""
    return (channels, *places) if is_first(config) else (*places, channels)


def channels_of(config: dict[str, Any], shape: Shape) -> int | None:
    """Return the length of the axis of the channels."""
    return shape[0] if is_first(config) else shape[-1]


def _per_axis(config: dict[str, Any], axes: int, *keys: str, default: int = 1) -> tuple[int, ...]:
    """Return a setting of each axis, under the first of some names that is there."""
    value = next((config[key] for key in keys if config.get(key) is not None), default)
    if isinstance(value, (list, dict)):
        return tuple(int(n) for n in as_list(value))
    return (int(value),) * axes


def _kernel(config: dict[str, Any], axes: int) -> tuple[int, ...]:
    """Return the size of a convolution's kernel (Keras 1: a number of its own for each axis)."""
    old = (["filter_length"], ["nb_row", "nb_col"], [f"kernel_dim{n}" for n in (1, 2, 3)])[axes - 1]
    if "kernel_size" not in config and all(key in config for key in old):
        return tuple(int(config[key]) for key in old)
    return _per_axis(config, axes, "kernel_size")


def _window(n: int, size: int, stride: int, padding: str) -> int:
    """Return how often a window of a size fits a length."""
    if padding in ("same", "causal"):
        return -(-n // stride)
    return (n + (2 * size - 2 if padding == "full" else 0) - size) // stride + 1


def _transposed(n: int, size: int, stride: int, padding: str, extra: int | None) -> int:
    """Return the length that a transposed convolution makes of one."""
    if extra is not None:
        return (n - 1) * stride + size - (2 * (size // 2) if padding == "same" else 0) + extra
    return n * stride + (0 if padding == "same" else max(size - stride, 0))


def _conv(
    config: dict[str, Any], inputs: list[Shape], *, axes: int, kind: str = "", steps: bool = False
) -> Shape:
    """Return the output of a convolution; `kind` depthwise or transposed, `steps` in a recurrent layer."""
    shape = inputs[0][1:] if steps else inputs[0]
    sizes = _kernel(config, axes)
    strides = _per_axis(config, axes, "strides", "subsample", "subsample_length")
    rates = _per_axis(config, axes, "dilation_rate", "atrous_rate")
    extras: Sequence[int | None] = [None] * axes
    if config.get("output_padding") is not None:
        extras = _per_axis(config, axes, "output_padding")
    padding = config.get("padding", config.get("border_mode", "valid"))
    places: list[int | None] = []
    lengths = positions(config, shape)
    for n, k, s, d, extra in zip(lengths, sizes, strides, rates, extras, strict=True):
        own, spread = (d * (k - 1) + 1, s, padding), kind == "transposed"
        if n is None:
            places.append(None)
        else:
            places.append(_transposed(n, *own, extra) if spread else _window(n, *own))
    channels = terms.units(config)
    if kind == "depthwise":
        each = channels_of(config, shape)
        channels = None if each is None else each * int(config.get("depth_multiplier") or 1)
    found = with_channels(config, tuple(places), channels)
    return (inputs[0][0], *found) if steps and config.get("return_sequences") else found


def _pooled(config: dict[str, Any], inputs: list[Shape], *, axes: int) -> Shape:
    sizes = _per_axis(config, axes, "pool_size", "pool_length", default=2)
    strides = _per_axis(config, axes, "strides", "stride", "pool_size", "pool_length", default=2)
    padding = config.get("padding", config.get("border_mode", "valid"))
    each = zip(positions(config, inputs[0]), sizes, strides, strict=True)
    places = tuple(None if n is None else _window(n, k, s, padding) for n, k, s in each)
    return with_channels(config, places, channels_of(config, inputs[0]))


def _pooled_globally(config: dict[str, Any], inputs: list[Shape]) -> Shape:
    places = (1,) * (len(inputs[0]) - 1) if config.get("keepdims") else ()
    return with_channels(config, places, channels_of(config, inputs[0]))


def _resized(
    config: dict[str, Any], inputs: list[Shape], *, axes: int, key: str, sign: int
) -> Shape:
    """Return what padding (+1) or cropping (-1) leaves of each length, or what upsampling (0) makes of it."""
    places = positions(config, inputs[0])
    if sign == 0:
        factors = _per_axis(config, axes, key, "length", default=2)
        made = [None if n is None else n * k for n, k in zip(places, factors, strict=True)]
    else:
        given = config.get(key, 1)
        each = as_list(given) if isinstance(given, (list, dict)) else [given] * axes
        each = [each] if axes == 1 and len(each) == 2 else each
        pairs = [as_list(e) if isinstance(e, (list, dict)) else [e, e] for e in each]
        both = zip(places, pairs, strict=True)
        made = [None if n is None else n + sign * sum(pair) for n, pair in both]
    return with_channels(config, tuple(made), channels_of(config, inputs[0]))


RULES: dict[str, Rule] = {}
for _n in (1, 2, 3):
    for _name in (f"Conv{_n}D", f"Convolution{_n}D", f"AtrousConvolution{_n}D",
                  f"LocallyConnected{_n}D", f"SeparableConv{_n}D", f"SeparableConvolution{_n}D"):  # fmt: skip
        RULES[_name] = partial(_conv, axes=_n)
    for _name in (f"Conv{_n}DTranspose", f"Convolution{_n}DTranspose"):
        RULES[_name] = partial(_conv, axes=_n, kind="transposed")
    RULES[f"DepthwiseConv{_n}D"] = partial(_conv, axes=_n, kind="depthwise")
    RULES[f"ConvLSTM{_n}D"] = partial(_conv, axes=_n, steps=True)
    for _what in ("Max", "Average"):
        RULES[f"{_what}Pooling{_n}D"] = partial(_pooled, axes=_n)
        RULES[f"Global{_what}Pooling{_n}D"] = _pooled_globally
    RULES[f"ZeroPadding{_n}D"] = partial(_resized, axes=_n, key="padding", sign=1)
    RULES[f"Cropping{_n}D"] = partial(_resized, axes=_n, key="cropping", sign=-1)
    RULES[f"UpSampling{_n}D"] = partial(_resized, axes=_n, key="size", sign=0)
