"""Merged and re-compressed files in real Keras: they load, and compute what they should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrcompress
from lrcompress.modelfile import (
    ModelFile,
    Replacement,
    Site,
    find_head,
    open_model,
    pair_of,
    write_merged,
    write_replaced,
)

pytestmark = pytest.mark.keras
Splitter = Callable[[ModelFile, Site], Replacement]


@pytest.fixture(scope="module")
def keras() -> Any:
    """Return Keras, imported once."""
    return pytest.importorskip("keras")


def sequential(k: Any) -> Any:
    """A pair in a row of layers; the first with a bias, the second without."""
    dense = k.layers.Dense
    layers = [dense(8, "relu"), dense(3, name="b"), dense(5, "softmax", use_bias=False, name="c")]
    return k.Sequential([k.Input((6,)), *layers])


def first_of_all(k: Any) -> Any:
    """A pair that takes in the model's own input."""
    return k.Sequential([k.Input((6,)), k.layers.Dense(2), k.layers.Dense(4)])


def not_built(k: Any) -> Any:
    """A Sequential that was built by its first data."""
    model = k.Sequential([k.layers.Dense(2, use_bias=False), k.layers.Dense(4)])
    model.build((None, 6))
    return model


def two_heads(k: Any) -> Any:
    """Two pairs on one trunk, of which the shorter way stands second."""
    dense, x = k.layers.Dense, k.Input((6,))
    trunk = dense(6, "relu")(x)
    one = dense(4, name="one")(dense(2, name="u")(trunk))
    two = dense(4, name="two")(dense(2, name="v")(dense(6, "relu")(trunk)))
    return k.Model(x, [two, one])


def residual(k: Any) -> Any:
    """A pair on one of two ways that meet."""
    dense, x = k.layers.Dense, k.Input((6,))
    return k.Model(x, dense(3)(k.layers.Add()([x, dense(6)(dense(2)(x))])))


def nested(k: Any) -> Any:
    """A pair in a nested functional model, and one in a nested Sequential."""
    dense, inner, outer = k.layers.Dense, k.Input((6,)), k.Input((6,))
    norm = k.layers.BatchNormalization()
    encoder = k.Model(inner, norm(dense(6)(dense(2)(dense(6, "relu")(inner)))), name="encoder")
    parts = [k.Input((6,)), dense(2, use_bias=False), dense(4, "tanh")]
    decoder = k.Sequential(parts, name="decoder")
    return k.Model(outer, decoder(encoder(outer)))


def frozen(k: Any) -> Any:
    """A pair of which the second alone is trained, beside frozen layers in a nested model."""
    dense, inner, outer = k.layers.Dense, k.Input((6,)), k.Input((6,))
    x = dense(6, "relu", trainable=False)(inner)
    x = dense(6)(dense(2, trainable=False)(dense(6, "relu")(x)))
    return k.Model(outer, k.Model(inner, dense(6, "relu", trainable=False)(x), name="part")(outer))


def steps(k: Any) -> Any:
    """Pairs over sequences, bare and wrapped."""
    layers = k.layers
    bare = [layers.Dense(2), layers.Dense(6, "relu")]
    wrapped = [layers.TimeDistributed(layers.Dense(n)) for n in (3, 4)]
    return k.Sequential([k.Input((4, 6)), *bare, *wrapped])


def half(k: Any) -> Any:
    """Kernels in float16."""
    layers = [k.layers.Dense(2, dtype="float16"), k.layers.Dense(4, "softmax", dtype="float16")]
    return k.Sequential([k.Input((6,)), *layers])


def brain(k: Any) -> Any:
    """Kernels in bfloat16."""
    layers = [k.layers.Dense(2, dtype="bfloat16"), k.layers.Dense(4, dtype="bfloat16")]
    return k.Sequential([k.Input((6,)), *layers])


MODELS = [
    sequential, first_of_all, not_built, two_heads, residual, nested, frozen, steps, half, brain,
]  # fmt: skip
# HDF5 has no bfloat16, and Keras does not mark it there.
CASES = [
    pytest.param(build, suffix, id=f"{build.__name__}{suffix}")
    for build in MODELS
    for suffix in (".keras", ".h5")
    if (build, suffix) != (brain, ".h5")
]
TOLERANCE = {"half": 5e-3, "brain": 5e-2}


def outputs(k: Any, model: Any) -> list[np.ndarray]:
    """Return a model's outputs on fixed random inputs."""
    rng = np.random.default_rng(3)
    inputs = rng.normal(size=(2, *model.inputs[0].shape[1:])).astype("float32")
    return [np.asarray(k.ops.convert_to_numpy(t), "f8") for t in k.tree.flatten(model(inputs))]


def saved(k: Any, build: Callable[[Any], Any], path: Path) -> list[np.ndarray]:
    """Save a model in which no two weights are alike; return its outputs."""
    k.backend.clear_session()
    model, rng = build(k), np.random.default_rng(4)
    model.set_weights(
        [rng.uniform(-0.5, 0.6, w.shape).astype(w.dtype) for w in model.get_weights()]
    )
    # Variances are not negative.
    model.set_weights([np.abs(w) if w.ndim == 1 else w for w in model.get_weights()])
    model.save(path)
    return outputs(k, model)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Keras remarks on HDF5 and unusual dtypes
@pytest.mark.parametrize(("build", "suffix"), CASES)
def test_pairs_that_keras_has_saved(
    keras: Any, tmp_path: Path, halves: Splitter, build: Callable[[Any], Any], suffix: str
) -> None:
    """Merged, each is one layer less; at full rank, no third layer: the outputs stay either way."""
    expected = saved(keras, build, tmp_path / f"model{suffix}")
    model = open_model(tmp_path / f"model{suffix}")
    pairs = [layer for layer in model.sites if layer.rank is not None]
    assert pairs

    merged = write_merged(model, [pair_of(model, p) for p in pairs], tmp_path / f"merged{suffix}")
    exact = write_replaced(model, [halves(model, p) for p in pairs], tmp_path / f"full{suffix}")

    assert len(open_model(merged.path).layers) == len(model.layers) - len(pairs)
    assert [x.path for x in open_model(exact.path).layers] == [x.path for x in model.layers]
    tolerance = TOLERANCE.get(build.__name__, 1e-5)
    for written in (merged, exact):
        loaded = keras.saving.load_model(written.path, compile=False, safe_mode=True)
        assert written.parameters == loaded.count_params()
        for before, now in zip(expected, outputs(keras, loaded), strict=True):
            np.testing.assert_allclose(now, before, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_factorized_model_merges_and_trains_on(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples: Path, suffix: str
) -> None:
    """Outputs are those of the compressed model, layers the original's; it is compiled and takes a step."""
    monkeypatch.chdir(tmp_path)
    small = lrcompress.factorize(examples / f"digits_cnn.{suffix}", rank=4).output

    whole = keras.saving.load_model(lrcompress.merge(small).output)

    original = keras.saving.load_model(examples / f"digits_cnn.{suffix}")
    assert [layer.name for layer in whole.layers] == [layer.name for layer in original.layers]
    models = (keras.saving.load_model(small, compile=False), whole)
    before, now = (outputs(keras, model)[0] for model in models)
    np.testing.assert_allclose(now, before, rtol=1e-4, atol=1e-6)
    x = np.random.default_rng(0).uniform(size=(8, *whole.input_shape[1:]))
    history = whole.fit(x, np.eye(10)[:8], verbose=0)
    assert whole.compiled
    assert np.isfinite(history.history["loss"][0])


def test_recompression_of_a_product_is_its_truncated_svd(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examples: Path
) -> None:
    """Rank 8, then rank 4 of that, is the best rank-4 approximation of what rank 8 had left."""
    monkeypatch.chdir(tmp_path)
    source = examples / "digits_cnn.keras"
    eight = lrcompress.factorize(source, rank=8, method="svd", output="eight.keras")
    weights = keras.saving.load_model("eight.keras", compile=False)
    names = ("predictions_lowrank", "predictions")
    first, second = (np.asarray(weights.get_layer(n).kernel, "f8") for n in names)
    u, s, v = np.linalg.svd(first @ second)

    four = lrcompress.factorize("eight.keras", rank=4, method="svd", output="four.keras")

    weights = keras.saving.load_model("four.keras", compile=False)
    first, second = (np.asarray(weights.get_layer(n).kernel, "f8") for n in names)
    assert (first.shape, second.shape) == ((256, 4), (4, 10))
    np.testing.assert_allclose(first @ second, u[:, :4] * s[:4] @ v[:4], atol=1e-6)
    assert four.layers[0].first_name == eight.layers[0].first_name == names[0]
    assert four.parameters_after == eight.parameters_after - 4 * (256 + 10)
    assert find_head(open_model(Path("four.keras"))).rank == 4


def trained(k: Any, path: Path, optimizer: Any) -> Any:
    """Save a model with a pair between other layers, after some steps; return it."""
    k.utils.set_random_seed(5)
    dense = k.layers.Dense
    parts = [dense(8, "relu", name="h"), dense(2, name="b"), dense(5, name="c"), k.layers.ReLU()]
    layers = [k.Input((6,)), *parts, dense(3, "softmax", name="end")]
    model = k.Sequential(layers, name="model")
    model.compile(optimizer, "mse")
    step(model)
    model.save(path)
    return model


def step(model: Any) -> None:
    """Train one step, always on the same batch."""
    model.train_on_batch(np.linspace(-1, 1, 48).reshape(8, 6), np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]])


@pytest.mark.filterwarnings("ignore:Skipping variable loading:UserWarning")
@pytest.mark.parametrize("change", ["merge", "rank 1"])
def test_training_starts_anew_with_the_same_optimizer(
    keras: Any, tmp_path: Path, change: str
) -> None:
    """The optimizer's settings stay and its state goes, so that the model trains on at once."""
    original = trained(keras, tmp_path / "model.keras", keras.optimizers.Adam(0.0123))
    model = open_model(tmp_path / "model.keras")
    pair = find_head(model, "c")
    if change == "merge":
        written = write_merged(model, [pair_of(model, pair)], tmp_path / "out.keras")
    else:
        ones = Replacement(pair, np.ones((8, 1)), np.ones((1, 5)))
        written = write_replaced(model, [ones], tmp_path / "out.keras")

    loaded = keras.saving.load_model(written.path)

    assert written.optimizer_bytes > written.optimizer_bytes_after == 0
    assert open_model(written.path).optimizer_bytes == 0
    assert written.warnings == ()
    assert loaded.optimizer.get_config() == original.optimizer.get_config()
    before = [np.asarray(weight) for weight in loaded.weights]
    step(loaded)
    assert all(np.isfinite(weight).all() for weight in loaded.get_weights())
    assert any((a != b).any() for a, b in zip(before, loaded.get_weights(), strict=True))
