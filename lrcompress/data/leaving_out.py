"""A test part for data that have none: left out of the training part by a seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import count, take
from lrcompress.errors import DatasetError

PART = ("x_train", "y_train", "sample_weight_train")
# One sample in so many, and at most so many.
ONE_IN, MOST = 5, 10_000


def leave_out(found: Mapping[str, Any], source: str, seed: int, *, whole: bool) -> dict[str, Any]:
    """Return a training and a test part of training data, by name: a seeded fifth, or all of them twice.

    Raises:
        DatasetError: If there are too few samples.
    """
    train = {key: found[key] for key in PART if found.get(key) is not None}
    n = count(found["x_train"])
    order = counted(n, found.get("sample_weight_train"))
    order = np.random.default_rng(seed).permutation(order)
    size = min(len(order) // ONE_IN, MOST) if len(order) >= ONE_IN else 1
    # Sorted, so that reading stays sequential.
    test = np.sort(order[:size])
    rest = np.delete(np.arange(n), test)
    if whole:
        return {key.replace("_train", "_test"): array for key, array in train.items()}
    if len(rest) == 0:
        msg = (
            f"{source} has {n} samples; expected at least three: one of them is left for the test."
        )
        raise DatasetError(msg, code="dataset_shape")
    return {key.replace("_train", "_test"): take(array, test) for key, array in train.items()} | {
        key: take(array, rest) for key, array in train.items()
    }


def counted(samples: int, weights: NDArray[Any] | None) -> NDArray[np.int64]:
    """Return the positions of the samples with a weight above 0: without any of them a part measures nothing."""
    if weights is None:
        return np.arange(samples)
    return np.flatnonzero(weights.reshape(samples, -1).any(axis=1))
