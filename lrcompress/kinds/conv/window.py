"""The window that a convolution moves over its input: its settings in all Keras versions, and what it covers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.linear import POSITIONS
from lrcompress.kinds.protocol import Array, Place, Serialized

SIZES = {1: ("filter_length",), 2: ("nb_row", "nb_col"), 3: ("kernel_dim1", "kernel_dim2", "kernel_dim3")}  # fmt: skip
# Each setting in Keras 2 and 3, and in Keras 1.
SPELLINGS = {
    "filters": ("filters", "nb_filter"),
    "strides": ("strides", "subsample", "subsample_length"),
    "padding": ("padding", "border_mode"),
    "dilation": ("dilation_rate", "atrous_rate"),
    "biased": ("use_bias", "bias"),
    "groups": ("groups",),
    "extra": ("output_padding",),
    "initializer": ("kernel_initializer", "init"),
}
PLAIN = frozenset(f"Conv{long}{n}D" for long in ("", "olution") for n in (1, 2, 3))
TRANSPOSED = frozenset({*(f"Conv{n}DTranspose" for n in (1, 2, 3)), "Deconvolution2D"})
Axes = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """How a kernel (*size, channels of a group, outputs) is applied."""

    size: Axes
    channels: int  # of the input, of all groups
    outputs: int
    groups: int
    strides: Axes
    dilation: Axes
    padding: str
    first: bool  # whether channels come before the spatial axes
    biased: bool
    transposed: bool = False  # spreads each pixel, with a kernel (*size, outputs, channels)
    extra: Axes | None = None  # output padding of such a one

    @property
    def axes(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    @property
    def reach(self) -> Axes:
        """Pixels from the first to the last that the window covers, along each axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True))

    def grid(self, shape: tuple[int, ...]) -> Axes:
        """Return the spatial shape of the output of an input."""
        found = []
        for axis, (n, k, s) in enumerate(zip(shape, self.reach, self.strides, strict=True)):
            if self.transposed:
                whole = max(k, s) if self.padding == "valid" else s
                if self.extra is not None:
                    whole = (k if self.padding == "valid" else k % 2) + self.extra[axis]
                found.append((n - 1) * s + whole)
            elif self.padding == "valid":
                found.append(max(0, (n - k) // s + 1))
            else:
                found.append(-(-n // s))
        return tuple(found)

    def padded(self, shape: tuple[int, ...]) -> Axes:
        """Return the number of zeros before each spatial axis (transposed: of the output's that are cut off)."""
        if self.padding == "valid":
            return (0,) * self.axes
        if self.padding == "causal":
            return tuple(k - 1 for k in self.reach)
        few, many = (shape, self.grid(shape)) if self.transposed else (self.grid(shape), shape)
        settings = zip(few, many, self.reach, self.strides, strict=True)
        return tuple(max(0, (n - 1) * s + k - whole) // 2 for n, whole, k, s in settings)


def window_of(layer: Serialized) -> Window | None:
    """Return the window of a convolution; None where its arrays do not fit its config, or it is not understood."""
    config = layer.config
    shapes = [tuple(array.shape) for array in layer.arrays]
    axes = next((n for n in (1, 2, 3) if f"{n}D" in layer.class_name), 0)
    biased = bool(setting_of(config, "biased", True))
    if not axes or len(shapes) != 1 + biased or len(shapes[0]) != axes + 2:
        return None
    *size, channels, outputs = shapes[0]
    transposed = layer.class_name in TRANSPOSED
    extra = each(config, "extra", axes, least=0) if config.get("output_padding") is not None else ()
    if transposed:
        channels, outputs = outputs, channels
    groups = setting_of(config, "groups", 1)
    settings = (each(config, "strides", axes), each(config, "dilation", axes), extra)
    padding = setting_of(config, "padding", "valid")
    stated = stated_size(config, axes)
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
    strides, dilation, _ = settings
    order = config.get("data_format", {"th": "channels_first"}.get(str(config.get("dim_ordering"))))
    return Window(
        tuple(size), channels * groups, outputs, groups, strides or (), dilation or (),
        padding, order == "channels_first", biased, transposed, extra or None,
    )  # fmt: skip


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


def key_of(config: dict[str, Any], setting: str) -> str:
    """Return the spelling of a setting that a config uses."""
    spellings = SPELLINGS[setting]
    keras1 = "nb_filter" in config and len(spellings) > 1
    return next((key for key in spellings if key in config), spellings[keras1])


def setting_of(config: dict[str, Any], setting: str, default: Any) -> Any:
    """Return a setting in whichever spelling."""
    value = config.get(key_of(config, setting), default)
    return default if value is None else value


def each(config: dict[str, Any], setting: str, axes: int, *, least: int = 1) -> Axes | None:
    """Return a setting with one number an axis; None where it is not one."""
    value = setting_of(config, setting, 1)
    numbers = (value,) * axes if isinstance(value, int) else _numbers(value)
    whole = len(numbers) == axes and all(isinstance(n, int) and n >= least for n in numbers)
    return numbers if whole else None


def stated_size(config: dict[str, Any], axes: int) -> Axes | None:
    """Return the size of the window where the config says so."""
    value = config.get("kernel_size")
    if isinstance(value, int):
        return (value,) * axes
    return _numbers(value) or tuple(config[key] for key in SIZES[axes] if key in config) or None


def _numbers(value: object) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else tuple(terms.as_list(value))


def patches(inputs: Array, window: Window, seed: int) -> Array:
    """Return what the window covers at some positions of each sample, (k, window * channels)."""
    images = _images(inputs, window)
    shape = images.shape[2:-1]
    sample, step, corners = _drawn(len(images), images.shape[1], window.grid(shape), seed)
    index, inside = [], np.ones((1,) * (window.axes + 1), bool)
    ways = window.strides, window.dilation, window.size, window.padded(shape), shape
    settings = enumerate(zip(corners, *ways, strict=True))
    for axis, (corner, stride, dilation, size, before, length) in settings:
        taps = np.arange(size) * dilation
        if window.transposed:
            at, rest = np.divmod(corner[:, None] + before - taps, stride)
            at = np.where(rest == 0, at, -1)
        else:
            at = corner[:, None] * stride + taps - before
        at = at.reshape(len(at), *(size if other == axis else 1 for other in range(window.axes)))
        inside = inside & (at >= 0) & (at < length)
        index.append(np.clip(at, 0, length - 1))
    spread = (slice(None), *(None,) * window.axes)
    found = images[(sample[spread], step[spread], *index)] * inside[..., None]
    return np.asarray(found.reshape(len(found), -1))


def outputs_at(outputs: Array, window: Window, seed: int) -> Array:
    """Return what the outputs hold at the same positions, (k, outputs)."""
    images = _images(outputs, window)
    sample, step, corners = _drawn(len(images), images.shape[1], images.shape[2:-1], seed)
    return np.asarray(images[(sample, step, *corners)])


def _images(tensor: Array, window: Window) -> Array:
    """Return a tensor as (samples, steps, *pixels, channels)."""
    tensor = np.moveaxis(tensor, -window.axes - 1, -1) if window.first else tensor
    return tensor.reshape(len(tensor), -1, *tensor.shape[-window.axes - 1 :])


def _drawn(
    samples: int, steps: int, grid: tuple[int, ...], seed: int
) -> tuple[Array, Array, list[Array]]:
    """Return sample, step and pixel of some positions of each sample, (k,) each."""
    length = steps * math.prod(grid)
    if length <= POSITIONS:
        drawn = np.tile(np.arange(length), (samples, 1))
    else:
        drawn = np.random.default_rng(seed).integers(0, length, (samples, POSITIONS))
    step, *corners = np.unravel_index(drawn.ravel(), (steps, *grid))
    return np.repeat(np.arange(samples), drawn.shape[1]), step, corners
