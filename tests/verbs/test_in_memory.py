"""Live Keras models: a smaller one comes out, and the first stays as it was."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrcompress
from lrcompress.errors import LRCompressError

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras

X = np.random.default_rng(0).normal(size=(9, 12)).astype("float32")


class Network(keras.Model):
    """A class of its own, which lists no layers."""


def outputs(model: Any) -> np.ndarray:
    """Return a model's outputs on some inputs."""
    return np.asarray(keras.ops.convert_to_numpy(model(X)))


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


DRAW = np.random.default_rng(2)
LABELS = DRAW.integers(0, 6, 300)
INPUTS = ((DRAW.normal(size=(6, 12)) * 2)[LABELS] + DRAW.normal(size=(300, 12))).astype("float32")
ARRAYS = {
    "x_train": INPUTS[:200],
    "y_train": LABELS[:200],
    "x_test": INPUTS[200:],
    "y_test": LABELS[200:],
}


@pytest.fixture(scope="module")
def classifier() -> Any:
    """Return a trained network of two Dense layers, in a model of its own one of them."""
    keras.utils.set_random_seed(0)
    encoder = keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(24, activation="relu", name="hidden")],
        name="encoder",
    )
    head = keras.layers.Dense(6, activation="softmax", name="head")
    model = keras.Sequential([keras.Input((12,)), encoder, head], name="classifier")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(INPUTS[:200], LABELS[:200], epochs=12, verbose=0)
    return model


@pytest.fixture(scope="module")
def small(classifier: Any) -> Any:
    """Return what came of it at rank 2, by the kernel alone."""
    return lrcompress.factorize(classifier, rank=2, method="svd", dataset=ARRAYS)


def test_data_in_memory_give_what_a_file_gives(classifier: Any, tmp_path: Path) -> None:
    """The same factors and figures; the original stays as it was, and nothing is left on disk."""
    before, place = classifier.get_weights(), list(Path().iterdir())
    classifier.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", **ARRAYS)

    live = lrcompress.factorize(classifier, rank=3, dataset=ARRAYS)
    of_file = lrcompress.factorize(
        tmp_path / "model.keras",
        rank=3,
        dataset=tmp_path / "data.npz",
        output=tmp_path / "small.keras",
    )

    assert np.allclose(live.factors.product(), of_file.factors.product(), atol=1e-5)
    assert live.measured_after == of_file.measured_after
    assert live.input is live.output is live.record is None
    assert "lrcompress-" not in str(live.to_json())
    assert of_file.model is None
    assert all(map(np.array_equal, before, classifier.get_weights()))
    assert list(Path().iterdir()) == place
    wrong = np.asarray(live.model(INPUTS[200:])).argmax(-1) != LABELS[200:]
    assert live.error_rate_after == pytest.approx(100 * wrong.mean())


def test_an_output_is_a_file_that_stays(classifier: Any, tmp_path: Path) -> None:
    """It and its record are there, and neither speaks of files that are gone."""
    result = lrcompress.factorize(
        classifier, rank=3, dataset=ARRAYS, output=tmp_path / "small.keras"
    )

    assert result.output is not None and result.record is not None and result.input is None
    assert outputs(keras.saving.load_model(result.output)).shape == (9, 6)
    text = result.record.read_text()
    assert "lrcompress-" not in text
    assert '"in memory"' in text
    assert lrcompress.report(result)["stages"][0]["path"] == "in memory"
    with pytest.raises(LRCompressError, match="dataset=") as refused:
        lrcompress.finetune(result.output, epochs=1)
    assert refused.value.code == "no_dataset"
    assert lrcompress.finetune(result.output, epochs=1, dataset=ARRAYS).dataset == "in memory"


def test_layers_themselves_are_named(classifier: Any) -> None:
    """A layer object, at any depth, or several; by its name for a file."""
    hidden, head = classifier.layers[0].layers[0], classifier.layers[-1]

    one = lrcompress.factorize(classifier, rank=2, layer=hidden)
    two = lrcompress.factorize(classifier, rank=2, layer=[hidden, head])

    assert [layer.path for layer in one.layers] == ["encoder/hidden"]
    assert [layer.path for layer in two.layers] == ["encoder/hidden", "head"]
    assert lrcompress.inspect(classifier, layer=head)["head"]["name"] == "head"
    assert {
        row["rank"] for row in lrcompress.sweep(classifier, layer=hidden, ranks=[2, 3]).rows
    } == {2, 3}


def test_verbs_on_live_models(classifier: Any, small: Any, tmp_path: Path) -> None:
    """Each names models by their names, and measures what Keras does."""
    document = lrcompress.inspect(classifier)
    found = lrcompress.sweep(classifier, dataset=ARRAYS, method="svd", ranks=[2])
    first, second = lrcompress.evaluate([classifier, small.model], dataset=ARRAYS)
    timed = lrcompress.benchmark([classifier, small.model], seconds=0.02, batch_sizes=[1])

    assert document["model"] == "classifier"
    assert document["parameters"] == classifier.count_params()
    assert found.model is None
    assert found.rows[0]["error_rate"] == pytest.approx(small.error_rate_after)
    assert [first.model, second.model] == ["classifier", "classifier (2)"]
    loss, accuracy = classifier.evaluate(INPUTS[200:], LABELS[200:], verbose=0)
    assert first.loss == pytest.approx(loss, rel=1e-4)
    assert first.error_rate == pytest.approx(100 * (1 - accuracy), abs=1e-3)
    assert second.error_rate == small.error_rate_after
    assert lrcompress.evaluate(classifier, dataset=(INPUTS, LABELS))[0].samples == 300
    assert [one["model"] for one in timed.models] == ["classifier", "classifier (2)"]


def test_finetuning_trains_a_copy(small: Any, classifier: Any) -> None:
    """What was made in this process is taught by its original, and its story goes on."""
    before, original = small.model.get_weights(), classifier.get_weights()

    result = lrcompress.finetune(small.model, dataset=ARRAYS, epochs=3)

    assert result.distilled
    assert result.history[1]["what"] == "head re-fitted"
    assert result.model is not small.model
    assert all(map(np.array_equal, before, small.model.get_weights()))
    assert all(map(np.array_equal, original, classifier.get_weights()))
    wrong = np.asarray(result.model(INPUTS[200:])).argmax(-1) != LABELS[200:]
    assert result.error_rate_after == pytest.approx(100 * wrong.mean())
    assert result.error_rate_after < result.error_rate_before
    assert result.input is result.output is result.record is None
    story = lrcompress.report(result.model)
    assert [stage["name"] for stage in story["stages"]] == ["original", "factorized", "finetuned"]
    assert story["record"] is None
    again = lrcompress.finetune(result.model, dataset=INPUTS, epochs=1)
    assert again.measure == "disagreement"
    result.model.fit(INPUTS, LABELS, verbose=0)


def test_a_copy_that_was_trained_since_is_not_fitted_anew(classifier: Any) -> None:
    """Its head is no more what the kernel alone gave."""
    made = lrcompress.factorize(classifier, rank=3, method="svd").model
    made.fit(INPUTS, LABELS, verbose=0)

    result = lrcompress.finetune(made, dataset=ARRAYS, epochs=1)

    assert result.distilled
    assert [entry["what"] for entry in result.history] == ["start", "trained"]


def test_losses_and_layers_of_ones_own_come_back(tmp_path: Path) -> None:
    """Through every verb, without registering anything: the copy is compiled with the same function."""

    def own_loss(y: Any, p: Any) -> Any:
        return keras.losses.sparse_categorical_crossentropy(y, p)

    class Doubling(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    model = keras.Sequential([
        keras.Input((12,)), Doubling(), keras.layers.Dense(20, activation="relu"),
        keras.layers.Dense(6, activation="softmax", name="head"),
    ])  # fmt: skip
    model.compile("adam", own_loss)

    result = lrcompress.factorize(
        model, rank=2, dataset=ARRAYS, scaling="as-is", output=tmp_path / "own.keras"
    )
    trained = lrcompress.finetune(result.model, dataset=ARRAYS, scaling="as-is", epochs=1)

    other = lrcompress.factorize(model, rank=2, output=tmp_path / "own.h5")
    assert np.allclose(outputs(other.model), outputs(lrcompress.factorize(model, rank=2).model))
    assert result.model.loss is own_loss
    assert trained.model.loss is own_loss
    assert type(trained.model.layers[0]) is Doubling
    assert (
        lrcompress.evaluate([model, trained.model], dataset=ARRAYS, scaling="as-is")[1].samples
        == 100
    )


SCALE = 3.0


def test_a_lambda_that_uses_a_global_runs() -> None:
    """Its function is given back as it is, with or without data."""
    inputs = keras.Input((12,))
    scaled = keras.layers.Lambda(lambda tensor: tensor * SCALE, output_shape=(12,))(inputs)
    model = keras.Model(inputs, keras.layers.Dense(9, activation="softmax", name="head")(scaled))

    for data in (None, INPUTS):
        made = lrcompress.factorize(
            model, rank=9, force=True, layer="head", dataset=data, method="svd"
        ).model
        assert np.abs(outputs(made) - outputs(model)).max() < 1e-5


@pytest.mark.parametrize(
    "call",
    [
        lambda: lrcompress.inspect(42),
        lambda: lrcompress.sweep(None),
        lambda: lrcompress.factorize([1]),
        lambda: lrcompress.evaluate([object()], dataset=ARRAYS),
        lambda: lrcompress.merge(keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])),
        lambda: lrcompress.modernize(3.5),
        lambda: lrcompress.evaluate(Network(), dataset=ARRAYS),
        lambda: lrcompress.factorize(Network(), layer="head", rank=2, dataset=ARRAYS),
        lambda: lrcompress.factorize(keras.Sequential([keras.layers.Dense(3)]), rank=1),
        lambda: lrcompress.report(keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])),
        lambda: lrcompress.sweep(
            keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)]), layer=7
        ),
    ],
)
def test_every_refusal_is_ours(call: Any) -> None:
    """In one line, and without the name of a file that is gone."""
    with pytest.raises(LRCompressError) as refused:
        call()

    assert "\n" not in str(refused.value)
    assert "lrcompress-" not in str(refused.value)


def test_results_tell_themselves_shortly(classifier: Any, small: Any) -> None:
    """In a line, and in a table for a notebook, in which names are text."""
    found = lrcompress.evaluate([classifier], dataset=ARRAYS)[0]

    assert repr(small).startswith(
        "<FactorizeResult: layers head at rank 2, method svd, parameters "
    )
    assert len(repr(small)) < 200
    assert f"error rate {found.error_rate:.4g}" in repr(found)
    assert "<table>" in small._repr_html_()
    found.figures["measure"] = "outputs"
    object.__setattr__(found, "model", "<script>")
    assert "<script>" not in found._repr_html_()


def test_no_warnings_of_retracing(classifier: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Many models in one program are what this is for; warnings of the program's own still come."""
    logger = logging.getLogger("tensorflow")
    logger.addHandler(caplog.handler)
    try:
        for _ in range(4):
            lrcompress.evaluate([classifier, classifier], dataset=(INPUTS[:20], LABELS[:20]))
        assert "retracing" not in caplog.text
        logger.warning("something triggered tf.function retracing")
        assert "retracing" in caplog.text
    finally:
        logger.removeHandler(caplog.handler)


def test_a_whole_network_with_layers_of_ones_own() -> None:
    """Copies that are made on the way, with layers narrowed, are the caller's own, too."""

    class Doubling(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((12,)), Doubling(), keras.layers.Dense(40, activation="relu", name="wide"),
        keras.layers.Dense(30, activation="relu"), keras.layers.Dense(6, activation="softmax"),
    ])  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(INPUTS, LABELS, epochs=5, verbose=0)

    result = lrcompress.factorize(
        model, layers="all", reduction=0.6, dataset=ARRAYS, scaling="as-is"
    )

    assert "units" in {layer.form for layer in result.layers}
    assert result.parameters_after <= 0.4 * result.parameters_before
    assert isinstance(result.model.layers[0], Doubling)
