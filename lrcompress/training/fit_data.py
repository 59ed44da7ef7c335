"""Making a data set fit a model, or saying in one line why it does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError
from lrcompress.training.datasets import Dataset

VALIDATION_FRACTION = 0.1
VALIDATION_MOST = 5_000


@dataclass(frozen=True)
class Split:
    """Training data with a validation part held out, and the test data; unscaled.

    Every choice (rank, epoch, scaling) is made on `x_val`; `x_test` is only for reported figures.
    """

    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_val: NDArray[Any]
    y_val: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]


def fit_to_model(data: Dataset, model: Any) -> Dataset:
    """Return the data set with inputs shaped as the model wants them.

    A missing channel axis is added and images are flattened for a model that takes vectors.

    Raises:
        DatasetError: If the shapes, the labels or the classes cannot belong together.
    """
    if len(model.inputs) != 1:
        msg = f"Model {model.name} has {len(model.inputs)} inputs; expected a classifier with one."
        raise DatasetError(msg, code="model_inputs")
    wanted = tuple(model.inputs[0].shape[1:])
    have = data.x_train.shape[1:]
    shape = _fitting_shape(have, wanted)
    if shape is None:
        msg = (
            f"Data set {data.name} has inputs of shape {have}; the model expects {wanted}: "
            "give the data set that it was trained on."
        )
        raise DatasetError(msg, code="dataset_shape")
    predicted = tuple(model.outputs[0].shape[1:-1])
    for labels in (data.y_train, data.y_test):
        if not _matches(labels.shape[1:], predicted):
            msg = (
                f"Data set {data.name} has labels of shape {labels.shape[1:]} a sample; the model "
                f"makes predictions of shape {predicted}: give one class number for each prediction."
            )
            raise DatasetError(msg, code="dataset_labels")
    units = model.outputs[0].shape[-1]
    classes = max(units, 2) if units is not None else None
    if classes is not None and data.classes > classes:
        msg = (
            f"Data set {data.name} has class numbers up to {data.classes - 1}; the model tells "
            f"{classes} classes apart (0 to {classes - 1}): give the data set that it was trained on."
        )
        raise DatasetError(msg, code="dataset_classes")
    return Dataset(
        data.name,
        data.source,
        data.x_train.reshape(-1, *shape),
        data.y_train,
        data.x_test.reshape(-1, *shape),
        data.y_test,
    )


def _fitting_shape(have: tuple[int, ...], wanted: tuple[int | None, ...]) -> tuple[int, ...] | None:
    options = [have, (*have, 1), have[:-1] if have[-1] == 1 else have, (int(np.prod(have)),)]
    return next((shape for shape in options if _matches(shape, wanted)), None)


def _matches(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    pairs_up = len(shape) == len(wanted)
    return pairs_up and all(w is None or w == s for s, w in zip(shape, wanted, strict=True))


def hold_out(data: Dataset, seed: int) -> Split:
    """Hold a seeded tenth of the training data, at most 5,000 samples, out for validation."""
    n = len(data.x_train)
    size = min(max(1, int(VALIDATION_FRACTION * n)), VALIDATION_MOST)
    order = np.random.default_rng(seed).permutation(n)
    # Sorted, so that reading stays sequential; fit shuffles anyway.
    val, train = np.sort(order[:size]), np.sort(order[size:])
    if len(train) == 0:
        msg = f"Data set {data.name} has {n} training samples; expected at least two."
        raise DatasetError(msg, code="dataset_shape")
    return Split(
        data.x_train[train], data.y_train[train], data.x_train[val], data.y_train[val],
        data.x_test, data.y_test,
    )  # fmt: skip
