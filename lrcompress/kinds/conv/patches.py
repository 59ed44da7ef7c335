"""What a window covers at random positions of its inputs."""

from __future__ import annotations

import math

import numpy as np

from lrcompress.kinds.conv.window import Window
from lrcompress.kinds.linear import POSITIONS
from lrcompress.kinds.protocol import Array


def patches(inputs: Array, window: Window, seed: int) -> Array:
    """Return what the window covers at some positions of each sample, (k, window * channels)."""
    inputs = _channels_last(inputs, window)
    shape = inputs.shape[-window.axes - 1 : -1]
    images = inputs.reshape(len(inputs), -1, *shape, inputs.shape[-1])
    samples, steps = images.shape[:2]
    sample, step, corners = _drawn(samples, steps, window.grid(shape), seed)
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
    outputs = _channels_last(outputs, window)
    grid = outputs.shape[-window.axes - 1 : -1]
    images = outputs.reshape(len(outputs), -1, *grid, outputs.shape[-1])
    samples, steps = images.shape[:2]
    sample, step, corners = _drawn(samples, steps, grid, seed)
    return np.asarray(images[(sample, step, *corners)])


def _channels_last(images: Array, window: Window) -> Array:
    return np.moveaxis(images, -window.axes - 1, -1) if window.first else images


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
