"""What `finetune` trains, and how: scopes, teachers, optimizers, precision, kinds of outputs."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrcompress.data.dataset import Dataset
from lrcompress.errors import DatasetError, LRCompressWarning, OutputError, TrainingError

pytestmark = pytest.mark.keras

Tune = Callable[..., tuple[Any, Any]]


@pytest.fixture
def tune(small_file: Path, trained_file: Path, few_digits: Dataset) -> Tune:
    """Return a function that fine-tunes the small model with some settings; outcome and model."""
    from lrcompress.live import storing
    from lrcompress.live.prepare import prepare
    from lrcompress.train.finetune import finetune
    from lrcompress.train.settings import FinetuneSettings

    def call(teacher: Any = "original", **settings: Any) -> tuple[Any, Any]:
        student = storing.load_model(small_file)
        teacher = storing.load_model(trained_file) if teacher == "original" else teacher
        data = prepare(few_digits, student, scaling="/16")
        chosen = FinetuneSettings(**{"epochs": 1, "learning_rate": 3e-3} | settings)
        return finetune(student, teacher, data, chosen), student

    return call


def changed(model: Any, path: Path) -> list[str]:
    """Return the layers of a model whose weights are not those in a file."""
    from lrcompress.live.storing import load_model

    pairs = zip(model.layers, load_model(path).layers, strict=True)
    return [
        new.name
        for new, old in pairs
        if not all(map(np.array_equal, new.get_weights(), old.get_weights()))
    ]


def test_the_best_epoch_is_kept_and_a_seed_gives_one_result(
    tune: Tune, small_file: Path, few_digits: Dataset
) -> None:
    """The kept weights are the best on validation, settings are back."""
    from lrcompress.live.evaluate import evaluate
    from lrcompress.live.prepare import prepare

    (first, model), (second, again) = tune(epochs=2), tune(epochs=2)

    errors = [(e["validation_error_rate"], e["validation_loss"]) for e in first.state.history]
    kept = [entry["kept"] for entry in first.state.history]
    assert len(kept) == 3
    assert kept.count(True) == 1
    assert errors[kept.index(True)] == min(errors)
    data = prepare(few_digits, model, scaling="/16")
    val = evaluate(model, data.scaling(data.split.x_val), data.split.y_val)
    assert val.error_rate == pytest.approx(min(errors)[0])
    assert [layer.rate for layer in model.layers if "dropout" in layer.name] == [0.2]
    assert model.loss == "sparse_categorical_crossentropy"
    assert first.after.figures["errors"] == second.after.figures["errors"]
    assert all(map(np.array_equal, model.get_weights(), again.get_weights()))


def test_it_never_ends_worse_than_it_began(tune: Tune, small_file: Path) -> None:
    """A learning rate that ruins the network leaves the start in place."""
    outcome, model = tune(None, learning_rate=100.0)

    assert outcome.state.best_epoch == 0
    assert outcome.after.figures["errors"] == outcome.before.figures["errors"]
    assert changed(model, small_file) == []


def test_without_the_original(tune: Tune) -> None:
    """Without a teacher the labels alone train, and nothing is said of a drop."""
    outcome, _ = tune(None, epochs=4)

    assert not outcome.distilled
    assert outcome.drop is None
    assert outcome.original is None
    assert outcome.after.figures["errors"] < outcome.before.figures["errors"]


def test_the_head_alone(tune: Tune, small_file: Path, few_digits: Dataset) -> None:
    """The factors and the bias are trained, nothing else; the figures are the whole model's."""
    from lrcompress.live.evaluate import evaluate
    from lrcompress.live.storing import load_model

    outcome, model = tune(scope="head", epochs=8, learning_rate=0.02)

    x = few_digits.x_test.astype(np.float32) / 16
    after = evaluate(model, x, few_digits.y_test)
    assert changed(model, small_file) == ["predictions_lowrank", "predictions"]
    assert outcome.distilled
    assert (
        outcome.original.figures["errors"]
        < outcome.after.figures["errors"]
        < outcome.before.figures["errors"]
    )
    assert after.figures["errors"] == outcome.after.figures["errors"]
    assert after.loss == pytest.approx(outcome.after.loss, rel=1e-5)
    # Keras numbers optimizers in a process: the file's own name, whatever ran before this test.
    assert type(model.optimizer).__name__ == "Adam"
    assert model.optimizer.name == load_model(small_file).optimizer.name


def test_the_head_of_another_network(tune: Tune, trained_file: Path) -> None:
    """Where the original is another below its head, it is measured and does not teach."""
    from lrcompress.live.storing import load_model

    other = load_model(trained_file)
    hidden = other.get_layer("hidden")
    hidden.set_weights([1.01 * weight for weight in hidden.get_weights()])

    outcome, _ = tune(other, scope="head")

    assert not outcome.distilled
    assert outcome.original is not None
    assert outcome.drop is not None


def test_a_tail_inside_a_nested_model() -> None:
    """The head is found at any depth, with what follows it, and computes what it did there."""
    import keras

    from lrcompress.live.layers import alone, head_of, layer_inputs

    layers = keras.layers
    head = [layers.Dense(2, use_bias=False, name="first"), layers.Dense(4, name="second")]
    inner = keras.Sequential([keras.Input((5, 6)), layers.Dense(3, "relu"), *head], name="inner")
    model = keras.Sequential([keras.Input((5, 6)), inner, layers.Reshape((20,)), layers.Softmax()])
    x = np.random.default_rng(0).standard_normal((7, 5, 6)).astype(np.float32)

    tail = head_of(model)
    inputs = layer_inputs(model, tail.path, x)
    small = alone(tail.layers, inputs.shape[1:])

    assert tail.path == "inner/first"
    np.testing.assert_allclose(
        small.predict(inputs, verbose=0), model.predict(x, verbose=0), atol=1e-6
    )
    trainable = [weight.path for weight in small.trainable_weights]
    assert len(trainable) == 3


@pytest.mark.parametrize("what", ["no dense", "two outputs"])
def test_heads_that_cannot_stand_alone(what: str) -> None:
    """What has no head in one line before its only output is told to train as a whole."""
    import keras

    from lrcompress.live.layers import head_of

    layers = keras.layers
    x = keras.Input((8,))
    h = layers.Embedding(9, 4)(x)
    outputs: Any = layers.Dense(3)(layers.LSTM(4)(h))
    if what == "no dense":
        outputs = layers.LSTM(4)(h)
    elif what == "two outputs":
        outputs = [outputs, layers.Dense(3)(layers.Flatten()(h))]

    with pytest.raises(TrainingError, match="--scope model") as refused:
        head_of(keras.Model(x, outputs))

    assert refused.value.code == "no_head"


@pytest.mark.parametrize(
    ("setting", "typed", "meant"),
    [("scope", "modle", "model"), ("optimizer", "adan", "adam"), ("precision", "mixd", "mixed")],
)
def test_a_misspelt_setting(setting: str, typed: str, meant: str) -> None:
    """From Python, where no command line has checked it, it is answered with the one that was meant."""
    from lrcompress.train.settings import FinetuneSettings

    with pytest.raises(
        TrainingError, match=f"{setting}='{typed}'.* Did you mean '{meant}'"
    ) as refused:
        FinetuneSettings(**{setting: typed})

    assert refused.value.code == "bad_setting"


def test_a_teacher_asked_at_every_step(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its outputs would not fit into memory, student and teacher run side by side."""
    from lrcompress.train import teacher

    remembered, first = tune()
    monkeypatch.setattr(teacher, "IN_MEMORY_BYTES", 0)
    asked, second = tune()

    assert asked.state.history[-1]["loss"] == pytest.approx(
        remembered.state.history[-1]["loss"], rel=1e-4
    )
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_teacher_of_other_classes(tune: Tune) -> None:
    """An original with another number of classes is refused, unless it does not teach."""
    import keras

    other = keras.Sequential(
        [keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(12, "softmax")]
    )

    with pytest.raises(DatasetError, match="--no-distill") as refused:
        tune(other)
    outcome, _ = tune(other, distill=False)

    assert refused.value.code == "teacher_classes"
    assert not outcome.distilled
    assert outcome.original is not None


def test_the_originals_own_optimizer() -> None:
    """Class and settings are those of the compile config; its state is not, nor a rate that is given."""
    import keras

    from lrcompress.train.modes import original_optimizer as original

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.RMSprop(3e-4, rho=0.8, clipnorm=1.5), "mse")
    model.fit(np.ones((4, 2)), np.ones(4), verbose=0)

    own = original(model.get_compile_config(), None)
    faster = original(model.get_compile_config(), 0.25)
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 9, 0.1)))
    scheduled = original(model.get_compile_config(), None)

    assert isinstance(own, keras.optimizers.RMSprop)
    assert (own.rho, own.clipnorm, int(own.iterations)) == (0.8, 1.5, 0)
    assert float(own.learning_rate) == pytest.approx(3e-4)
    assert (float(faster.learning_rate), faster.rho) == (0.25, 0.8)
    assert scheduled.get_config()["learning_rate"]["config"]["decay_steps"] == 9
    with pytest.raises(TrainingError, match="without its optimizer"):
        original(None, None)


def test_mixed_precision_is_for_training_only(tune: Tune, small_file: Path) -> None:
    """Weights, layers and figures are float32 again; the steps between were not."""
    outcome, model = tune(precision="mixed", distill=False)
    plain, _ = tune(precision="float32", distill=False)

    assert outcome.settings.precision == "mixed_bfloat16"
    assert plain.settings.precision == "float32"
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert {weight.dtype for weight in model.get_weights()} == {np.dtype(np.float32)}
    losses = [entry["validation_loss"] for entry in outcome.state.history]
    assert losses[-1] < losses[0]
    # bfloat16 has three digits.
    assert outcome.state.history[-1]["loss"] == pytest.approx(
        plain.state.history[-1]["loss"], rel=0.02
    )
    assert outcome.state.history[-1]["loss"] != plain.state.history[-1]["loss"]


def test_mixed_precision_leaves_words_and_outputs_alone() -> None:
    """Numbers of words stay apart, also in a nested model; what makes the outputs is float32."""
    import keras

    from lrcompress.train.modes import computing_in
    from lrcompress.train.settings import MIXED

    layers = keras.layers
    words = layers.Embedding(3000, 1, embeddings_initializer="glorot_normal")
    body = keras.Sequential([keras.Input((5,)), words, layers.Dense(4, name="middle")])
    model = keras.Sequential([keras.Input((5,)), body, layers.Dense(3, "softmax", name="end")])
    x = np.arange(2000, 2010, dtype=np.float32).reshape(2, 5)
    before = np.asarray(keras.ops.convert_to_numpy(model(x)))

    with computing_in(model, MIXED):
        policies = [layer.dtype_policy.name for layer in (words, body.layers[-1], model.layers[-1])]
        during = np.asarray(keras.ops.convert_to_numpy(model(x)))

    # The last layer of any model is what another may take for its outputs.
    assert policies == [MIXED, "float32", "float32"]
    assert during.dtype == np.float32
    np.testing.assert_allclose(during, before, rtol=0.02)
    assert len(np.unique(during.round(4), axis=1)) == len(np.unique(before.round(4), axis=1))
    assert words.dtype_policy.name == "float32"


def test_precision_is_what_was_asked() -> None:
    """Nothing is measured: auto is float32, as mixed is bfloat16."""
    from lrcompress.train.settings import FinetuneSettings

    found = {
        word: FinetuneSettings(precision=word).decided(9).precision
        for word in ("auto", "float32", "mixed")
    }

    assert found == {"auto": "float32", "float32": "float32", "mixed": "mixed_bfloat16"}


def test_patience_and_divergence(tune: Tune) -> None:
    """It stops when no better epoch comes, and at once when the loss is no number any more."""
    waited, _ = tune(None, epochs=9, learning_rate=1e-12, patience=2)

    assert (waited.stopped, waited.state.epoch) == ("patience", waited.state.best_epoch + 2)
    with pytest.raises(TrainingError, match=r"diverged in epoch [1-8]: .* --learning-rate"):
        tune(None, epochs=9, learning_rate=1e30)


def test_every_kind_of_output_at_once() -> None:
    """Two inputs; classes, labels and numbers; sample weights: all outputs come nearer."""
    import keras

    from lrcompress.live.prepare import prepare
    from lrcompress.train.finetune import finetune
    from lrcompress.train.settings import FinetuneSettings

    rng = np.random.default_rng(0)
    x = {"a": rng.standard_normal((300, 3)), "b": rng.standard_normal((300, 4))}
    mixed = np.concatenate([x["a"], x["b"]], axis=1) @ rng.standard_normal((7, 5))
    y = {"kind": mixed.argmax(axis=1), "tags": (mixed > 0).astype(np.int64), "size": mixed}
    layers, ends = keras.layers, [keras.Input((3,), name="a"), keras.Input((4,), name="b")]
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(16, "relu")(layers.Concatenate()(ends))
    outputs = [
        layers.Dense(5, "softmax", name="kind")(hidden),
        layers.Dense(5, "sigmoid", name="tags")(hidden),
        layers.Dense(5, name="size")(hidden),
    ]
    model = keras.Model(ends, outputs)
    model.compile("adam", ["sparse_categorical_crossentropy", "binary_crossentropy", "mse"])
    few = {name: array[:60] for name, array in x.items()}, {k: v[:60] for k, v in y.items()}
    data = Dataset("made", "made", x, y, *few, w_train=np.ones(300, np.float32))
    prepared = prepare(data, model, scaling="as-is")
    teacher = keras.models.clone_model(model)

    outcome = finetune(
        model, teacher, prepared, FinetuneSettings(epochs=3, learning_rate=0.02, teacher_weight=0.1)
    )

    before, after = outcome.before.to_json()["outputs"], outcome.after.to_json()["outputs"]
    assert after["kind"]["error_rate"] < before["kind"]["error_rate"]
    assert after["tags"]["binary_error"] < before["tags"]["binary_error"]
    assert after["size"]["rmse"] < before["size"]["rmse"]
    assert outcome.state.best_epoch > 0


def test_weights_of_samples_and_classes_multiply() -> None:
    """A sample's loss weighs what it weighs times its class; one a sample holds for all steps."""
    from lrcompress.data.dataset import Dataset
    from lrcompress.train.supervision import training_weights

    x, y = np.zeros((2, 3)), np.array([[0, 1, 1], [2, 0, 0]])
    by_class = np.array([1.0, 10.0, 100.0], np.float32)
    each = np.array([2.0, 3.0], np.float32)

    def found(w: Any, classes: Any) -> Any:
        data = Dataset("made", "made", x, y, x, y, w_train=w, class_weight=classes)
        return training_weights(data)

    assert found(None, None) is None
    assert found(each, None) is each
    np.testing.assert_array_equal(found(None, by_class), [[1, 10, 10], [100, 1, 1]])
    np.testing.assert_array_equal(found(each, by_class), [[2, 20, 20], [300, 3, 3]])


def test_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch takes each sample, in full batches, in an order that only its number and the seed decide."""
    from lrcompress.data.scaling import parse
    from lrcompress.live.devices import Replicas
    from lrcompress.train import feed as feeding
    from lrcompress.train.feed import Feed, epoch_order

    x = np.arange(10, dtype=np.uint8)[:, None]
    first, again, second = (epoch_order(10, 4, seed=3, epoch=e) for e in (1, 1, 2))
    feed = Feed(x, x[:, 0], first, 4, parse("/5", x), sample_weight=x[:, 0].astype(np.float32))
    halves = []
    for part in range(2):
        own = Replicas(index=part, processes=2)
        monkeypatch.setattr(feeding, "replicas", lambda own=own: own)
        halves.append(Feed(x, x, first, 4, parse("/5", x)))

    batches = [feed[step] for step in range(len(feed))]

    assert sorted(set(first)) == list(range(10))
    assert len(first) == 12
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    for inputs, targets, weights in batches:
        assert inputs.dtype == np.float32
        np.testing.assert_allclose(inputs[:, 0], targets / 5, rtol=1e-6)
        np.testing.assert_array_equal(weights, targets)
    seen = np.concatenate([targets for _, targets, _ in batches])
    np.testing.assert_array_equal(np.sort(seen), np.sort(first))
    assert len(epoch_order(3, 4, seed=0, epoch=1)) == 3
    for step in range(3):
        shared = np.concatenate([half[step][1] for half in halves])[:, 0]
        np.testing.assert_array_equal(np.sort(shared), np.sort(batches[step][1]))


def test_figures_of_epochs_go_to_a_folder(tmp_path: Path) -> None:
    """To Keras' own TensorBoard where it runs, else to a file that a resumed run goes on with."""
    import keras

    from lrcompress.train.loop import epoch_log

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    runs = keras.backend.backend() == "tensorflow" and importlib.util.find_spec("tensorboard")
    told = contextlib.nullcontext() if runs else pytest.warns(LRCompressWarning, match="epochs.csv")
    for epoch in (1, 2):
        with told, epoch_log(tmp_path / "logs", model) as write:
            write(epoch, {"epoch": epoch, "loss": 0.25, "validation_loss": None, "kept": True})

    if runs:
        (folder,) = (tmp_path / "logs").iterdir()
        assert folder.name == "train"
        assert b"epoch_loss" in b"".join(file.read_bytes() for file in folder.iterdir())
    else:
        lines = (tmp_path / "logs" / "epochs.csv").read_text().splitlines()
        assert [line.split(",")[:2] for line in lines] == [
            ["epoch", "loss"],
            ["1", "0.25"],
            ["2", "0.25"],
        ]
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="--tensorboard"), epoch_log(tmp_path / "file", model):
        pass


def test_numbers_of_words_stay_what_they_are_whatever_the_process_computes_in() -> None:
    """A model runs as when it predicts under a global policy of 16 bits too, which has no 301."""
    import keras

    from lrcompress.train.teacher import Predicting

    table = keras.Sequential([keras.Input((1,)), keras.layers.Embedding(400, 2)])
    x = np.array([[301.0]], np.float32)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = Predicting(table)(x)
    finally:
        keras.config.set_dtype_policy(before)

    np.testing.assert_array_equal(found, table.get_weights()[0][[[301]]])
