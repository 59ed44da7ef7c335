"""How a model was compiled decides nothing here: metrics, losses and optimizers of anyone's."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import LRCompressWarning

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras

METRICS = Path(__file__).parents[2] / "benchmarks" / "field_sweeps" / "metrics.py"
DRAW = np.random.default_rng(0)
LABELS = DRAW.integers(0, 6, 200)
INPUTS = (2 * DRAW.normal(size=(6, 8))[LABELS] + DRAW.normal(size=(200, 8))).astype("float32")
SPARSE = "sparse_categorical_crossentropy"
# Ours on settings left out, and Keras' on optimizer slots that a new file does not have.
own_settings = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("F1Score", ".keras"),
        ("mae of two numbers", ".h5"),
        ("one metric, three outputs", ".keras"),
        ("lists of losses and metrics", ".h5"),
    ],
)
def test_metrics_are_not_fed_what_the_original_teaches(
    tmp_path: Path, name: str, suffix: str
) -> None:
    """The model is fine-tuned, and its file is compiled as it was."""
    assert runpy.run_path(str(METRICS))["outcome"](tmp_path, name, suffix).startswith("right")


@pytest.mark.slow
def test_all_metrics_in_all_formats(tmp_path: Path) -> None:
    """None of them ends in a traceback, or loses its settings."""
    found = runpy.run_path(str(METRICS))["sweep"](tmp_path)
    assert len(found) >= 38
    assert {case: how for case, how in found.items() if not how.startswith("right")} == {}


def own_loss(true: Any, predicted: Any) -> Any:
    """Squared distance from the one-hot class."""
    wanted = keras.ops.one_hot(keras.ops.cast(keras.ops.reshape(true, (-1,)), "int32"), 6)
    return keras.ops.mean(keras.ops.square(wanted - predicted), -1)


class OwnLoss(keras.losses.Loss):  # type: ignore[misc, name-defined]
    """The same as a class."""

    def call(self, true: Any, predicted: Any) -> Any:
        """Return one number a sample."""
        return own_loss(true, predicted)


class OwnMetric(keras.metrics.SparseCategoricalAccuracy):  # type: ignore[misc, name-defined]
    """Under a name that only this file knows."""


class OwnOptimizer(keras.optimizers.SGD):  # type: ignore[misc, name-defined]
    """Under a name that only this file knows."""


class OwnSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc, name-defined]
    """A rate that does not change."""

    def __call__(self, step: Any) -> float:
        """Return the rate."""
        return 0.01

    def get_config(self) -> dict[str, Any]:
        """Nothing can be set."""
        return {}


OWN = {thing.__name__: thing for thing in (own_loss, OwnLoss, OwnMetric, OwnOptimizer, OwnSchedule)}
SETTINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "own_loss": lambda: {"optimizer": "adam", "loss": own_loss},
    "OwnLoss": lambda: {"optimizer": "adam", "loss": OwnLoss()},
    "OwnMetric": lambda: {"optimizer": "adam", "loss": SPARSE, "metrics": [OwnMetric()]},
    "OwnOptimizer": lambda: {"optimizer": OwnOptimizer(), "loss": SPARSE},
    "OwnSchedule": lambda: {"optimizer": keras.optimizers.Adam(OwnSchedule()), "loss": SPARSE},
}


def network(**settings: Any) -> Any:
    """Return a small classifier, compiled and trained a little."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((8,)),
        keras.layers.Dense(32, activation="relu", name="hidden"),
        keras.layers.Dense(6, activation="softmax", name="head"),
    ])  # fmt: skip
    model.compile(**settings)
    model.fit(INPUTS, LABELS, epochs=2, verbose=0)
    return model


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data set in a file."""
    path = tmp_path / "data.npz"
    train, test = slice(0, 150), slice(150, 200)
    np.savez(
        path, x_train=INPUTS[train], y_train=LABELS[train], x_test=INPUTS[test], y_test=LABELS[test]
    )
    return path


@own_settings
@pytest.mark.parametrize(
    ("name", "suffix"),
    [("own_loss", ".h5"), ("OwnLoss", ".keras"), ("OwnMetric", ".keras"), ("OwnSchedule", ".h5"),
     ("OwnOptimizer", ".keras")],
)  # fmt: skip
def test_what_keras_does_not_know_of_the_settings(
    tmp_path: Path, data: Path, name: str, suffix: str
) -> None:
    """It is not needed: measured, made smaller, trained; and what is written has it still."""
    model = network(**SETTINGS[name]())
    original, small = tmp_path / f"model{suffix}", tmp_path / f"small{suffix}"
    model.save(original)
    known: dict[str, Any] = {"dataset": str(data), "scaling": "as-is"}

    found = lrcompress.evaluate([original], **known)[0]
    lrcompress.factorize(original, layer="hidden", rank=4, output=small, **known)
    tuned = lrcompress.finetune(small, epochs=1, **known)

    right = model.predict(INPUTS[150:], verbose=0).argmax(-1) == LABELS[150:]
    assert found.error_rate == pytest.approx(100 * (1 - right.mean()))
    assert tuned.history[-1]["loss"] > 0
    with keras.saving.custom_object_scope(OWN):
        again = keras.saving.load_model(tuned.output)
    assert type(again.optimizer) is type(model.optimizer)
    assert len(again.evaluate(INPUTS, LABELS, verbose=0, return_dict=True)) == len(
        model.metrics_names
    )


def test_the_note_names_it_once(tmp_path: Path, data: Path, run: Callable[..., Result]) -> None:
    """One line on stderr for all models of a command; none with --quiet."""
    network(optimizer="adam", loss=own_loss, metrics=[OwnMetric()]).save(tmp_path / "model.keras")
    words = ["evaluate", "model.keras", "model.keras", "--dataset", data, "--scaling", "as-is"]

    done = run(*words)

    assert done.exit_code == 0, done.stderr
    assert done.stderr.count("Note: Compile settings: Keras does not know own_loss, OwnMetric") == 1
    assert "Note:" not in run(*words, "--quiet").stderr
    with pytest.warns(LRCompressWarning, match="own_loss, OwnMetric"):
        lrcompress.evaluate([tmp_path / "model.keras"], dataset=str(data), scaling="as-is")


@own_settings
def test_what_keras_does_know_beside_it_still_counts(tmp_path: Path) -> None:
    """Whole numbers under a squared loss are numbers, whatever the metric is called."""
    x, y = INPUTS, np.arange(200) % 50
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=[OwnMetric()])
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)

    found = lrcompress.evaluate(
        [tmp_path / "model.keras"], dataset=str(tmp_path / "data.npz"), scaling="as-is"
    )[0]

    assert found.measure == "rmse"
    ours = np.sqrt(np.mean((model.predict(x, verbose=0)[:, 0] - y) ** 2))
    assert found.value == pytest.approx(ours, rel=1e-5)


SCALE = 3.0


def test_functions_of_a_live_model_stay_the_callers(tmp_path: Path) -> None:
    """A Lambda that uses a global, an activation and a loss of one's own: the new model has the same."""

    def steep(x: Any) -> Any:
        return keras.ops.tanh(SCALE * x)

    entry = keras.Input((8,))
    wide = keras.layers.Dense(32, activation=steep, name="hidden")(entry)
    scaled = keras.layers.Lambda(lambda x: x * SCALE, output_shape=(32,))(wide)
    model = keras.Model(entry, keras.layers.Dense(6, activation="softmax", name="head")(scaled))
    model.compile(
        OwnOptimizer(OwnSchedule()), lambda true, predicted: own_loss(true, predicted),
        metrics=[OwnMetric(), "accuracy"],
    )  # fmt: skip
    model.fit(INPUTS, LABELS, epochs=1, verbose=0)

    small = lrcompress.factorize(model, layer="head", rank=6, force=True).model

    assert small.predict(INPUTS, verbose=0) == pytest.approx(
        model.predict(INPUTS, verbose=0), abs=1e-5
    )
    assert small.loss is model.loss
    assert type(small.optimizer) is OwnOptimizer
    small.fit(INPUTS, LABELS, epochs=1, verbose=0)
    assert set(small.get_metrics_result()) == set(model.get_metrics_result())


def test_sizes_told_are_those_of_the_files(tmp_path: Path, run: Callable[..., Result]) -> None:
    """Optimizer state is part of a file's size, and of no saving."""
    from lrcompress.reporting.words import size

    network(optimizer="adam", loss=SPARSE).save(tmp_path / "model.h5")

    done = run("factorize", "model.h5", "--layer", "hidden", "--rank", 4, "-o", "small.h5")

    rows = {line.split("  ")[1].strip(): line for line in done.stdout.splitlines() if "  " in line}
    before, after = (size((tmp_path / name).stat().st_size) for name in ("model.h5", "small.h5"))
    assert rows["file"].split() == ["file", *before.split(), *after.split()]
    assert "%" in rows["without optimizer state"]
