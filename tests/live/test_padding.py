"""Padding counts nowhere: what Keras' own evaluate leaves out by the model's mask is left out here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import Result
from keras import layers

from lrcompress.data.dataset import Dataset
from lrcompress.data.scaling import parse
from lrcompress.live.evaluate import NetworkTrial, evaluate
from lrcompress.live.layers import inputs_of
from lrcompress.live.masks import masks_of, packed
from lrcompress.live.prepare import Prepared
from lrcompress.lowrank import truncated_svd
from lrcompress.modelfile import find_head, open_model
from lrcompress.train import losses
from lrcompress.train.settings import FinetuneSettings
from lrcompress.train.supervision import supervise
from lrcompress.train.teacher import SideBySide

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore:.*mask")]
STEPS, WORDS, TAGS = 7, 20, 4


def sentences(samples: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return word numbers padded with 0 at the end, and tags, (samples, steps) each."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, WORDS, (samples, STEPS))
    x[np.arange(STEPS) >= rng.integers(1, STEPS + 1, samples)[:, None]] = 0
    return x, rng.integers(0, TAGS, (samples, STEPS))


def embedded(mask: bool = True) -> tuple[Any, Any]:
    """Return an input of words and their embeddings."""
    words = keras.Input((STEPS,), dtype="int32")
    return words, layers.Embedding(WORDS, 6, mask_zero=mask)(words)


def tagger(kind: str) -> Any:
    """Return an untrained tagger whose mask reaches its output in some way, or does not."""
    keras.utils.set_random_seed(1)
    words, x = embedded()
    if kind == "masking":
        numbers = keras.Input((STEPS, 3))
        x = layers.LSTM(5, return_sequences=True)(layers.Masking()(numbers))
        return keras.Model(numbers, layers.Dense(TAGS, activation="softmax")(x))
    if kind == "nested":
        inner = keras.Sequential(
            [keras.Input((STEPS,)), layers.Embedding(WORDS, 6, mask_zero=True)]
        )
        x = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(inner(words))
    elif kind == "sequential":
        return keras.Sequential([
            keras.Input((STEPS,), dtype="int32"), layers.Embedding(WORDS, 6, mask_zero=True),
            layers.GRU(5, return_sequences=True), layers.Dropout(0.3),
            layers.TimeDistributed(layers.Dense(TAGS, activation="softmax")),
        ])  # fmt: skip
    elif kind == "attention":
        # Keras hands no mask on through this attention.
        x = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 3)(x, x)]))
    elif kind == "stopped":  # a convolution knows no masks, so padding counts, as in Keras
        x = layers.Conv1D(5, 3, padding="same")(x)
    elif kind == "own":
        words, x = embedded(mask=False)
        x = OwnMask()(x)
    return keras.Model(words, layers.Dense(TAGS, activation="softmax")(x))


class OwnMask(keras.layers.Layer):
    """A layer of one's own that begins a mask: every second step counts."""

    def call(self, inputs: Any) -> Any:
        """Hand the inputs on."""
        return inputs * 1.0

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> Any:
        """Return which steps count."""
        return keras.ops.zeros_like(inputs[..., 0]) + np.arange(STEPS) % 2 < 0.5


KINDS = ["plain", "masking", "nested", "sequential", "attention", "stopped", "own"]


@pytest.mark.parametrize("kind", KINDS)
def test_taggers_are_measured_as_keras_measures_them(kind: str) -> None:
    """Error and loss are those of Keras' evaluate, which knows the mask, on one batch."""
    x, y = sentences()
    model = tagger(kind)
    if kind == "masking":
        x = np.where(x[..., None] > 0, np.random.default_rng(2).normal(size=(*x.shape, 3)), 0)
    model.compile(loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    theirs = model.evaluate(x, y, batch_size=len(x), verbose=0, return_dict=True)

    found = evaluate(model, x, y)

    assert found.percent_wrong == pytest.approx(100 * (1 - theirs["accuracy"]), abs=1e-4)
    assert found.loss == pytest.approx(theirs["loss"], rel=1e-6)
    assert ("padding" in found.to_json()) == (kind not in ("stopped", "attention"))
    if kind not in ("stopped", "attention", "own"):
        assert found.samples == (x if x.ndim == 2 else x.any(-1)).astype(bool).sum()


def test_weights_of_predictions_and_the_mask_multiply() -> None:
    """With a weight for each prediction the weighted accuracy is Keras' too."""
    x, y = sentences()
    model = tagger("plain")
    weights = np.random.default_rng(3).random(y.shape).astype(np.float32)
    model.compile(loss="sparse_categorical_crossentropy", weighted_metrics=["accuracy"])
    theirs = model.evaluate(
        x, y, sample_weight=weights, batch_size=len(x), verbose=0, return_dict=True
    )

    found = evaluate(model, x, y, sample_weight=weights)

    assert found.percent_wrong == pytest.approx(100 * (1 - theirs["accuracy"]), abs=1e-4)
    assert found.percent_wrong != pytest.approx(evaluate(model, x, y).percent_wrong, abs=1e-4)


def test_each_output_has_its_own_mask() -> None:
    """Of tags, labels, numbers at each step and one class a sentence, the first three are masked."""
    x, y = sentences()
    keras.utils.set_random_seed(1)
    words, steps = embedded()
    outputs = {
        "tags": layers.Dense(TAGS, activation="softmax", name="tags")(steps),
        "labels": layers.Dense(3, activation="sigmoid", name="labels")(steps),
        "numbers": layers.Dense(2, name="numbers")(steps),
        "topic": layers.Dense(3, activation="softmax", name="topic")(layers.GRU(4)(steps)),
    }
    model = keras.Model(words, outputs)
    rng = np.random.default_rng(4)
    targets = {
        "tags": y,
        "labels": rng.random((*x.shape, 3)) > 0.5,
        "numbers": rng.normal(size=(*x.shape, 2)).astype(np.float32),
        "topic": rng.integers(0, 3, len(x)),
    }

    found = evaluate(model, x, targets).outputs
    masks = masks_of(model, x)

    assert [mask is None for mask in masks] == [name == "topic" for name in sorted(outputs)]
    assert {name: one.samples for name, one in found.items()} == {
        "tags": (x > 0).sum(), "labels": (x > 0).sum(), "numbers": (x > 0).sum(), "topic": len(x),
    }  # fmt: skip
    apart = model.predict(x, verbose=0)["numbers"] - targets["numbers"]
    assert found["numbers"].value == pytest.approx(
        np.sqrt(np.square(apart[x > 0]).mean()), rel=1e-6
    )


@pytest.mark.parametrize("kind", ["plain", "nested", "sequential"])
def test_inputs_of_a_layer_come_without_padding(kind: str) -> None:
    """Whether below the layer a model is made or the layer is watched, only real steps are kept."""
    x, _ = sentences()
    model = tagger(kind)
    path = model.layers[-1].name
    whole = inputs_of(model, [path], x)[path]

    found = inputs_of(model, [path], x, pack=True)[path]

    real = whole[x > 0]
    kept = found.reshape(-1, found.shape[-1])
    assert found.shape[1:] == whole.shape[1:]
    assert 0 <= len(real) - len(kept) < STEPS
    np.testing.assert_array_equal(kept, real[: len(kept)])


def test_watched_layers_know_their_mask() -> None:
    """A Dense inside a nested model is watched, and its padding is left out too."""
    x, _ = sentences()
    words, steps = embedded()
    inside = keras.Input((STEPS, 6))
    inner = keras.Model(inside, layers.Dense(5, name="deep")(inside), name="inner")
    model = keras.Model(words, layers.Dense(TAGS)(inner(steps)))

    found = inputs_of(model, ["inner/deep"], x, pack=True)["inner/deep"]

    assert 0 <= (x > 0).sum() - found.size // 6 < STEPS


def test_few_rows_are_packed_as_they_are() -> None:
    """Less than two sequences of real steps stay rows; no mask changes nothing."""
    inputs = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    mask = np.array([[True, False, False, False], [True, True, False, False]])

    assert packed(inputs, None) is inputs
    np.testing.assert_array_equal(packed(inputs, mask), inputs[mask])


def test_a_trial_counts_real_steps(tmp_path: Path) -> None:
    """Output error, agreement and error of a changed network are those of real steps."""
    x, y = sentences()
    model = tagger("plain")
    head = model.layers[-1]
    model.save(tmp_path / "tagger.keras")
    site = find_head(open_model(tmp_path / "tagger.keras"))
    kernel = np.random.default_rng(5).normal(size=head.kernel.shape).astype(np.float32)
    factors = truncated_svd(kernel, 2)

    found = NetworkTrial(model, x, y)({site: factors})

    before = model.predict(x, verbose=0)[x > 0].astype(np.float64)
    kept = head.get_weights()
    head.set_weights([factors.product(), kept[1]])
    after = model.predict(x, verbose=0)[x > 0].astype(np.float64)
    assert found.error_rate == pytest.approx(100 * (after.argmax(-1) != y[x > 0]).mean())
    assert found.agreement == pytest.approx(100 * (after.argmax(-1) == before.argmax(-1)).mean())
    divergence = (before * np.log(before / after)).sum(-1).mean()
    assert found.output_error == pytest.approx(divergence, rel=1e-5)


def test_the_loss_of_a_teacher_beside_sees_the_mask() -> None:
    """Trained side by side, padding has no part in the loss: other words there change nothing."""
    x, y = sentences()
    student, teacher = tagger("plain"), tagger("plain")
    output = losses.Output(losses.CLASSES, TAGS, is_logits=False)
    loss = losses.blended_loss(output, output, 0.5, 2.0)
    both = SideBySide(student, teacher, trains=True)
    both.compile(loss=loss)
    other = np.where(x > 0, y, (y + 1) % TAGS)[..., None].astype(np.float32)

    one, two = (
        both.evaluate(x, t, batch_size=len(x), verbose=0)
        for t in (y[..., None].astype("f4"), other)
    )

    assert one == pytest.approx(two, rel=1e-6)


def test_training_joins_weights_of_samples_with_the_mask() -> None:
    """Of an output each step and one a sample alike: the loss is that of the real steps, weighted."""
    x, tags = sentences()
    labels = {"kind": tags[:, 0], "tags": tags}
    weights = np.linspace(0, 2, len(x)).astype(np.float32)
    keras.utils.set_random_seed(1)
    words, inner = embedded()
    inner = layers.GRU(5, return_sequences=True)(inner)
    model = keras.Model(words, {
        "kind": layers.Dense(TAGS, "softmax", name="kind")(layers.GlobalAveragePooling1D()(inner)),
        "tags": layers.Dense(TAGS, "softmax", name="tags")(inner),
    })  # fmt: skip
    split = Dataset("made", "made", x, labels, x, labels, w_train=weights)

    taught = supervise(model, None, Prepared(split, parse("as-is", x), {}), FinetuneSettings())
    taught.model.compile(loss=taught.loss, loss_weights=taught.loss_weights)
    found = taught.model.evaluate(
        x, taught.targets, sample_weight=taught.sample_weight, batch_size=len(x), verbose=0
    )

    outputs = {name: np.asarray(values) for name, values in model(x).items()}
    lost = {
        k: -np.log(np.take_along_axis(outputs[k], y[..., None], -1)[..., 0])
        for k, y in labels.items()
    }
    by_step = (weights[:, None] * lost["tags"])[x > 0].mean()
    assert np.ravel(found)[0] == pytest.approx(by_step + (weights * lost["kind"]).mean(), rel=1e-4)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Return a tagger that was trained a little, and its padded data."""
    x, y = sentences(400)
    y = np.where(x > 0, x % TAGS, 0)
    model = tagger("plain")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x[:300], y[:300], epochs=3, verbose=0)
    model.save(tmp_path / "tagger.keras")
    np.savez(
        tmp_path / "tags.npz", x_train=x[:300], y_train=y[:300], x_test=x[300:], y_test=y[300:]
    )
    return tmp_path / "tagger.keras", tmp_path / "tags.npz"


def test_every_command_leaves_padding_out(
    files: tuple[Path, Path], tmp_path: Path, run: Callable[..., Result]
) -> None:
    """One error of the original in evaluate, factorize, sweep and finetune: that of real words, and it is said."""
    path, data = files
    with np.load(data) as arrays:
        x, y = arrays["x_test"], arrays["y_test"]
    picked = keras.saving.load_model(path).predict(x, verbose=0).argmax(-1)
    original = 100 * np.mean((picked != y)[x > 0])
    share = f"padding left out, by the model's mask: {100 * np.mean(x == 0):.0f} % of positions"

    texts, documents = {}, {}
    small = str(tmp_path / "small.keras")
    for words in (
        ["evaluate", path], ["sweep", path], ["factorize", path, "--rank", "2", "-o", small],
        ["finetune", small, "--epochs", "1", "--scope", "model"],
        ["finetune", small, "--epochs", "1", "--scope", "head", "--overwrite"],
    ):  # fmt: skip
        name = " ".join(map(str, words))
        done = run(*words, "--dataset", data)
        assert done.exit_code == 0, done.output
        texts[name] = done.stdout
    for words in (
        ["evaluate", path],
        ["sweep", path],
        ["finetune", small, "--epochs", "1", "--overwrite"],
    ):
        documents[words[0]] = json.loads(run(*words, "--dataset", data, "--json").stdout)

    # A head alone is measured on steps from which padding is gone already.
    silent = [name for name, text in texts.items() if "padding left out" not in text]
    assert all("--scope head" in name for name in silent), silent
    assert share in texts[f"evaluate {path}"]
    assert documents["evaluate"][0]["error_rate"] == pytest.approx(original)
    assert documents["sweep"]["original"]["error_rate"] == pytest.approx(original)
    assert documents["finetune"]["original"]["error_rate"] == pytest.approx(original)
