"""The written files in Keras itself: they load in safe mode, and say the same as before."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.modelfile import (
    ModelFile,
    Replacement,
    Site,
    find_head,
    open_model,
    write_replaced,
)

pytestmark = pytest.mark.keras

Splitter = Callable[[ModelFile, Site], Replacement]


@pytest.fixture(scope="module")
def keras() -> Any:
    """Return Keras, imported once."""
    return pytest.importorskip("keras")


def plain(k: Any) -> Any:
    """Dense layers in a row, the last with softmax."""
    layers = k.layers
    return k.Sequential(
        [k.Input((6,)), layers.Dense(8, "relu"), layers.Dense(7), layers.Dense(5, "softmax")]
    )


def no_input(k: Any) -> Any:
    """A Sequential that was built by its first data."""
    model = k.Sequential([k.layers.Dense(8), k.layers.Dense(5)])
    model.build((None, 6))
    return model


def after(k: Any) -> Any:
    """A convolutional network with layers after its head."""
    layers = k.layers
    parts = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(5)]
    tail = [layers.BatchNormalization(), layers.Dropout(0.2), layers.Softmax()]
    return k.Sequential([k.Input((5, 5, 2)), *parts, *tail])


def heads(k: Any) -> Any:
    """Two outputs of one trunk, in an order unlike that of creation."""
    x = k.Input((6,))
    trunk = k.layers.Dense(6)(x)
    one, two = k.layers.Dense(4, name="z")(trunk), k.layers.Dense(4, name="a")(trunk)
    return k.Model(x, [two, one])


def residual(k: Any) -> Any:
    """Branches of unequal length that meet."""
    x, dense = k.Input((6,)), k.layers.Dense
    left = dense(6)(x)
    right = dense(6)(dense(6, "relu")(dense(6)(left)))
    return k.Model(x, [dense(3)(k.layers.Add()([left, right])), dense(6)(x)])


def nested(k: Any) -> Any:
    """Models in models, the way an autoencoder is built."""
    dense, inner, outer = k.layers.Dense, k.Input((6,)), k.Input((6,))
    norm = k.layers.BatchNormalization()
    encoder = k.Model(inner, dense(6)(norm(dense(6, "relu")(inner))), name="encoder")
    decoder = k.Sequential([k.Input((6,)), dense(6), dense(4)], name="decoder")
    return k.Model(outer, decoder(dense(6)(encoder(outer))))


def frozen(k: Any) -> Any:
    """A nested model in which some layers are frozen: its list of weights has two parts."""
    dense, inner, outer = k.layers.Dense, k.Input((6,)), k.Input((6,))
    first = dense(6, name="f1", trainable=False)(inner)
    middle = dense(6, name="t1")(k.layers.BatchNormalization()(first))
    ends = [dense(6, name="f2", trainable=False)(middle), dense(6, name="t2")(inner)]
    return k.Model(outer, k.Model(inner, ends, name="part")(outer))


def siamese(k: Any) -> Any:
    """One nested model called on two inputs."""
    dense, inner = k.layers.Dense, k.Input((6,))
    tower = k.Model(inner, dense(6)(dense(6, "relu")(inner)), name="tower")
    left, right = k.Input((6,)), k.Input((6,))
    return k.Model([left, right], dense(2)(k.layers.Subtract()([tower(left), tower(right)])))


def shared(k: Any) -> Any:
    """One Dense called twice, once on its own output."""
    dense, x = k.layers.Dense(6, name="twice"), k.Input((6,))
    return k.Model(x, k.layers.Dense(3)(dense(k.layers.ReLU()(dense(x)))))


def steps(k: Any) -> Any:
    """Dense layers over sequences, bare and wrapped."""
    layers = k.layers
    rnn = layers.Bidirectional(layers.LSTM(5, return_sequences=True))
    wrapped = layers.TimeDistributed(layers.Dense(4, "softmax"))
    return k.Sequential([k.Input((4, 6)), rnn, layers.Dense(6), wrapped])


def mixed(k: Any) -> Any:
    """Mixed precision: float32 kernels, float16 arithmetic."""
    x = k.Input((6,))
    hidden = k.layers.Dense(6, dtype="mixed_float16")(x)
    return k.Model(x, k.layers.Dense(4, dtype="float32", use_bias=False)(hidden))


def double(k: Any) -> Any:
    """Kernels in float64."""
    x = k.Input((6,))
    return k.Model(x, k.layers.Dense(4, dtype="float64", bias_initializer="ones")(x))


def attention(k: Any) -> Any:
    """Operations and layers with Dense-like layers inside."""
    x = k.Input((4, 6))
    mixed_up = k.layers.MultiHeadAttention(2, 3)(query=x, value=x)
    pooled = k.layers.GlobalAveragePooling1D()(k.layers.Add()([x, mixed_up]))
    return k.Model(x, k.layers.Dense(3)(pooled))


MODELS = [
    plain, no_input, after, heads, residual, nested, frozen, siamese, shared, steps, mixed, double,
    attention,
]  # fmt: skip


def outputs(k: Any, model: Any) -> list[np.ndarray]:
    """Return a model's outputs on fixed random inputs."""
    rng = np.random.default_rng(3)
    inputs = [rng.normal(size=[2, *x.shape[1:]]).astype("float32") for x in model.inputs]
    found = model(inputs if len(inputs) > 1 else inputs[0])
    return [np.asarray(k.ops.convert_to_numpy(t), "float64") for t in k.tree.flatten(found)]


def scatter(model: Any) -> None:
    """Give every weight a value of its own, so that a swap shows in the output."""
    rng = np.random.default_rng(4)
    model.set_weights([rng.uniform(0.1, 0.6, w.shape).astype(w.dtype) for w in model.get_weights()])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras remarks on HDF5 and unusual dtypes
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_full_rank_splits_change_no_output(
    keras: Any, tmp_path: Path, halves: Splitter, build: Callable[[Any], Any], suffix: str
) -> None:
    """Split alone or together, Dense layers of full rank leave the model's function as it was."""
    keras.backend.clear_session()
    original = build(keras)
    scatter(original)
    expected = outputs(keras, original)
    original.save(tmp_path / f"model{suffix}")
    model = open_model(tmp_path / f"model{suffix}")
    layers = model.sites
    assert model.parameters == original.count_params()
    assert layers

    for chosen in ([layer] for layer in layers) if len(layers) > 1 else ():
        compare(keras, model, [halves(model, x) for x in chosen], expected, tmp_path)
    compare(keras, model, [halves(model, x) for x in layers], expected, tmp_path)


def compare(
    k: Any, model: ModelFile, halves: list[Replacement], expected: list[np.ndarray], folder: Path
) -> None:
    """Write, load in plain Keras in safe mode, and compare outputs and counts."""
    path = folder / f"out{model.path.suffix}"
    written = write_replaced(model, halves, path, overwrite=True)
    loaded = k.saving.load_model(path, compile=False, safe_mode=True)
    tolerance = 1e-2 if any("mixed" in str(x.dtype_policy.name) for x in loaded.layers) else 1e-5

    assert written.parameters == loaded.count_params()
    for before, now in zip(expected, outputs(k, loaded), strict=True):
        np.testing.assert_allclose(now, before, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_compile_settings_survive(
    keras: Any, tmp_path: Path, halves: Splitter, suffix: str
) -> None:
    """Optimizer, its settings, loss and metrics load as they were."""
    original = plain(keras)
    rate = 0.0123
    original.compile(
        keras.optimizers.SGD(rate, momentum=0.5), "categorical_crossentropy", metrics=["accuracy"]
    )
    original.fit(np.ones((4, 6)), np.eye(5)[:4], verbose=0)
    original.save(tmp_path / f"model{suffix}")
    model = open_model(tmp_path / f"model{suffix}")
    assert model.optimizer_bytes > 0

    write_replaced(model, [halves(model, find_head(model))], tmp_path / f"out{suffix}")
    loaded = keras.saving.load_model(tmp_path / f"out{suffix}")

    assert loaded.compiled
    assert getattr(loaded.loss, "__name__", loaded.loss) == "categorical_crossentropy"
    assert float(loaded.optimizer.learning_rate) == pytest.approx(rate)
    assert loaded.optimizer.momentum == 0.5
    history = loaded.fit(np.ones((4, 6)), np.eye(5)[:4], verbose=0)
    assert np.isfinite(history.history["loss"][0])


def test_a_written_archive_loads_without_a_warning(
    keras: Any, tmp_path: Path, halves: Splitter
) -> None:
    """A model that was not compiled gives Keras nothing to remark on."""
    plain(keras).save(tmp_path / "model.keras")
    model = open_model(tmp_path / "model.keras")
    write_replaced(model, [halves(model, find_head(model))], tmp_path / "out.keras")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = keras.saving.load_model(tmp_path / "out.keras")

    assert [layer.name for layer in loaded.layers][-2:] == [
        f"{model.layers[-1].name}_lowrank",
        model.layers[-1].name,
    ]
