"""Models as people save them: stateful, frozen, augmenting, in half precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import LRCompressWarning, OutputError

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras

DRAW = np.random.default_rng(0)
LABELS = DRAW.integers(0, 6, 90)
INPUTS = (2 * DRAW.normal(size=(6, 16))[LABELS] + DRAW.normal(size=(90, 16))).astype("float32")
SPARSE = "sparse_categorical_crossentropy"
# Keras warns of optimizer slots that a new file does not have.
quietly = pytest.mark.filterwarnings("ignore::UserWarning")


def save(
    x: Any, *layers: Any, name: str = "model.keras", entry: Any = None
) -> tuple[Any, dict[str, Any]]:
    """Save a classifier and its data here; return the model and what the commands are to be told."""
    keras.utils.set_random_seed(0)
    entry = keras.Input(x.shape[1:]) if entry is None else entry
    head = keras.layers.Dense(6, activation="softmax", name="head")
    model = keras.Sequential([entry, *layers, head])
    model.compile("adam", SPARSE)
    model.save(name)
    np.savez("data.npz", x_train=x[:60], y_train=LABELS[:60], x_test=x[60:], y_test=LABELS[60:])
    return model, {"dataset": "data.npz", "scaling": "as-is"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


@quietly
def test_a_stateful_layer_begins_each_sample_anew() -> None:
    """Error and training are those of samples for themselves; the files keep it stateful."""
    x = INPUTS.reshape(90, 4, 4)
    model, known = save(
        x, keras.layers.LSTM(24, stateful=True), entry=keras.Input(batch_shape=(32, 4, 4))
    )
    lstm = model.layers[0]
    lstm.stateful = False
    plain = keras.Model(model.inputs, model.outputs)
    wrong = np.mean(np.argmax(plain(x[60:]), -1) != LABELS[60:])
    lstm.stateful = True

    found = lrcompress.evaluate(["model.keras"], **known)[0]
    small = lrcompress.factorize("model.keras", rank=3, output="small.keras", **known)
    tuned = lrcompress.finetune("small.keras", epochs=1, **known)

    assert found.error_rate == pytest.approx(100 * wrong)
    assert small.error_rate_before == pytest.approx(100 * wrong)
    again = keras.saving.load_model(tuned.output)
    assert again.layers[0].stateful
    assert again.input_shape == (32, 4, 4)
    with pytest.warns(
        LRCompressWarning, match=r"Stateful layers \(lstm.*\) are reset for each sample"
    ):
        lrcompress.evaluate(["model.keras"], **known)


@quietly
def test_what_is_frozen_is_told(run: Callable[..., Result]) -> None:
    """A frozen layer stays as it is; a model that is frozen whole is trained, and frozen in its file."""
    hidden = keras.layers.Dense(12, activation="relu", name="hidden")
    model, _ = save(INPUTS, hidden)
    words = "finetune small.keras --dataset data.npz --scaling as-is --epochs 4 --learning-rate 0.02 --overwrite"
    for frozen, said, note in (
        (hidden, "layers that are not frozen trained on", "204 weights stayed as they were"),
        (
            model,
            "frozen layers trained on",
            "All layers of the model are frozen: they were trained",
        ),
    ):
        frozen.trainable = False
        model.compile("adam", SPARSE)
        model.save("model.keras")
        lrcompress.factorize("model.keras", rank=3, output="small.keras", overwrite=True)
        before = keras.saving.load_model("small.keras")

        done = run(*words.split())

        assert done.exit_code == 0, done.stderr
        assert said in done.stdout
        assert note in done.stderr
        after = keras.saving.load_model("small-finetuned.keras")
        assert not after.get_layer("hidden").trainable
        moved = [
            not np.array_equal(a, b)
            for a, b in zip(before.get_weights(), after.get_weights(), strict=True)
        ]
        assert moved[0] == (frozen is model)
        assert any(moved[2:])


@quietly
def test_what_keras_cannot_save_is_known_before_the_first_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A layer that HDF5 could not be written of is written; else the command ends before it trains."""
    x = DRAW.integers(0, 255, (90, 6, 6, 3)).astype("uint8")
    _, known = save(
        x, keras.layers.RandomContrast(0.2), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
        name="model.h5",
    )  # fmt: skip
    lrcompress.factorize("model.h5", rank=3, output="small.h5")

    tuned = lrcompress.finetune("small.h5", epochs=1, **known)

    assert keras.saving.load_model(tuned.output).layers[0].value_range == [0, 255]
    from lrcompress.live import storing

    def fails(*_: Any) -> None:
        msg = "cannot pickle 'module' object"
        raise TypeError(msg)

    monkeypatch.setattr(storing, "_save_quietly", fails)
    monkeypatch.setattr("lrcompress.train.finetune._train", pytest.fail)
    with pytest.raises(
        OutputError, match=r"cannot save \S+ as small-finetuned.h5 \(TypeError: cannot pickle"
    ):
        lrcompress.finetune("small.h5", epochs=1, overwrite=True, **known)
    assert not list(Path().glob(".lrcompress-*"))


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float64"])
@pytest.mark.usefixtures("litert")
def test_half_precision_is_exported_in_float32(policy: str) -> None:
    """LiteRT has no such types: what is written computes as the model does, but for rounding."""
    save(INPUTS, keras.layers.Dense(20, activation="relu", dtype=policy))

    with pytest.warns(LRCompressWarning, match=f"computes in {policy}, which litert does not run"):
        found = lrcompress.export("model.keras", seconds=0)

    assert found.difference["largest_difference"] < 0.02


@pytest.mark.parametrize("form", ["litert", "saved-model", "onnx"])
@pytest.mark.usefixtures("litert")
def test_augmentation_is_off_in_what_is_exported(form: str) -> None:
    """Random layers hand on what they are given."""
    x = DRAW.random((90, 6, 6, 3), np.float32)
    save(x, keras.layers.RandomFlip(), keras.layers.GaussianNoise(0.5), keras.layers.Flatten())

    found = lrcompress.export("model.keras", format=form, seconds=0)

    assert found.difference["largest_difference"] < 1e-5
