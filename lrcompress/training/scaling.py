"""How raw inputs become what a network was trained on.

A scaling is written as one word, so that a model file, a run record and the command line can all
carry it: ``as-is``, ``/255`` (divide), ``/127.5-1`` (divide, then subtract 1), ``standardized``
(per channel, by the mean and deviation of the training inputs).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError, did_you_mean
from lrcompress.training.arrays import Arrays
from lrcompress.training.named import SCALINGS

_DIVIDE = re.compile(r"/(\d+(?:\.\d+)?)(-1)?")
# An error rate must be this much better than guessing before a scaling is believed.
CHANCE_MARGIN = 0.9


@dataclass(frozen=True)
class Scaling:
    """``x / divisor - offset``, with one number or one number a channel.

    Attributes:
        name: ``as-is``, ``/D``, ``/D-1`` or ``standardized``.
        divisor: Scalar or (channels,), float32.
        offset: Scalar or (channels,), float32.
        each: For a model with several inputs the scaling of each, by name.
    """

    name: str
    divisor: NDArray[np.float32]
    offset: NDArray[np.float32]
    each: dict[str, Scaling] = field(default_factory=dict)

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
        scaled = scaled / self.divisor
        if self.offset.any():
            scaled -= self.offset
        return scaled


def parse(name: str, x_train: Arrays) -> Scaling:
    """Return the scaling that a word stands for.

    Args:
        name: ``as-is``, ``/D``, ``/D-1`` or ``standardized``.
        x_train: Raw training inputs, for ``standardized``; the last axis holds the channels
            where there are at least three axes beside the samples, else one number serves all.
            Of several inputs only images are scaled, see `image_like`.

    Raises:
        DatasetError: If `name` is none of these, or several inputs hold no image to scale.
    """
    if isinstance(x_train, dict):
        return _parse_each(name, x_train)
    zero = np.zeros((), np.float32)
    if name == "as-is":
        return Scaling(name, np.ones((), np.float32), zero)
    if name == "standardized":
        axes = tuple(range(x_train.ndim - 1)) if x_train.ndim == 4 else None
        mean = np.mean(x_train, axis=axes, dtype=np.float64)
        # A channel that never changes has no deviation to divide by.
        std = np.maximum(np.std(x_train, axis=axes, dtype=np.float64), 1e-7)
        return Scaling(name, np.asarray(std, np.float32), np.asarray(mean / std, np.float32))
    match = _DIVIDE.fullmatch(name)
    if match and float(match[1]) > 0:
        return Scaling(name, np.asarray(match[1], np.float32), zero + bool(match[2]))
    msg = f"Unknown scaling {name!r}; expected {', '.join(SCALINGS)}, or /NUMBER.{did_you_mean(name, SCALINGS)}"
    raise DatasetError(msg, code="scaling")


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


def candidates(x_train: NDArray[Any]) -> list[str]:
    """Return the usual scalings, likeliest first; ``/MAX`` where the data do not end at 1 or 255."""
    names = ["/255", "as-is", "/127.5-1", "standardized"]
    largest = float(x_train.max())
    if largest > 0 and largest not in (1.0, 255.0) and largest.is_integer():
        names.insert(1, f"/{int(largest)}")
    return names


def detect(
    error: Callable[[Arrays], float], x_train: Arrays, classes: int | None
) -> tuple[Scaling, dict[str, float]]:
    """Find the scaling under which the original model is least wrong on training data.

    Args:
        error: Of the original model on scaled inputs: in percent for a classifier.
        x_train: Raw training inputs to judge by.
        classes: Number of classes, which sets what guessing would give; None for a model that is
            no classifier, of which nothing is known in advance.

    Returns:
        The scaling and the error of each candidate.

    Raises:
        DatasetError: If a classifier is near chance under all of them.
    """
    arrays = list(x_train.values()) if isinstance(x_train, dict) else [x_train]
    judged = next((array for array in arrays if image_like(array)), arrays[0])
    scores = {name: error(_scaled(name, x_train)) for name in candidates(judged)}
    best = min(scores, key=scores.__getitem__)
    chance = 100.0 * (1.0 - 1.0 / (classes or 1))
    if classes is not None and scores[best] > CHANCE_MARGIN * chance:
        tried = ", ".join(f"{name}: {score:.1f} %" for name, score in scores.items())
        msg = (
            f"The original model is near chance ({chance:.1f} %) on this data with every scaling "
            f"tried ({tried}); is it the data set it was trained on? Say the right --scaling."
        )
        raise DatasetError(msg, code="scaling_near_chance")
    return parse(best, x_train), scores


def _scaled(name: str, x: Arrays) -> Arrays:
    return parse(name, x)(x)
