"""Models with so many outputs, one for each step and word, that not all of them fit in memory."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from lrcompress.data.dataset import Dataset
from lrcompress.live import calibration, predict
from lrcompress.live import evaluate as measuring
from lrcompress.live.evaluate import evaluate
from lrcompress.live.fit import hold_out
from lrcompress.live.layers import FEWEST_SAMPLES, layer_inputs, samples_for
from lrcompress.live.prepare import prepare
from lrcompress.lowrank import most_inputs
from lrcompress.train.settings import MOST_OUTPUTS, FinetuneSettings

pytestmark = pytest.mark.keras
STEPS, WORDS = 6, 50


@pytest.fixture(scope="module")
def language_model() -> Any:
    """Return a tiny untrained network with a prediction for every step, of any number of steps."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(WORDS, 4),
            keras.layers.SimpleRNN(5, return_sequences=True),
            keras.layers.Dense(WORDS, activation="softmax", name="next_word"),
        ]
    )


def test_evaluation_in_blocks_is_that_of_the_whole(
    language_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors and loss do not depend on how many outputs are held at a time; few are."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, WORDS, (2, 23, STEPS))
    whole = evaluate(language_model, x, y)
    monkeypatch.setattr(predict, "MOST_OUTPUTS", 4 * STEPS * WORDS)

    sizes = [only.size for _, (only,) in predict.run_over(language_model, x, "predict")]
    in_blocks = evaluate(language_model, x, y)

    assert max(sizes) == 4 * STEPS * WORDS
    assert sum(sizes) == 23 * STEPS * WORDS
    assert (in_blocks.samples, in_blocks.figures["errors"]) == (23 * STEPS, whole.figures["errors"])
    assert in_blocks.loss == pytest.approx(whole.loss, rel=1e-6)
    np.testing.assert_array_equal(in_blocks.wrong, whole.wrong)
    assert in_blocks.figures["error_rate_low"] == whole.figures["error_rate_low"]
    # Epochs of a language model are chosen by what it says of all words, not of the likeliest.
    assert whole.merit == (whole.loss, whole.error_rate)
    assert whole.value == whole.error_rate
    assert not {"each_step", "wrong"} & set(whole.to_json())


@pytest.mark.parametrize("nested", [False, True])
def test_inputs_of_the_head_spare_the_head(
    language_model: Any, monkeypatch: pytest.MonkeyPatch, nested: bool
) -> None:
    """No batch goes through the layer itself, inside a nested model only the first one."""
    monkeypatch.setattr(predict, "MOST_OUTPUTS", 4 * STEPS * WORDS)
    x = np.random.default_rng(0).integers(0, WORDS, (23, STEPS))
    head, runs = language_model.get_layer("next_word"), []
    call = head.call

    def counting(inputs: Any, training: bool | None = None) -> Any:
        runs.append(inputs.shape[0])
        return call(inputs)

    monkeypatch.setattr(head, "call", counting)

    model, path = language_model, "next_word"
    if nested:
        model = keras.Sequential([keras.Input((None,), dtype="int32"), language_model])
        path = f"{language_model.name}/{path}"
        runs.clear()  # of the symbolic call that built it
    found = layer_inputs(model, path, x)
    ran = list(runs)
    after = language_model.predict(x, verbose=0)

    trunk = keras.Model(language_model.inputs, head.input)
    np.testing.assert_allclose(found, trunk.predict(x, verbose=0), atol=1e-6)
    assert ran == ([4] if nested else [])
    assert after.shape == (23, STEPS, WORDS)
    np.testing.assert_allclose(after[:2], language_model.predict(x[:2], verbose=0), atol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_numbers_of_words_are_not_scaled(dtype: str) -> None:
    """What an embedding takes is used as it is, whatever type the model gives its inputs."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((STEPS,), dtype=dtype),
            keras.layers.Embedding(WORDS, 4),
            keras.layers.Dense(WORDS, activation="softmax"),
        ]
    )
    x, y = np.random.default_rng(0).integers(0, WORDS, (2, 30, STEPS))

    # The untrained model is near chance, which a search for a scaling would refuse.
    prepared = prepare(Dataset("text", "text.npz", x, y, x, y), model)

    assert prepared.scaling.name == "as-is"
    np.testing.assert_array_equal(prepared.part("test")[0], x)


def test_calibration_takes_as_many_samples_as_it_uses(language_model: Any) -> None:
    """A sequence gives an input of the head at each step; pictures give one each."""
    pictures = keras.Sequential(
        [keras.Input((4, 4)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    x = np.zeros((5, 40), np.int32)

    assert samples_for(pictures, np.zeros((5, 4, 4)), 70_000) == 70_000
    assert samples_for(language_model, x, 80_001) == 2_001
    assert samples_for(language_model, x, 100) == FEWEST_SAMPLES
    # Enough for the digits and words of any data set, and no more than minutes go through.
    assert most_inputs(10) > 1_000_000
    assert most_inputs(10_000) == 107_374
    assert most_inputs(1_000_000) == 5_000


def test_a_step_of_fine_tuning_has_bounded_outputs(language_model: Any) -> None:
    """Where each sample has many outputs a batch has fewer samples; a size that was asked for stays."""
    each = predict.outputs_each(language_model, np.zeros((3, 7), np.int32))
    many = MOST_OUTPUTS // 40

    assert each == 7 * WORDS
    assert FinetuneSettings().decided(100_000, each).batch_size == 128
    assert FinetuneSettings().decided(100_000, many).batch_size == 32
    assert FinetuneSettings().decided(100_000, 2 * MOST_OUTPUTS).batch_size == 1
    assert FinetuneSettings(batch_size=100).decided(100_000, many).batch_size == 100


@pytest.mark.parametrize(("shape", "held_out"), [((), 1_000), ((40,), 500), ((4,), 1_000)])
def test_sequences_need_fewer_samples_to_choose_by(shape: tuple[int, ...], held_out: int) -> None:
    """The held-out part counts the labels of a sequence, and is a tenth at most."""
    x, y = np.zeros((10_000, 2)), np.zeros((10_000, *shape), np.int64)

    split = hold_out(Dataset("made", "made", x, y, x, y), seed=0)

    assert len(split.x_val) == held_out
    assert len(split.x_train) == 10_000 - held_out


def test_a_trial_holds_some_of_the_outputs(
    language_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the original's outputs would fill the memory, every second batch is compared, all are counted."""
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, WORDS, (2, 24, STEPS))
    other = keras.models.clone_model(language_model)
    monkeypatch.setattr(predict, "MOST_OUTPUTS", 4 * STEPS * WORDS)
    whole = measuring.NetworkTrial(language_model, x, y, by_labels=False).of(other)
    some = np.concatenate([x[0:4], x[8:12], x[16:20]])
    expected = measuring.NetworkTrial(language_model, some, None).of(other)
    monkeypatch.setattr(measuring, "HELD", 4 * x.size * WORDS // 2)

    found = measuring.NetworkTrial(language_model, x, y, by_labels=False).of(other)

    assert found.output_error == pytest.approx(expected.output_error)
    assert found.agreement == pytest.approx(expected.agreement)
    assert found.rise == pytest.approx(100 * np.expm1(found.output_error))
    assert found.evaluation is not None and whole.evaluation is not None
    assert found.evaluation.loss == pytest.approx(whole.evaluation.loss, rel=1e-6)
    np.testing.assert_array_equal(found.wrong, whole.wrong)


def test_few_judge_where_each_has_many_outputs(
    language_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every trial of a whole network computes all of their outputs anew; all judge where decisions are counted."""
    x, y = np.random.default_rng(0).integers(0, WORDS, (2, 300, STEPS))
    data = prepare(Dataset("text", "text.npz", x, y, x, y), language_model)
    live: Any = calibration.LiveModel(language_model, data, None)  # type: ignore[arg-type]
    monkeypatch.setattr(calibration, "JUDGED", 7 * STEPS * WORDS)
    monkeypatch.setattr(calibration, "FEWEST_JUDGES", 1)

    few, _ = live.network(counts=False)
    every, _ = live.network(counts=True)

    assert len(few.judge) == len(few.labels) == 7
    assert len(every.judge) == len(data.split.x_val) == 30
