"""Live Keras models: a smaller one comes out, and the first stays as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrcompress
from lrcompress.errors import UnsupportedModelError

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras

X = np.random.default_rng(0).normal(size=(9, 12)).astype("float32")


@keras.saving.register_keras_serializable("lrcompress_tests")
class Block(keras.layers.Layer):
    """A layer with a Dense inside and a weight of its own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inner = keras.layers.Dense(16, activation="relu", name="inner")

    def build(self, shape: tuple[int, ...]) -> None:
        """Add a weight."""
        self.scale = self.add_weight(shape=(16,), initializer="normal", name="scale")
        self.inner.build(shape)

    def call(self, x: Any) -> Any:
        """Scale the Dense's output."""
        return self.inner(x) * self.scale


@keras.saving.register_keras_serializable("lrcompress_tests")
class Network(keras.Model):
    """A subclassed model with a custom layer, batch normalization and a head."""

    def __init__(self, units: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.block = Block()
        self.norm = keras.layers.BatchNormalization()
        self.head = keras.layers.Dense(units, activation="softmax", name="head")

    def call(self, x: Any, training: bool = False) -> Any:
        """Block, normalization, head."""
        return self.head(self.norm(self.block(x), training=training))

    def get_config(self) -> dict[str, Any]:
        """Return what __init__ takes."""
        return {"units": self.units, "name": self.name}


def outputs(model: Any) -> np.ndarray:
    """Return a model's outputs on some inputs."""
    return np.asarray(keras.ops.convert_to_numpy(model(X)))


def trained(model: Any) -> Any:
    """Compile and train a little, so that no weight is at its start."""
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X, np.arange(len(X)) % 8, epochs=2, verbose=0)
    return model


@pytest.mark.parametrize("layer", ["head", "inner"])
def test_a_named_layer_of_a_subclassed_model(layer: str) -> None:
    """At full rank the copy computes the same; the original keeps every bit."""
    model = trained(Network())
    before, expected = model.get_weights(), outputs(model)

    result = lrcompress.factorize(model, layer=layer, rank=8 if layer == "head" else 12, force=True,
                                  method="svd")  # fmt: skip

    assert np.abs(outputs(result.model) - expected).max() < 1e-5
    assert type(result.model) is Network
    assert all(map(np.array_equal, before, model.get_weights()))
    assert result.parameters_after == sum(w.size for w in result.model.get_weights())
    result.model.fit(X, np.arange(len(X)) % 8, verbose=0)


def test_a_low_rank_copy_has_the_product_in_it() -> None:
    """The copy's outputs are those of the original with B C for its kernel."""
    model = trained(Network())

    result = lrcompress.factorize(model, layer="head", rank=2)

    model.head.kernel.assign(result.factors.product().astype("float32"))
    if result.factors.bias is not None:
        model.head.bias.assign(result.factors.bias)
    assert np.abs(outputs(result.model) - outputs(model)).max() < 1e-5
    assert result.parameters_before - result.parameters_after == 16 * 8 - 2 * 24


def test_a_subclassed_model_is_kept_where_asked(tmp_path: Path) -> None:
    """With an output the copy is saved as Keras saves it, and loads with its class."""
    result = lrcompress.factorize(
        trained(Network()), layer="head", rank=3, output=tmp_path / "small.keras"
    )

    assert result.output == tmp_path / "small.keras"
    assert result.output.exists()


@pytest.mark.parametrize("layer", [None, "nowhere", "block"])
def test_what_cannot_be_found_is_refused(layer: str | None) -> None:
    """Without a name, or with a wrong one, the Dense layers that could be named are listed."""
    with pytest.raises(UnsupportedModelError, match="head, inner") as refused:
        lrcompress.factorize(trained(Network()), layer=layer, rank=2)

    assert refused.value.code in ("subclassed", "no_such_layer")


def test_what_cannot_be_rebuilt_is_refused() -> None:
    """A class whose layers come from nowhere is left alone, in one line that says what to do."""

    class Odd(keras.Model):
        def __init__(self, parts: Any) -> None:
            super().__init__()
            self.parts = parts

        def call(self, x: Any) -> Any:
            for part in self.parts:
                x = part(x)
            return x

    model = Odd([keras.layers.Dense(9, name="a"), keras.layers.Dense(7, name="b")])
    model(X)
    before = model.get_weights()

    with pytest.raises(UnsupportedModelError, match="yourself") as refused:
        lrcompress.factorize(model, layer="b", rank=2)

    assert refused.value.code == "subclassed"
    assert "\n" not in str(refused.value)
    assert all(map(np.array_equal, before, model.get_weights()))


def test_custom_layers_and_lambdas_in_a_functional_model() -> None:
    """Classes of the live model are at hand: nothing has to be registered for the way back."""

    class Doubling(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    inputs = keras.Input((12,))
    hidden = keras.layers.Lambda(lambda t: t + 1)(Doubling()(inputs))
    encoder = keras.Sequential([keras.Input((12,)), keras.layers.Dense(10, activation="relu")])
    outputs_ = keras.layers.Dense(8, activation="softmax", name="head")(encoder(hidden))
    model = keras.Model(inputs, outputs_)

    result = lrcompress.factorize(model, rank=8, force=True, method="svd")

    assert np.abs(outputs(result.model) - outputs(model)).max() < 1e-5
