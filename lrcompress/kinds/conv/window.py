"""The window that a convolution moves over its input: its settings in the spellings of all Keras versions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lrcompress.kinds import terms
from lrcompress.kinds.protocol import Place, Serialized

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
    """How a kernel (*size, channels of a group, outputs) is applied.

    Attributes:
        size: Of the window, without channels.
        channels: Of the input, of all groups.
        first: Whether channels come before the spatial axes.
        transposed: Whether it spreads each pixel instead, with a kernel (*size, outputs, channels).
        extra: Output padding of such a one.
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
    transposed: bool = False
    extra: Axes | None = None

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


def is_transposed(layer: Serialized) -> bool:
    """Return whether a layer is a transposed convolution."""
    return layer.class_name in TRANSPOSED


def window_of(layer: Serialized) -> Window | None:
    """Return the window of a convolution; None where its arrays do not fit its config, or it is not understood."""
    config = layer.config
    shapes = [tuple(array.shape) for array in layer.arrays]
    axes = next((n for n in (1, 2, 3) if f"{n}D" in layer.class_name), 0)
    biased = bool(setting_of(config, "biased", True))
    if not axes or len(shapes) != 1 + biased or len(shapes[0]) != axes + 2:
        return None
    *size, channels, outputs = shapes[0]
    transposed = is_transposed(layer)
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
    found = next((key for key in spellings if key in config), None)
    if found is not None:
        return found
    keras1 = "nb_filter" in config
    return spellings[1] if keras1 and len(spellings) > 1 else spellings[0]


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
