"""Fixtures of the training room's tests: a refusal checker, small digits, a tiny trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.errors import LRCompressError
from lrcompress.training.datasets import Dataset, load

Refuses = Callable[..., AbstractContextManager[None]]


@pytest.fixture(scope="session")
def refuses() -> Refuses:
    """Return a context manager that expects one class, one code, and one line with some words."""

    @contextmanager
    def expect(kind: type[LRCompressError], code: str, *words: str) -> Iterator[None]:
        with pytest.raises(LRCompressError) as refused:
            yield
        message = str(refused.value)
        assert type(refused.value) is kind
        assert refused.value.code == code
        assert "\n" not in message
        assert [word for word in words if word not in message] == []

    return expect


@pytest.fixture(scope="session")
def few_digits() -> Dataset:
    """Return 400 training and 150 test images of the bundled digits."""
    data = load("digits")
    return Dataset(
        "digits",
        data.source,
        data.x_train[:400],
        data.y_train[:400],
        data.x_test[:150],
        data.y_test[:150],
    )


@pytest.fixture(scope="session")
def trained_file(few_digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a network of two Dense layers, trained on the few digits divided by 16."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            keras.layers.Flatten(),
            keras.layers.Dense(24, activation="relu", name="hidden"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax", name="predictions"),
        ],
        name="tiny",
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = few_digits.x_train.astype(np.float32) / 16
    model.fit(x, few_digits.y_train, epochs=15, batch_size=32, verbose=0)
    path = tmp_path_factory.mktemp("trained") / "tiny.keras"
    model.save(path)
    return path


@pytest.fixture(scope="session")
def small_file(trained_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the trained network at rank 3, by the truncated SVD."""
    import lrcompress

    output = tmp_path_factory.mktemp("factorized") / "tiny-rank3.keras"
    return lrcompress.factorize(trained_file, rank=3, method="svd", output=output).output


@pytest.fixture
def load_keras() -> Callable[[Path], Any]:
    """Return the function that loads a whole Keras model."""
    from lrcompress.training.backend import load_model

    return load_model
