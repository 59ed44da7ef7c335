"""Labels as they come: class numbers, or one-hot rows that are class numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError

Parts = dict[str, NDArray[Any]]


def read_labels(parts: Parts) -> Parts:
    """Return the labels of all parts as class numbers where all can be; else as they are, for `fit_labels`."""
    hot = {key: one_hot(y) for key, y in parts.items()}
    widths = {y.shape[1:] for key, y in parts.items() if hot[key]}
    # Rows that are one-hot in one part alone, as few may happen to be, are no class numbers.
    mixed = any(y.shape[1:] in widths for key, y in parts.items() if not hot[key])
    read = whole_numbers if mixed else class_numbers
    try:
        return {key: read(y) for key, y in parts.items()}
    except DatasetError:
        return {key: np.asarray(y, np.float32) for key, y in parts.items()}


def is_binary(*parts: NDArray[Any]) -> bool:
    """Return whether there are only zeros and ones."""
    return all(bool(((y == 0) | (y == 1)).all()) for y in parts)


def one_hot(y: NDArray[Any]) -> bool:
    """Return whether every row holds a single 1 among zeros."""
    rows = y.ndim >= 2 and y.shape[-1] > 1 and y.size > 0
    return rows and is_binary(y) and bool((y.sum(axis=-1) == 1).all())


def class_numbers(labels: NDArray[Any], what: str = "labels") -> NDArray[np.int64]:
    """Return class numbers from class numbers or one-hot rows."""
    check_numeric(labels, what)
    if one_hot(labels):
        return np.asarray(labels.argmax(axis=-1), np.int64)
    return whole_numbers(labels, what)


def check_numeric(labels: NDArray[Any], what: str) -> None:
    """Refuse labels that are not numbers."""
    if labels.dtype.kind not in "uifb" or labels.size == 0:
        msg = (
            f"{what} has shape {labels.shape} and dtype {labels.dtype}; expected class numbers, "
            "one-hot rows, rows of zeros and ones, or the numbers of a regression."
        )
        raise DatasetError(msg, code="dataset_labels")


def whole_numbers(labels: NDArray[Any], what: str = "labels") -> NDArray[np.int64]:
    """Return class numbers as they are, int64; a last axis of one is dropped."""
    if labels.ndim >= 2 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    # NaN and what is too large become some number, which the comparison then finds to differ.
    with np.errstate(invalid="ignore"):
        numbers = labels.astype(np.int64)
    if (numbers != labels).any() or numbers.min() < 0:
        msg = f"{what} holds values that are not class numbers 0, 1, 2, ...; expected those or one-hot rows."
        raise DatasetError(msg, code="dataset_labels")
    return numbers
