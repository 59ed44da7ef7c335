"""The window that a convolution moves over its input: its settings in the spellings of all Keras versions."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.linear import POSITIONS
from lrcompress.kinds.protocol import Array, Place, Serialized

_SIZES = {1: ("filter_length",), 2: ("nb_row", "nb_col"), 3: ("kernel_dim1", "kernel_dim2", "kernel_dim3")}  # fmt: skip
# Each setting in Keras 2 and 3, and in Keras 1.
_SPELLINGS = {
    "filters": ("filters", "nb_filter"),
    "strides": ("strides", "subsample", "subsample_length"),
    "padding": ("padding", "border_mode"),
    "dilation": ("dilation_rate", "atrous_rate"),
    "biased": ("use_bias", "bias"),
    "groups": ("groups",),
    "initializer": ("kernel_initializer", "init"),
}
Axes = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """How a kernel (*size, channels of a group, outputs) is applied.

    Attributes:
        size: Of the window, without channels.
        channels: Of the input, of all groups.
        first: Whether channels come before the spatial axes.
    """

    size: Axes
    channels: int
    outputs: int
    groups: int
    strides: Axes
    dilation: Axes
    padding: str
    first: bool
    biased: bool

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    def grid(self, shape: tuple[int, ...]) -> Axes:
        """Return the number of positions along each spatial axis of an input."""
        found = zip(shape, self.size, self.strides, self.dilation, strict=True)
        if self.padding == "valid":
            return tuple(max(0, (n - (k - 1) * d - 1) // s + 1) for n, k, s, d in found)
        return tuple(-(-n // s) for n, _, s, _ in found)

    def padded(self, shape: tuple[int, ...]) -> Axes:
        """Return the number of zeros before each spatial axis of an input."""
        if self.padding == "valid":
            return (0,) * self.axes
        if self.padding == "causal":
            return tuple((k - 1) * d for k, d in zip(self.size, self.dilation, strict=True))
        settings = zip(self.grid(shape), shape, self.size, self.strides, self.dilation, strict=True)
        return tuple(max(0, (g - 1) * s + (k - 1) * d + 1 - n) // 2 for g, n, k, s, d in settings)


def window_of(layer: Serialized) -> Window | None:
    """Return the window of a convolution; None where its arrays do not fit its config, or it is not understood."""
    config = layer.config
    shapes = [tuple(array.shape) for array in layer.arrays]
    axes = next((n for n in (1, 2, 3) if f"{n}D" in layer.class_name), 0)
    biased = bool(_setting(config, "biased", True))
    if len(shapes) != 1 + biased or len(shapes[0]) != axes + 2:
        return None
    *size, channels, outputs = shapes[0]
    groups = _setting(config, "groups", 1)
    settings = (_each(config, "strides", axes), _each(config, "dilation", axes))
    padding = _setting(config, "padding", "valid")
    stated = _stated_size(config, axes)
    if (
        min(shapes[0]) < 1
        or shapes[1:] != [(outputs,)] * biased
        or terms.units(config) not in (outputs, None)
        or stated not in (tuple(size), None)
        or padding not in ("valid", "same", "causal")
        or not isinstance(groups, int)
        or groups < 1
        or outputs % groups
        or None in settings
    ):
        return None
    strides, dilation = settings
    order = config.get("data_format", {"th": "channels_first"}.get(str(config.get("dim_ordering"))))
    return Window(
        tuple(size), channels * groups, outputs, groups, strides or (), dilation or (),
        padding, order == "channels_first", biased,
    )  # fmt: skip


def convolution(
    layer: Serialized,
    kernel: Array,
    bias: Array | None = None,
    name: str | None = None,
    **changes: Any,
) -> Serialized:
    """Return a convolution around another kernel.

    Args:
        layer: The layer whose class and settings it keeps.
        kernel: (*window, channels of a group, outputs).
        bias: Its bias, None for none.
        name: Of a new layer, which is linear; None for the layer itself.
        changes: Settings of another window (strides, dilation, padding, groups).
    """
    config, axes = copy.deepcopy(layer.config), kernel.ndim - 2
    size, stated = kernel.shape[:-2], _stated_size(config, axes)
    if stated != size:
        keras1 = [key for key in _SIZES[axes] if key in config]
        if keras1:
            config.update(zip(keras1, map(int, size), strict=True))
        else:
            config["kernel_size"] = [int(k) for k in size]
    changes = {"filters": int(kernel.shape[-1]), "biased": bias is not None, **changes}
    for setting, value in changes.items():
        key = _key(config, setting)
        if setting in ("strides", "dilation"):
            if _each(config, setting, axes) != value:
                config[key] = value[0] if key == "subsample_length" else list(value)
        elif config.get(key) != value and (key in config or value != _DEFAULTS.get(setting)):
            config[key] = value
    if terms.holds_array(terms.as_dict(config.get(_key(config, "initializer"))).get("config")):
        config[_key(config, "initializer")] = (
            "glorot_uniform"  # it would not fit, and is never used
        )
    if name is not None:
        config.update(name=name, activation="linear")
        config.update({key: None for key in terms.REGULARIZERS if key in config})
    return Serialized(layer.class_name, config, (kernel,) if bias is None else (kernel, bias))


_DEFAULTS = {"biased": True, "groups": 1, "padding": "valid"}


def pointwise(
    layer: Serialized, kernel: Array, bias: Array | None = None, **changes: Any
) -> Serialized:
    """Return a 1x1 convolution (m, n) of the same class."""
    axes = next(n for n in (1, 2, 3) if f"{n}D" in layer.class_name)
    one = (1,) * axes
    settings = {"strides": one, "dilation": one, "padding": "valid", "groups": 1, **changes}
    return convolution(layer, kernel.reshape(*one, *kernel.shape), bias, **settings)


def in_front(place: Place, window: Window) -> tuple[int, Axes] | None:
    """Return how many inputs a sample has (steps of a wrapper) and their spatial shape, None where not known."""
    shapes = place.input_shapes
    if not shapes or len(shapes[0]) <= window.axes:
        return None
    whole = [n for n in shapes[0] if n is not None]
    if len(whole) < len(shapes[0]):
        return None
    lead, rest = whole[: -window.axes - 1], whole[-window.axes - 1 :]
    return math.prod(lead), tuple(rest[1:] if window.first else rest[:-1])


def blocks(window: Window) -> list[tuple[slice, slice]]:
    """Return the channels and the outputs of each group."""
    inner, outer = window.channels // window.groups, window.outputs // window.groups
    return [
        (slice(g * inner, (g + 1) * inner), slice(g * outer, (g + 1) * outer))
        for g in range(window.groups)
    ]


def patches(inputs: Array, window: Window, seed: int) -> Array:
    """Return what the window covers at some positions of each sample, (k, window * channels)."""
    if window.first:
        inputs = np.moveaxis(inputs, -window.axes - 1, -1)
    shape = inputs.shape[-window.axes - 1 : -1]
    grid = window.grid(shape)
    images = inputs.reshape(len(inputs), -1, *shape, inputs.shape[-1])
    samples, steps = images.shape[:2]
    length = steps * math.prod(grid)
    if length <= POSITIONS:
        drawn = np.tile(np.arange(length), (samples, 1))
    else:
        drawn = np.random.default_rng(seed).integers(0, length, (samples, POSITIONS))
    step, *corners = np.unravel_index(drawn.ravel(), (steps, *grid))
    sample = np.repeat(np.arange(samples), drawn.shape[1])
    index, inside = [], np.ones((1,) * (window.axes + 1), bool)
    settings = zip(
        corners,
        window.strides,
        window.dilation,
        window.size,
        window.padded(shape),
        shape,
        strict=True,
    )
    for axis, (corner, stride, dilation, size, before, length) in enumerate(settings):
        at = corner[:, None] * stride + np.arange(size) * dilation - before
        at = at.reshape(len(at), *(size if other == axis else 1 for other in range(window.axes)))
        inside = inside & (at >= 0) & (at < length)
        index.append(np.clip(at, 0, length - 1))
    spread = (slice(None), *(None,) * window.axes)
    found = images[(sample[spread], step[spread], *index)] * inside[..., None]
    return np.asarray(found.reshape(len(found), -1))


def _key(config: dict[str, Any], setting: str) -> str:
    """Return the spelling of a setting that a config uses."""
    spellings = _SPELLINGS[setting]
    found = next((key for key in spellings if key in config), None)
    if found is not None:
        return found
    keras1 = "nb_filter" in config
    return spellings[1] if keras1 and len(spellings) > 1 else spellings[0]


def _setting(config: dict[str, Any], setting: str, default: Any) -> Any:
    value = config.get(_key(config, setting), default)
    return default if value is None else value


def _each(config: dict[str, Any], setting: str, axes: int) -> Axes | None:
    """Return a setting with one number an axis; None where it is not one."""
    value = _setting(config, setting, 1)
    numbers = (value,) * axes if isinstance(value, int) else _numbers(value)
    whole = len(numbers) == axes and all(isinstance(n, int) and n > 0 for n in numbers)
    return numbers if whole else None


def _stated_size(config: dict[str, Any], axes: int) -> Axes | None:
    """Return the size of the window where the config says so."""
    value = config.get("kernel_size")
    if isinstance(value, int):
        return (value,) * axes
    return _numbers(value) or tuple(config[key] for key in _SIZES[axes] if key in config) or None


def _numbers(value: object) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else tuple(terms.as_list(value))
