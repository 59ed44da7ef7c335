"""How raw inputs become what a network was trained on.

A scaling is written as one word, so that a model file, a run record and the command line can all
carry it: ``as-is``, ``/255`` (divide), ``/127.5-1`` (divide, then subtract 1), ``standardized``
(by the mean and deviation of the training inputs: of each channel of images, else of all numbers),
``standardized-columns`` (of each number of the last axis), ``per-image`` (each by its own mean and
deviation), ``x-128``, ``caffe`` (blue first, less the mean of ImageNet), ``torch`` (divided by 255,
less its mean, by its deviation), ``bgr`` (blue first) and ``bgr/255``. `live.scaling_search` finds the right one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays
from lrcompress.data.named import DIVIDES, check_scaling
from lrcompress.errors import DatasetError

# Of ImageNet: bytes, blue first, and shares of 255, red first.
CAFFE_MEAN = (103.939, 116.779, 123.68)
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Scaling:
    """``x / divisor - offset``, with one number or one number a channel."""

    name: str
    divisor: NDArray[np.float32]
    offset: NDArray[np.float32]
    each: dict[str, Scaling] = field(default_factory=dict)  # by name, of several inputs
    blue_first: bool = False  # the channels are reversed before

    @overload
    def __call__(self, x: NDArray[Any]) -> NDArray[np.float32]: ...
    @overload
    def __call__(self, x: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]: ...

    def __call__(self, x: Arrays) -> NDArray[np.float32] | dict[str, NDArray[np.float32]]:
        """Return the scaled inputs, float32, same shape."""
        if isinstance(x, dict):
            return {name: self.each[name](array) for name, array in x.items()}
        scaled = np.asarray(x, dtype=np.float32)
        if self.name == "as-is":
            return scaled
        if self.name == "per-image":
            return _per_image(scaled)
        if self.blue_first:
            scaled = scaled[..., ::-1]
        scaled = scaled / self.divisor
        if self.offset.any():
            scaled -= self.offset
        return scaled


def _per_image(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each sample less its mean, by its deviation, as `tf.image.per_image_standardization`."""
    axes = tuple(range(1, x.ndim))
    least = 1 / np.sqrt(max(x[0].size, 1)) if len(x) else 1.0
    deviation = np.maximum(x.std(axis=axes, keepdims=True), least)
    return np.asarray((x - x.mean(axis=axes, keepdims=True)) / deviation, np.float32)


def parse(name: str, x_train: Arrays) -> Scaling:
    """Return the scaling that a word stands for, given raw training inputs for what is standardized."""
    if isinstance(x_train, dict):
        return _parse_each(name, x_train)
    check_scaling(name)
    blue_first = name.startswith(("bgr", "caffe"))
    if (blue_first or name == "torch") and (x_train.ndim < 3 or x_train.shape[-1] != 3):
        msg = (
            f"Scaling {name!r} is for images of three channels; received inputs of shape "
            f"{x_train.shape[1:]}: give another --scaling."
        )
        raise DatasetError(msg, code="scaling")
    divisor, offset = _numbers(name, x_train)
    return Scaling(
        name, np.asarray(divisor, np.float32), np.asarray(offset, np.float32), blue_first=blue_first
    )


def _numbers(name: str, x_train: NDArray[Any]) -> tuple[Any, Any]:
    """Return what is divided by, and what is subtracted then."""
    if name.startswith("standardized"):
        columns = name == "standardized-columns" or x_train.ndim == 4
        axes = tuple(range(x_train.ndim - 1)) if columns else None
        mean = np.mean(x_train, axis=axes, dtype=np.float64)
        # A channel that never changes has no deviation to divide by.
        std = np.maximum(np.std(x_train, axis=axes, dtype=np.float64), 1e-7)
        return std, mean / std
    # Shares between 0 and 1 are multiplied by 255 first.
    unit = 255 if is_unit(x_train) else 1
    if name == "caffe":
        return 1 / unit, CAFFE_MEAN
    if name == "torch":
        return np.multiply(TORCH_STD, 255 / unit), np.divide(TORCH_MEAN, TORCH_STD)
    if name == "x-128":
        return 1 / unit, 128
    match = DIVIDES.fullmatch(name)
    return (match[1], int(bool(match[2]))) if match else (1, 0)


def is_unit(x: NDArray[Any]) -> bool:
    """Return whether inputs are shares between 0 and 1 already, not bytes."""
    return x.dtype.kind == "f" and x.size > 0 and float(x.min()) >= 0 and float(x.max()) <= 1


def _parse_each(name: str, x_train: dict[str, NDArray[Any]]) -> Scaling:
    images = [key for key, array in x_train.items() if image_like(array)]
    if name != "as-is" and not images:
        msg = (
            f"Scaling {name!r} is for images, and none of the inputs {', '.join(x_train)} is one "
            "(bytes of shape (samples, height, width), or four axes); expected as-is."
        )
        raise DatasetError(msg, code="scaling")
    each = {k: parse(name if k in images else "as-is", array) for k, array in x_train.items()}
    return Scaling(name, np.ones((), np.float32), np.zeros((), np.float32), each)


def image_like(x: NDArray[Any]) -> bool:
    """Return whether raw inputs look like images: bytes in two dimensions, or four axes in all."""
    return x.ndim == 4 or (x.ndim == 3 and x.dtype == np.uint8)
