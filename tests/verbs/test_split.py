"""One live layer becomes two, which stand in for it in a model of any class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lrcompress
from lrcompress.errors import LRCompressError, RankError, UnsupportedModelError

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras

X = np.random.default_rng(0).normal(size=(90, 12)).astype("float32")


class Network(keras.Model):
    """A class of its own, as docs/python.md has it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.layers.Dense(16, activation="relu", name="inner")
        self.head = keras.layers.Dense(8, activation="softmax", name="head")

    def call(self, x: Any) -> Any:
        """Hidden layer, head."""
        return self.head(self.inner(x))


class Smaller(keras.Model):
    """The same with two layers in the place of the head."""

    def __init__(self, model: Network, **options: Any) -> None:
        super().__init__()
        self.inner = model.inner
        self.first, self.head = lrcompress.split(model.head, **options)

    def call(self, x: Any) -> Any:
        """Hidden layer, first factor, second factor."""
        return self.head(self.first(self.inner(x)))


def outputs(model: Any) -> Any:
    """Return a model's outputs on some inputs."""
    return keras.ops.convert_to_numpy(model(X))


def built(layer: Any, *shapes: Any) -> Any:
    """Return a layer, built for inputs of some shapes."""
    layer.build(*shapes)
    return layer


@pytest.fixture(scope="module")
def network() -> Network:
    """Return a network that was trained a little, so that no weight is at its start."""
    keras.utils.set_random_seed(0)
    model = Network()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, np.arange(len(X)) % 8, epochs=2, verbose=0)
    return model


def test_two_layers_of_full_rank_compute_the_same(network: Network) -> None:
    """They are built, keep name and activation, and train; the layer itself keeps every bit."""
    before, expected = network.head.get_weights(), outputs(network)

    small = Smaller(network, rank=8)

    assert np.abs(outputs(small) - expected).max() < 1e-5
    assert (small.head.name, small.head.activation) == ("head", keras.activations.softmax)
    assert not small.first.use_bias
    assert all(map(np.array_equal, before, network.head.get_weights()))
    small.compile("adam", "sparse_categorical_crossentropy")
    small.fit(X, np.arange(len(X)) % 8, verbose=0)


def test_kernels_are_those_of_the_method(network: Network) -> None:
    """By default the nearest of its rank to the kernel; with inputs nearer in the outputs."""
    kernel, bias = network.head.get_weights()
    hidden = keras.ops.convert_to_numpy(network.inner(X))

    first, second = lrcompress.split(network.head, 3)
    narrow, wide = lrcompress.split(network.head, 3, method="refined", inputs=hidden)

    nearest = lrcompress.truncated_svd(kernel, 3).product()
    assert np.allclose(first.get_weights()[0] @ second.get_weights()[0], nearest, atol=1e-6)
    assert np.array_equal(second.get_weights()[1], bias)
    assert [layer.kernel.shape for layer in (narrow, wide)] == [(16, 3), (3, 8)]
    expected = outputs(network)
    apart = [
        (expected * np.log(expected / keras.ops.convert_to_numpy(b(a(hidden))))).sum(axis=-1).mean()
        for a, b in ((first, second), (narrow, wide))
    ]
    assert apart[1] < 0.9 * apart[0]


def test_a_layer_on_sequences_stays_one(network: Network) -> None:
    """Whatever axes stand before the last, and in half precision."""
    layer = keras.layers.Dense(6, name="each", dtype="mixed_float16", kernel_regularizer="l2")
    layer.build((None, None, 12))

    first, second = lrcompress.split(layer, 6)

    x = X.reshape(9, 10, 12)
    assert np.allclose(second(first(x)), layer(x), atol=2e-2)
    assert first.compute_dtype == second.compute_dtype == "float16"
    assert second.kernel_regularizer is not None


@pytest.mark.parametrize(
    ("layer", "options", "error", "code"),
    [
        (keras.layers.Dense(3, name="new"), {"rank": 1}, UnsupportedModelError, "not_built"),
        (42, {"rank": 1}, UnsupportedModelError, "not_built"),
        ("head", {"rank": 9}, RankError, "rank_out_of_range"),
        ("head", {"rank": 2, "method": "whitened"}, RankError, "needs_data"),
        ("norm", {"rank": 2}, UnsupportedModelError, "no_dense"),
        ("attention", {"rank": 2}, UnsupportedModelError, "no_dense"),
        ("sum", {"rank": 2}, UnsupportedModelError, "no_dense"),
        ("model", {"rank": 2}, UnsupportedModelError, "no_dense"),
    ],
)
def test_what_cannot_be_split_is_refused(
    network: Network, layer: Any, options: dict[str, Any], error: type[Exception], code: str
) -> None:
    """In one line that names the layer."""
    layers = {
        "head": lambda: network.head,
        "norm": lambda: built(keras.layers.BatchNormalization(name="norm"), (None, 4)),
        "attention": lambda: built(keras.layers.MultiHeadAttention(2, 3), (2, 3, 4), (2, 3, 4)),
        "sum": lambda: built(keras.layers.Add(), [(2, 3), (2, 3)]),
        "model": lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]),
    }

    with pytest.raises(LRCompressError) as refused:
        lrcompress.split(layers[layer]() if layer in layers else layer, **options)

    assert isinstance(refused.value, error)
    assert refused.value.code == code
    assert "\n" not in str(refused.value)


def test_factorize_names_split_for_such_models(network: Network) -> None:
    """A class of its own cannot be edited; the way out stands in the line."""
    with pytest.raises(UnsupportedModelError, match=r"lrcompress\.split") as refused:
        lrcompress.factorize(network, layer="head", rank=2)

    assert refused.value.code == "subclassed"
