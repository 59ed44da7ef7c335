"""What a window covers at random positions of its inputs."""

from __future__ import annotations

import math

import numpy as np

from lrcompress.kinds.conv.window import Window
from lrcompress.kinds.linear import POSITIONS
from lrcompress.kinds.protocol import Array


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
