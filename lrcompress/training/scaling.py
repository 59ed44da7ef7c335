"""How raw inputs become what a network was trained on.

A scaling is written as one word, so that a model file, a run record and the command line can all
carry it: ``as-is``, ``/255`` (divide), ``/127.5-1`` (divide, then subtract 1), ``standardized``
(per channel, by the mean and deviation of the training inputs).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError

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
    """

    name: str
    divisor: NDArray[np.float32]
    offset: NDArray[np.float32]

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the scaled inputs, float32, same shape."""
        scaled = np.asarray(x, dtype=np.float32)
        if self.name == "as-is":
            return scaled
        scaled = scaled / self.divisor
        if self.offset.any():
            scaled -= self.offset
        return scaled


def parse(name: str, x_train: NDArray[Any]) -> Scaling:
    """Return the scaling that a word stands for.

    Args:
        name: ``as-is``, ``/D``, ``/D-1`` or ``standardized``.
        x_train: Raw training inputs, for ``standardized``; the last axis holds the channels
            where there are at least three axes beside the samples, else one number serves all.

    Raises:
        DatasetError: If `name` is none of these.
    """
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
    msg = f"Unknown scaling {name!r}; expected as-is, /255, /127.5-1, standardized, or /NUMBER."
    raise DatasetError(msg, code="scaling")


def candidates(x_train: NDArray[Any]) -> list[str]:
    """Return the usual scalings, likeliest first; ``/MAX`` where the data do not end at 1 or 255."""
    names = ["/255", "as-is", "/127.5-1", "standardized"]
    largest = float(x_train.max())
    if largest > 0 and largest not in (1.0, 255.0) and largest.is_integer():
        names.insert(1, f"/{int(largest)}")
    return names


def detect(
    error_rate: Callable[[NDArray[np.float32]], float], x_train: NDArray[Any], classes: int
) -> tuple[Scaling, dict[str, float]]:
    """Find the scaling under which the original model is least wrong on training data.

    Args:
        error_rate: Error in percent of the original model on scaled inputs.
        x_train: Raw training inputs to judge by.
        classes: Number of classes, which sets what guessing would give.

    Returns:
        The scaling and the error rate of each candidate.

    Raises:
        DatasetError: If the model is near chance under all of them.
    """
    scores = {name: error_rate(parse(name, x_train)(x_train)) for name in candidates(x_train)}
    best = min(scores, key=scores.__getitem__)
    chance = 100.0 * (1.0 - 1.0 / classes)
    if scores[best] > CHANCE_MARGIN * chance:
        tried = ", ".join(f"{name}: {score:.1f} %" for name, score in scores.items())
        msg = (
            f"The original model is near chance ({chance:.1f} %) on this data with every scaling "
            f"tried ({tried}); is it the data set it was trained on? Say the right --scaling."
        )
        raise DatasetError(msg, code="scaling_near_chance")
    return parse(best, x_train), scores
