"""`LowRankCallback`: which ranks the layers of a network would allow while it trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lrcompress
from lrcompress.errors import UnsupportedModelError

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras
X = np.random.default_rng(0).normal(size=(64, 8, 8, 2)).astype("float32")
Y = np.random.default_rng(1).integers(0, 4, 64)


def network() -> Any:
    """Return a small network with a nested model, compiled."""
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(16, activation="relu", name="deep")], name="inner"
    )
    model = keras.Sequential([
        keras.Input((8, 8, 2)),
        keras.layers.Conv2D(12, 3, name="conv"),
        keras.layers.BatchNormalization(),
        keras.layers.Reshape((36, 12)),
        keras.layers.Bidirectional(keras.layers.LSTM(6, dropout=0.1), name="both"),
        inner,
        keras.layers.Dense(4, activation="softmax", name="head"),
    ])  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def test_ranks_stand_in_the_logs_and_in_a_history() -> None:
    """After each epoch, of the matrices that factorize splits; the last are those of the trained weights."""
    model, watch = network(), lrcompress.LowRankCallback(energy=0.9)

    logs = model.fit(X, Y, epochs=2, verbose=0, callbacks=[watch]).history

    assert watch.shapes == {
        "conv": (18, 12), "both": (12, 48), "inner/deep": (12, 16), "head": (16, 4),
    }  # fmt: skip
    assert [entry["epoch"] for entry in watch.history] == [0, 1]
    last = watch.history[-1]
    for path, kernel in (
        ("conv", model.layers[0].kernel), ("inner/deep", model.get_layer("inner").layers[0].kernel),
    ):  # fmt: skip
        array = keras.ops.convert_to_numpy(kernel)
        squares = np.linalg.svd(array.reshape(-1, array.shape[-1]), compute_uv=False) ** 2
        rank = int(np.argmax(np.cumsum(squares) / squares.sum() >= 0.9)) + 1
        assert last["ranks"][path] == logs[f"rank/{path}"][-1] == rank
    weights = {path: m * n for path, (m, n) in watch.shapes.items()}
    left = {
        path: min(last["ranks"][path] * (m + n), m * n) for path, (m, n) in watch.shapes.items()
    }
    share = sum(left.values()) / sum(weights.values())
    assert last["lowrank_share"] == logs["lowrank_share"][-1] == pytest.approx(share)


def test_some_layers_every_other_epoch() -> None:
    """By name or path; a network is trained again with the same callback."""
    model = network()
    watch = lrcompress.LowRankCallback(layers=["head", "inner/deep"], every=2)

    for _ in range(2):
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[watch])

        assert [entry["epoch"] for entry in watch.history] == [1]
        assert set(watch.history[0]["ranks"]) == {"head", "inner/deep"}


def test_names_that_are_none() -> None:
    """Before the first step, with what there is."""
    model = network()

    with pytest.raises(UnsupportedModelError, match=r"no layer 'haed'.* Did you mean 'head'"):
        model.fit(X, Y, verbose=0, callbacks=[lrcompress.LowRankCallback(layers=["haed"])])
    with pytest.raises(lrcompress.LRCompressError, match="above 0 and at most 1"):
        lrcompress.LowRankCallback(energy=95)
    plain = keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Flatten()])
    plain.compile("sgd", "mse")
    with pytest.raises(UnsupportedModelError, match="no layer with a matrix to watch"):
        plain.fit(X, np.zeros((64, 128)), verbose=0, callbacks=[lrcompress.LowRankCallback()])
