"""A rare class is not lost without a word, and held-out labels that were learned do not decide."""

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

from lrcompress.measure import lost_classes
from tests.measure.scoring import score

pytestmark = pytest.mark.keras


def answers(chances: np.ndarray, labels: np.ndarray) -> Any:
    """Return the evaluation of probabilities, (k, n), for class numbers, or (k, n) labels."""
    return score(chances.astype(np.float32), labels, is_logits=False)


def test_one_sigmoid_unit_is_measured_by_balanced_error_and_auc() -> None:
    """By hand: of 2 positives one is found, of 8 negatives 7 are; 14 of 16 pairs are in order."""
    chances = np.array([0.9, 0.4, 0.8, 0.45, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])[:, None]

    found = answers(chances, np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0])).to_json()

    assert found["balanced_error"] == pytest.approx(100 * (1 / 2 + 1 / 8) / 2)
    assert found["auc"] == pytest.approx(14 / 16)
    assert found["recall"] == pytest.approx([87.5, 50])


def test_even_classes_tell_nothing_more() -> None:
    """Of three even classes the error says it all; with one in twenty the balanced error stands beside."""
    even, uneven = np.repeat([0, 1, 2], 20), np.repeat([0, 1, 2], [30, 27, 3])

    figures = [answers(np.eye(3)[np.zeros(60, int)], labels).to_json() for labels in (even, uneven)]

    assert ["balanced_error" in found for found in figures] == [False, True]
    assert figures[1]["balanced_error"] == pytest.approx(200 / 3)


def test_lost_classes_are_named() -> None:
    """A class whose recall halves is named with its share, one class alone is said to be all there is."""
    labels = np.repeat([0, 1, 2], [80, 10, 10])
    original, small, nothing = (
        np.eye(3)[picked] for picked in (labels, np.where(labels == 2, 0, labels), labels * 0)
    )
    several = np.eye(3)[labels][:, 1:].astype(bool)

    one = lost_classes(answers(original, labels), answers(small, labels))
    all_of_them = lost_classes(answers(original, labels), answers(nothing, labels))
    none = lost_classes(answers(original, labels), answers(original, labels))
    no_label = lost_classes(answers(several * 1.0, several), answers(several * 0.0, several))

    assert one == ["Recall falls by more than half: class 2 (10 % of the samples): 100 % to 0 %."]
    assert "one class only" in all_of_them[0]
    assert "class 1" in all_of_them[1]
    assert none == []
    assert "no label at all" in no_label[0]


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a network with one sigmoid unit, and data with 3 % positives."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3_000, 8)).astype(np.float32)
    chance = np.abs(x[:, 0] * x[:, 1])
    y = (chance > np.quantile(chance, 0.97)).astype(int)
    model = keras.Sequential([
        keras.Input((8,)), layers.Dense(32, activation="relu"),
        layers.Dense(24, activation="relu", name="second"), layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    model.fit(x[:2_000], y[:2_000], epochs=25, batch_size=64, verbose=0, class_weight={0: 1, 1: 4})
    folder = tmp_path_factory.mktemp("rare")
    model.save(folder / "rare.keras")
    np.savez(
        folder / "rare.npz",
        x_train=x[:2_000],
        y_train=y[:2_000],
        x_test=x[2_000:],
        y_test=y[2_000:],
    )
    return folder / "rare.keras", folder / "rare.npz"


def test_a_drop_counts_balanced_error(
    rare: tuple[Path, Path], tmp_path: Path, run: Callable[..., Result]
) -> None:
    """--max-drop keeps the rare class, and the text tells its balanced error and AUC."""
    model, data = rare
    words = ("factorize", model, "--layer", "second", "--dataset", data, "--scaling", "as-is")

    done = run(*words, "--max-drop", "3", "-o", tmp_path / "small.keras")
    lowest = run(*words, "--rank", "1", "-o", tmp_path / "lowest.keras", "--json")

    assert done.exit_code == 0, done.output
    assert "balanced error" in done.stdout
    assert "AUC" in done.stdout
    record = json.loads((tmp_path / "small.lrcompress.json").read_text(encoding="utf-8"))
    before, after = record["stages"]
    assert after["recall"][1] > before["recall"][1] / 2
    # The lowest rank loses the rare class, which an error rate of 3 % can hide.
    document = json.loads(lowest.stdout)
    assert document["measured_after"]["recall"][1] < document["measured_before"]["recall"][1] / 2
    assert any("Recall falls" in warning for warning in document["warnings"])


def test_given_validation_data_decide(
    rare: tuple[Path, Path], tmp_path: Path, run: Callable[..., Result]
) -> None:
    """x_val of the data, or --validation, takes the place of the held-out tenth, and that is said."""
    model, data = rare
    with np.load(data) as arrays:
        parts = dict(arrays)
    np.savez(
        tmp_path / "own.npz", **parts, x_valid=parts["x_test"][:400], y_valid=parts["y_test"][:400]
    )
    np.savez(tmp_path / "other.npz", x=parts["x_test"][:300], y=parts["y_test"][:300])
    words = (
        "factorize",
        model,
        "--layer",
        "second",
        "--scaling",
        "as-is",
        "--max-drop",
        "5",
        "--json",
    )

    found = {}
    for name, more in {
        "held out": ("--dataset", data), "own": ("--dataset", tmp_path / "own.npz"),
        "other": ("--dataset", data, "--validation", tmp_path / "other.npz"),
    }.items():  # fmt: skip
        done = run(*words, *more, "-o", tmp_path / f"{name}.keras")
        assert done.exit_code == 0, done.output
        record = json.loads((tmp_path / f"{name}.lrcompress.json").read_text(encoding="utf-8"))
        said = record["layers"][0]["rank_choice"]["message"]
        samples = record["dataset"]["validation_samples"]
        found[name] = (samples, "probabilities" in said, "on the validation data" in said)

    assert found == {
        "held out": (200, True, False),
        "own": (400, False, True),
        "other": (300, False, True),
    }


@pytest.mark.parametrize("name", ["absent.npz", "rare.keras", "train.npz"])
def test_validation_data_are_refused_in_one_line(
    rare: tuple[Path, Path], tmp_path: Path, run: Callable[..., Result], name: str
) -> None:
    """What is no file, no .npz, or holds no x_val, is refused before Keras starts."""
    model, data = rare
    np.savez(tmp_path / "train.npz", x_train=np.zeros((3, 8)), y_train=np.zeros(3))
    file = model if name == "rare.keras" else tmp_path / name

    done = run("factorize", model, "--layer", "second", "--dataset", data, "--validation", file)

    assert done.exit_code in (1, 2)
    assert "Error: " in done.output
    assert "x_val" in done.output
    assert list(tmp_path.glob("*.lrcompress.json")) == []


def test_memory_of_the_held_out_part_is_said(tmp_path: Path, run: Callable[..., Result]) -> None:
    """A network that learned random labels by heart errs on test data alone, and that is told."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 16)).astype(np.float32), rng.integers(0, 4, 300)
    y[:150] = np.where(x[:150, 0] > 0, y[:150] // 2, 2 + y[:150] // 2)
    model = keras.Sequential([
        keras.Input((16,)), layers.Dense(64, activation="relu"), layers.Dense(24, activation="relu"),
        layers.Dense(4, activation="softmax"),
    ])  # fmt: skip
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(x[:200], y[:200], epochs=60, verbose=0)
    model.save(tmp_path / "learned.keras")
    np.savez(
        tmp_path / "data.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:]
    )

    done = run(
        "factorize",
        "learned.keras",
        "--dataset",
        "data.npz",
        "--scaling",
        "as-is",
        "--max-drop",
        "20",
    )

    assert done.exit_code == 0, done.output
    assert "it was trained on that part" in done.output
    assert "--validation" in done.output
