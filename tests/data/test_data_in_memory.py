"""Data that live in the program: every usual arrangement gives the same arrays as a file of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import lrcompress
from lrcompress.data import in_memory
from lrcompress.data.sources import load
from lrcompress.errors import DatasetError

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras

DRAW = np.random.default_rng(1)
X, Y, W = DRAW.normal(size=(30, 5)).astype("float32"), DRAW.integers(0, 3, 30), DRAW.random(30)


class Batches(keras.utils.PyDataset):
    """Batches of seven, the last of two; (inputs, labels, weights)."""

    def __len__(self) -> int:
        """Return the number of batches."""
        return 5

    def __getitem__(self, step: int) -> tuple[Any, ...]:
        """Return a batch."""
        part = slice(7 * step, 7 * step + 7)
        return X[part], Y[part], W[part]


class Endless(Batches):
    """Never ends, which it says by None."""

    @property
    def num_batches(self) -> None:
        """Return that nobody knows."""
        return


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (X, "x_train"),
        ([[1.0, 2.0]] * 30, "x_train"),
        ((X,), "x_train"),
        ((X, Y), "x_train y_train"),
        ([X, Y], "x_train y_train"),
        ((X, Y, W), "x_train y_train sample_weight_train"),
        ((X, None, W), "x_train sample_weight_train"),
        (((X, Y), (X, Y)), "x_train y_train x_test y_test"),
        (((X, Y, W), (X, Y, W)), "x_train y_train sample_weight_train x_test y_test sample_weight_test"),
        ((X, Y, X, Y), "x_train y_train x_test y_test"),
        ({"x_train": X, "x_test": X}, "x_train x_test"),
        ({"x": X, "y": Y}, "x_train y_train"),
        ({"train": (X, Y), "test": (X, Y), "val": (X, Y)}, "x_train y_train x_test y_test x_val y_val"),
        ({"train": X, "validation": X}, "x_train x_val"),
        ({"x_train": X, "y_train": Y, "x_valid": X, "y_valid": Y}, "x_train y_train x_val y_val"),
        (Batches(), "x_train y_train sample_weight_train"),
        ((Batches(), Batches()), "x_train y_train sample_weight_train x_test y_test sample_weight_test"),
        ({"train": (X, Y), "test": Batches()}, "x_train y_train x_test y_test sample_weight_test"),
    ],
)  # fmt: skip
def test_arrangements(data: Any, names: str) -> None:
    """Each array under its name, whole and in order."""
    found = in_memory.read(data)

    assert sorted(found) == sorted(names.split())
    for name, array in found.items():
        wanted = {"x": X, "y": Y, "sample_weight": W}[name.rsplit("_", 1)[0]]
        assert np.array_equal(array, wanted) or isinstance(data, list)
    assert load(data).name == "in memory"


def test_several_inputs_by_name_or_in_order() -> None:
    """Dictionaries keep their names; tuples are numbered."""
    both = {"a": X, "b": X}

    assert set(in_memory.read({"x_train": both, "x_train_": X} | {"y_train": Y})["x_train"]) == {
        "a",
        "b",
    }
    assert set(in_memory.read({"x_train.a": X, "x_train.b": X})["x_train"]) == {"a", "b"}
    assert set(in_memory.read((both, Y))["x_train"]) == {"a", "b"}
    assert set(in_memory.read({"x_train": (X, X)})["x_train"]) == {"0", "1"}


def test_a_dataset_of_tensorflow() -> None:
    """Batched or not, with a fixed size or without, by name, weighted, shuffled by nobody."""
    tf = pytest.importorskip("tensorflow")
    single = tf.data.Dataset.from_tensor_slices((X, Y))
    named = tf.data.Dataset.from_tensor_slices(({"a": X, "b": X}, {"c": Y}, W))
    inputs = tf.data.Dataset.from_tensor_slices(X)
    for data in (
        single,
        single.batch(7),
        single.batch(10, drop_remainder=True),
        single.batch(30).prefetch(1),
    ):
        found = in_memory.read(data)
        assert np.array_equal(found["x_train"], X)
        assert np.array_equal(found["y_train"], Y)
    for data in (named, named.batch(4), named.batch(5, drop_remainder=True)):
        found = in_memory.read(data)
        assert np.array_equal(found["x_train"]["b"], X)
        assert np.array_equal(found["y_train"]["c"], Y)
        assert np.array_equal(found["sample_weight_train"], W)
    for data in (inputs, inputs.batch(7)):
        assert np.array_equal(in_memory.read(data)["x_train"], X)
    one_hot = np.eye(3, dtype="float32")[Y]
    hot = in_memory.read(tf.data.Dataset.from_tensor_slices((X, one_hot)))
    assert np.array_equal(hot["y_train"], one_hot)
    with pytest.raises(DatasetError, match="never end"):
        in_memory.read(single.batch(7).repeat())
    pair = in_memory.read((single.batch(7), single.take(6)))
    assert len(pair["x_test"]) == 6


def test_a_loader_of_pytorch() -> None:
    """Batched as it is, or single samples."""
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    for size in (7, None):
        found = in_memory.read(torch.utils.data.DataLoader(data, batch_size=size))
        assert np.array_equal(found["x_train"], X)
        assert np.array_equal(found["y_train"], Y)


def generated() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield a batch."""
    yield X, Y


class Broken(Batches):
    """Fails when it is asked."""

    def __getitem__(self, step: int) -> tuple[Any, ...]:
        """Fail."""
        msg = "no such shard"
        raise OSError(msg)


class Ragged(Batches):
    """Samples of several lengths."""

    def __getitem__(self, step: int) -> tuple[Any, ...]:
        """Return a batch that is one longer each time."""
        return np.zeros((2, 3 + step)), Y[:2]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (generated(), "generator"),
        (42, "expected"),
        (object(), "object"),
        ({}, "nothing"),
        ({"a": X}, "hold a"),
        ((X, Y, X, Y, X), "5 arrays"),
        ((X, "labels.csv"), "one label a sample"),
        ([[1.0], [1.0, 2.0]], "array"),
        (Endless(), "never end"),
        (Broken(), "no such shard"),
        (Ragged(), "pad"),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": np.full(30, np.nan)}, "y_val"),
        ({"x_train": X, "y_train": Y[:7]}, "y_train"),
        (np.array(["a", "b"]), "dtype"),
    ],
)
def test_what_is_no_data(data: Any, word: str) -> None:
    """One line says what was received."""
    with pytest.raises(DatasetError, match=word) as refused:
        load(data)

    assert "\n" not in str(refused.value)


def test_more_than_fits_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are read up to a bound."""
    monkeypatch.setattr(in_memory, "MOST_BYTES", 400)

    with pytest.raises(DatasetError, match="take") as refused:
        load(Batches())

    assert refused.value.code == "dataset_too_large"


@pytest.mark.parametrize("verb", [lrcompress.compare, lrcompress.train_from_scratch])
def test_verbs_that_go_on_later_want_a_file(verb: Callable[..., Any]) -> None:
    """They must find their data again."""
    with pytest.raises(DatasetError, match=r"numpy\.savez") as refused:
        verb(dataset=(X, Y))

    assert refused.value.code == "dataset_in_memory"
