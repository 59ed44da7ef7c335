"""What is done with real, tiny Keras models: data fitted, scored, layers' inputs, loaded and saved."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.errors import TrainingError

pytestmark = pytest.mark.keras


def dense_model(
    inputs: tuple[int, ...] = (6,), classes: int = 3, activation: str = "softmax"
) -> Any:
    """Return a tiny compiled classifier."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input(inputs),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="relu", name="hidden"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(classes, activation=activation, name="predictions"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_scores() -> None:
    """Probabilities and logits of the same model give the same score; errors are counted per step."""
    from tests.measure.scoring import score

    logits = np.array([[2.0, 0, 0], [0, 1, 0], [0, 0, -1]], np.float32)
    y = np.array([0, 1, 2])
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)

    by_logits, by_p = score(logits, y, is_logits=True), score(p, y, is_logits=False)
    by_step = score(np.stack([p, p]), np.stack([y, y]), is_logits=False)

    assert by_logits.figures["errors"] == by_p.figures["errors"] == 1
    assert by_logits.wrong.tolist() == [False, False, True]
    expected = -np.log(p[np.arange(3), y]).mean()
    assert by_logits.loss == pytest.approx(expected, rel=1e-6)
    assert by_p.loss == pytest.approx(expected, rel=1e-6)
    assert (by_step.samples, by_step.figures["errors"]) == (6, 2)


def test_score_of_one_unit() -> None:
    """One unit says how likely class 1 is, as a probability or as a logit."""
    from tests.measure.scoring import score

    p = np.array([[0.9], [0.2], [0.6]], np.float32)
    y = np.array([1, 0, 0])

    by_p = score(p, y, is_logits=False)
    by_logit = score(np.log(p / (1 - p)), y, is_logits=True)

    assert by_p.wrong.tolist() == by_logit.wrong.tolist() == [False, False, True]
    assert by_p.loss == pytest.approx(-np.log([0.9, 0.8, 0.4]).mean(), rel=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "linear"])
def test_evaluate_agrees_with_keras(activation: str) -> None:
    """The error rate and the loss are those of Keras' own evaluation."""
    import keras

    from lrcompress.live.evaluate import evaluate
    from lrcompress.live.outputs import outputs_of

    model = dense_model(activation=activation)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=activation == "linear")
    model.compile("sgd", loss, metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x, y = rng.random((50, 6), np.float32), rng.integers(0, 3, 50)

    found = evaluate(model, x, y)

    theirs = model.evaluate(x, y, verbose=0)
    assert outputs_of(model)[0].is_logits == (activation != "softmax")
    assert found.loss == pytest.approx(theirs[0], rel=1e-4)
    assert found.error_rate == pytest.approx(100 * (1 - theirs[1]), abs=1e-4)


def test_probabilities_are_told_from_logits() -> None:
    """The last activation counts, through dropout, reshaping, wrappers and nested models."""
    import keras

    from lrcompress.live.outputs import outputs_of

    def ends_in(*layers: Any) -> bool:
        return not outputs_of(keras.Sequential([keras.Input((4, 6)), *layers]))[0].is_logits

    dense, softmax = keras.layers.Dense, keras.layers.Softmax
    nested = keras.Sequential([keras.Input((4, 6)), dense(3, activation="softmax")])

    assert ends_in(dense(3, activation="softmax"))
    assert ends_in(dense(3), softmax())
    assert ends_in(dense(3), keras.layers.Activation("softmax"), keras.layers.Dropout(0.1))
    assert ends_in(keras.layers.TimeDistributed(dense(3, activation="softmax")))
    assert ends_in(dense(3, activation="sigmoid"), keras.layers.Reshape((3, 4)))
    assert ends_in(nested)
    assert not ends_in(dense(3))
    assert not ends_in(dense(3, activation="softmax"), dense(3))
    assert not ends_in(dense(3, activation="relu"))
    assert not ends_in(keras.layers.Flatten())


def test_layer_inputs() -> None:
    """What flows into a layer is what a sub-model up to it gives; the layer is left as it was."""
    import keras

    from lrcompress.live.layers import layer_inputs

    model = dense_model()
    x = np.random.default_rng(0).random((300, 6), np.float32)
    before = model.get_layer("predictions").call

    found = layer_inputs(model, "predictions", x)

    trunk = keras.Model(model.inputs, model.get_layer("predictions").input)
    np.testing.assert_allclose(found, trunk.predict(x, verbose=0), atol=1e-6)
    assert model.get_layer("predictions").call == before


def test_layer_inputs_inside_a_nested_model() -> None:
    """A layer of a nested model is found by its path."""
    import keras

    from lrcompress.live.layers import layer_inputs

    inner = dense_model()
    inner.name = "inner"
    inputs = keras.Input((6,))
    outer = keras.Model(inputs, inner(inputs * 2.0))
    x = np.random.default_rng(0).random((5, 6), np.float32)

    found = layer_inputs(outer, "inner/predictions", x)

    np.testing.assert_allclose(found, layer_inputs(inner, "predictions", 2 * x), atol=1e-6)
    with pytest.raises(TrainingError, match="inner/nothing"):
        layer_inputs(outer, "inner/nothing", x)


def test_models_that_keras_cannot_load(examples: Path, tmp_path: Path) -> None:
    """What Keras raises becomes one line that names the file."""
    from lrcompress.live.storing import load_model

    path = tmp_path / "model.keras"
    with zipfile.ZipFile(examples / "digits_cnn.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"Flatten"', b'"Flattened"'))

    with pytest.raises(TrainingError, match=r"model\.keras") as error:
        load_model(path)

    assert "\n" not in str(error.value)


def test_a_copy_of_a_head_draws_no_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the weights and the settings of the original, by no way through others."""
    import keras

    from lrcompress.live.layers import alone

    last = dense_model().layers[-1]
    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", None)

    (copy,) = alone([last], (8,)).layers

    assert copy.get_config()["kernel_initializer"] == last.get_config()["kernel_initializer"]
    for own, given in zip(copy.get_weights(), last.get_weights(), strict=True):
        np.testing.assert_array_equal(own, given)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_is_loaded_without_random_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suffix: str
) -> None:
    """Its file has the weights; what another thread builds meanwhile begins at random, and so does all afterwards."""
    import threading

    import keras

    from lrcompress.live import storing

    cell = keras.layers.LSTM(3, recurrent_initializer="orthogonal")
    normal = keras.layers.Dense(2, kernel_initializer="random_normal", name="normal")
    model = keras.Sequential([keras.Input((4, 5)), cell, normal])
    model.save(tmp_path / f"model{suffix}")
    drawn: list[str] = []
    elsewhere: list[Any] = []

    def watched(kind: Any, draw: Any) -> Any:
        def start(self: Any, shape: Any, dtype: Any = None, **others: Any) -> Any:
            drawn.append(kind.__name__)
            return draw(self, shape, dtype, **others)

        return start

    def other() -> None:
        elsewhere.append(np.asarray(keras.initializers.GlorotUniform()((3, 3))))

    load = storing._load

    def meanwhile(path: Path, **options: Any) -> Any:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        drawn.clear()
        return load(path, **options)

    for kind in (
        keras.initializers.VarianceScaling,
        keras.initializers.RandomNormal,
        keras.initializers.Orthogonal,
    ):
        monkeypatch.setattr(kind, "__call__", watched(kind, kind.__call__))
    monkeypatch.setattr(storing, "_load", meanwhile)

    loaded = storing.load_model(tmp_path / f"model{suffix}")

    assert not drawn
    assert np.ptp(elsewhere[0]) > 0
    assert np.ptp(np.asarray(keras.initializers.GlorotUniform()((3, 3)))) > 0
    for own, given in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(own, given)


def test_an_archive_is_loaded_without_the_slots_of_its_optimizer(tmp_path: Path) -> None:
    """Its settings are there, and what it was trained with, which would take twice the model, is not."""
    from lrcompress.live import storing

    model = dense_model()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")

    loaded = storing.load_model(tmp_path / "model.keras")

    assert loaded.get_compile_config() == model.get_compile_config()
    assert len(loaded.optimizer.variables) < len(loaded.trainable_variables)


def test_a_model_that_does_not_fit_into_memory_is_refused_before_keras_reads_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One line says what it takes and what there is; Keras is not asked."""
    from lrcompress.live import compiling, storing

    model = dense_model()
    model.compile("adam", "sparse_categorical_crossentropy")
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = storing.load_model(path)
    loaded.optimizer.build(loaded.trainable_variables)
    compiling.drop_slots(loaded)
    monkeypatch.setattr(storing, "free_memory", lambda: 1000)
    monkeypatch.setattr(storing, "_load", None)

    with pytest.raises(
        TrainingError, match=r"of memory to load .*, and 0\.0 GB are free; end other"
    ) as refused:
        storing.load_model(path)

    assert refused.value.code == "memory"
    # What an optimizer keeps goes, its settings stay.
    assert type(loaded.optimizer) is type(model.optimizer)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert len(loaded.optimizer.variables) < len(loaded.trainable_variables)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_saved_models_carry_their_provenance(tmp_path: Path, suffix: str) -> None:
    """A saved model names its data set where Keras ignores it, and Keras loads it."""
    import lrcompress
    from lrcompress.live.storing import load_model, save_model

    model, path = dense_model(), tmp_path / f"model{suffix}"

    save_model(model, path, {"dataset": "mnist", "scaling": "/255"})

    assert lrcompress.inspect(path)["dataset"] == "mnist"
    assert all(map(np.array_equal, load_model(path).get_weights(), model.get_weights()))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
