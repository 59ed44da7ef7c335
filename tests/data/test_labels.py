"""What labels mean, by the head that they are labels of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.data.class_numbers import read_labels
from lrcompress.data.labels import Output, fit_labels
from lrcompress.errors import DatasetError
from lrcompress.measure import kind_of

pytestmark = pytest.mark.keras
Refuses = Callable[..., AbstractContextManager[None]]
NUMBERS = np.array([0, 1, 2, 1])
BITS = np.array([0, 1, 1, 0])
ONE_HOT = np.eye(3)[NUMBERS]
SEVERAL = np.array([[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
REAL = np.linspace(-1, 2, 12).reshape(4, 3)


def head(activation: str, *shape: int | None, loss: str = "") -> Output:
    """Return an output of a shape."""
    return Output("out", "out", shape, activation, loss)


def fitted(y: NDArray[Any], to: Output) -> NDArray[Any]:
    """Return labels as they are read from a file and then fitted."""
    parts = read_labels({"y_train": y, "y_test": y[:2]})
    return fit_labels(parts, to, "made")["y_train"]


@pytest.mark.parametrize(
    ("y", "to", "kind"),
    [
        (NUMBERS, head("softmax", 3), "classes"),
        (NUMBERS.astype(float), head("linear", 3), "classes"),
        (ONE_HOT, head("softmax", 3), "classes"),
        (ONE_HOT, head("sigmoid", 3), "classes"),
        (ONE_HOT, head("linear", 3, loss="mse"), "classes"),
        (NUMBERS, head("sigmoid", 3), "classes"),
        (BITS, head("sigmoid", 1), "classes"),
        (BITS, head("sigmoid", 1, loss="mse"), "classes"),
        (BITS, head("linear", 1), "classes"),
        (BITS[:, None], head("linear", 1), "classes"),
        (SEVERAL, head("sigmoid", 3), "labels"),
        (SEVERAL.astype(bool), head("sigmoid", 3), "labels"),
        (SEVERAL.astype(float), head("linear", 3, loss="binary_crossentropy"), "labels"),
        (SEVERAL, head("sigmoid", 3, 1), "classes"),
        (SEVERAL, head("softmax", 3, 2), "classes"),
        (SEVERAL, head("linear", 3, loss="mse"), "regression"),
        (BITS, head("linear", 1, loss="mse"), "regression"),
        (NUMBERS, head("linear", 1), "regression"),
        (NUMBERS, head("relu", 1, loss="poisson"), "regression"),
        (-NUMBERS, head("linear", 1), "regression"),
        (REAL, head("linear", 3), "regression"),
        (REAL[:, 0], head("linear", 1), "regression"),
        (REAL, head("linear", 3, 1), "regression"),
        (REAL / 4 + 0.3, head("sigmoid", 3, loss="mse"), "regression"),
        (SEVERAL * 5, head("linear", 3), "regression"),
        (np.stack([NUMBERS] * 5, 1), head("softmax", None, 3), "classes"),
    ],
)
def test_head_and_labels_decide_together(y: NDArray[Any], to: Output, kind: str) -> None:
    """Softmax means classes; sigmoid labels where rows hold any number; linear numbers or logits."""
    found = fitted(y, to)

    assert kind_of(found) == kind
    shape = to.shape[:-1] if kind == "classes" else to.shape
    assert len(found.shape) == 1 + len(shape)
    if kind == "classes" and y is ONE_HOT:
        np.testing.assert_array_equal(found, NUMBERS)
    else:
        np.testing.assert_allclose(found.reshape(y.shape).astype(float), y, rtol=1e-6)


def test_rows_that_happen_to_be_one_hot_are_labels_where_others_are_not() -> None:
    """A few rows of one part may hold a single one each; the other part shows what they are."""
    parts = {"y_train": SEVERAL, "y_test": ONE_HOT}

    found = fit_labels(read_labels(parts), head("sigmoid", 3), "made")

    assert {kind_of(y) for y in found.values()} == {"labels"}
    np.testing.assert_array_equal(found["y_test"], ONE_HOT.astype(bool))


@pytest.mark.parametrize(
    ("y", "to", "words"),
    [
        (REAL, head("softmax", 3), ["softmax", "class numbers or one-hot rows"]),
        (REAL, head("sigmoid", 3), ["sigmoid", "rows of 3 zeros and ones"]),
        (REAL, head("linear", 4), ["(3,)", "numbers of shape (4,)"]),
        (SEVERAL, head("softmax", 3), ["(3,)", "one class number"]),
        (SEVERAL, head("sigmoid", 4), ["(3,)", "sigmoid, shape (4,)"]),
    ],
)
def test_labels_that_cannot_be_of_a_head(
    refuses: Refuses, y: NDArray[Any], to: Output, words: list[str]
) -> None:
    """The line says what was received, what the head is, and what it expects."""
    with refuses(DatasetError, "dataset_labels", "y_train", "made", *words):
        fitted(y, to)


def test_classes_that_the_head_does_not_have(refuses: Refuses) -> None:
    """Too large class numbers are refused with both numbers."""
    with refuses(DatasetError, "dataset_classes", "up to 2", "2 classes"):
        fitted(NUMBERS, head("softmax", 2))
