"""Data without labels: choices and figures by agreement with the original, and refusals where labels count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrcompress
from lrcompress.data.dataset import assemble
from lrcompress.errors import DatasetError, RankError

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.keras

DRAW = np.random.default_rng(0)
LABELS = DRAW.integers(0, 6, 600)
X = ((DRAW.normal(size=(6, 12)) * 2)[LABELS] + DRAW.normal(size=(600, 12))).astype("float32")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a classifier of six classes."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((12,)), keras.layers.Dense(24, activation="relu"),
        keras.layers.Dense(6, activation="softmax", name="head"),
    ])  # fmt: skip
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(X[:400], LABELS[:400], epochs=8, verbose=0)
    path = tmp_path_factory.mktemp("unlabelled") / "model.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def inputs(file: Path) -> str:
    """Return a `.npz` file of training inputs alone."""
    path = file.with_name("inputs.npz")
    np.savez(path, x_train=X[:500])
    return str(path)


def same(first: Any, second: Any, x: np.ndarray) -> float:
    """Return how often two models decide alike, in percent."""
    a, b = (np.asarray(model(x)).argmax(-1) for model in (first, second))
    return 100 * float((a == b).mean())


@pytest.mark.parametrize("method", ["refined", "whitened", "auto"])
def test_methods_that_use_data(file: Path, inputs: str, tmp_path: Path, method: str) -> None:
    """Inputs are all that they need; what is measured is called by its name."""
    result = lrcompress.factorize(
        file, rank=3, method=method, dataset=inputs, output=tmp_path / "small.keras"
    )

    after = result.measured_after
    assert after is not None
    assert after["measure"] == "disagreement"
    assert result.error_rate_after is None
    assert result.measured_before is not None
    assert result.measured_before["disagreement"] == 0
    # The seeded fifth that no choice was made on.
    test = np.sort(np.random.default_rng(0).permutation(500)[:100])
    models = [keras.saving.load_model(path, compile=False) for path in (file, result.output)]
    assert after["disagreement"] == pytest.approx(100 - same(*models, X[:500][test]))
    assert any("no test part: 100 samples" in line for line in result.warnings)
    record = json.loads(result.record.read_text())
    assert [stage.get("disagreement") for stage in record["stages"]] == [0, after["disagreement"]]
    assert "binary_error" not in str(record)
    assert [stage["error_rate"] for stage in record["stages"]] == [None, None]


@pytest.mark.parametrize("allowed", [2.0, 15.0])
def test_max_drop_counts_changed_predictions(
    file: Path, inputs: str, tmp_path: Path, allowed: float
) -> None:
    """The rank is the smallest whose sweep shows no more than was allowed; a rank below loses more."""
    found = lrcompress.sweep(file, method="svd", dataset=inputs).rows
    held_out = {row["rank"]: row["held_out_drop"] for row in found}
    fitting = [
        rank for rank in held_out if all(held_out[r] <= allowed for r in held_out if r >= rank)
    ]
    if not fitting:
        with pytest.raises(RankError, match="agreement with the original"):
            lrcompress.factorize(file, max_drop=allowed, method="svd", dataset=inputs,
                                 output=tmp_path / "small.keras")  # fmt: skip
        return

    result = lrcompress.factorize(
        file, max_drop=allowed, method="svd", dataset=inputs, output=tmp_path / "small.keras"
    )

    assert result.rank == min(fitting)
    assert "agreement with the original" in result.layers[0].choice.message
    for row in found:
        assert row["held_out_disagreement"] == pytest.approx(100 - row["agreement"])
        assert row["error_rate"] is row["held_out_error_rate"] is None


def test_training_by_the_teacher_alone(file: Path, inputs: str, tmp_path: Path) -> None:
    """Fine-tuning comes nearer to the original; labels that do not exist have no part in it."""
    small = lrcompress.factorize(
        file, rank=2, method="svd", dataset=inputs, output=tmp_path / "small.keras"
    )

    result = lrcompress.finetune(small.output, epochs=12, dataset=inputs)

    assert result.settings["teacher_weight"] == 1
    assert result.measure == "disagreement"
    assert result.after["disagreement"] < result.before["disagreement"] - 5
    assert all("validation_disagreement" in entry for entry in result.history)
    for options in ({"distill": False}, {}):
        if not options:
            file_is_gone = json.loads(small.record.read_text())
            file_is_gone["stages"] = file_is_gone["stages"][1:]
            small.record.write_text(json.dumps(file_is_gone))
        with pytest.raises(DatasetError, match="original") as refused:
            lrcompress.finetune(small.output, epochs=1, dataset=inputs, overwrite=True, **options)
        assert refused.value.code == "no_labels"


def test_what_counts_errors_needs_labels(file: Path, inputs: str) -> None:
    """In one line, with what does not need them."""
    with pytest.raises(DatasetError, match="agreement") as refused:
        lrcompress.evaluate([file], dataset=inputs)

    assert refused.value.code == "no_labels"
    assert "\n" not in str(refused.value)


def test_a_test_part_that_nobody_gave_is_no_larger_than_tells(
    file: Path, inputs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a seeded fifth without labels as many samples are judged by as tell something; of a given part all are."""
    from lrcompress.live import prepare

    monkeypatch.setattr(prepare, "JUDGED", 6 * 40)
    monkeypatch.setattr(prepare, "FEWEST_JUDGED", 10)
    given = tmp_path / "given.npz"
    np.savez(given, x_train=X[:400], x_test=X[400:])
    found = [
        lrcompress.factorize(file, rank=3, method="svd", dataset=str(data), output=tmp_path / name)
        for data, name in ((inputs, "fifth.keras"), (given, "given.keras"))
    ]

    assert [result.measured_after["samples"] for result in found] == [40, 200]


def test_images_without_labels_ask_for_their_scaling(tmp_path: Path) -> None:
    """Nothing tells how they were scaled; tables stay as they are."""
    model = keras.Sequential([
        keras.Input((4, 4)), keras.layers.Flatten(), keras.layers.Dense(9, activation="relu"),
        keras.layers.Dense(8, activation="softmax", name="head"),
    ])  # fmt: skip
    model.save(tmp_path / "images.keras")
    np.savez(tmp_path / "images.npz", x_train=DRAW.integers(0, 256, (60, 4, 4), np.uint8))

    with pytest.raises(DatasetError, match="--scaling") as refused:
        lrcompress.sweep(tmp_path / "images.keras", dataset=str(tmp_path / "images.npz"))

    assert refused.value.code == "scaling_unknown"


def test_one_unit_that_says_yes_or_no(tmp_path: Path) -> None:
    """Its decisions are classes 0 and 1, judged with both classes alike; every Dense at once, and weighted."""
    model = keras.Sequential([
        keras.Input((12,)), keras.layers.Dense(16, activation="relu"),
        keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.compile("adam", "binary_crossentropy")
    model.fit(X, LABELS > 3, epochs=6, verbose=0)
    model.save(tmp_path / "yes.keras")
    arrays = {
        "x_train": X[:300],
        "x_test": X[300:],
        "x_val": X[200:300],
        "sample_weight_train": np.ones(300),
    }
    np.savez(tmp_path / "yes.npz", **arrays)

    result = lrcompress.factorize(
        tmp_path / "yes.keras", layers="dense", max_drop=5, method="svd", dataset=tmp_path / "yes.npz",
        output=tmp_path / "small.keras",
    )  # fmt: skip

    first, second = (
        np.asarray(keras.saving.load_model(path, compile=False)(X[300:])) > 0.5
        for path in (tmp_path / "yes.keras", tmp_path / "small.keras")
    )
    assert result.measured_after is not None
    assert result.measured_after["disagreement"] == pytest.approx(100 * (first != second).mean())
    assert "balanced_disagreement" in result.measured_after
    assert "auc" not in result.measured_after
    story = lrcompress.report(result.record, output=tmp_path / "report.md")
    assert story["headline"]["measure"] == "disagreement"
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "disagreement with the original" in text
    assert "test error" not in text.lower()


def test_outputs_that_are_decisions_are_refused(tmp_path: Path) -> None:
    """With labels or without."""
    inputs = keras.Input((12,))
    hidden = keras.layers.Dense(8, name="head")(inputs)
    decided = keras.layers.Lambda(lambda t: keras.ops.argmax(t, axis=-1), output_shape=())(hidden)
    model = keras.Model(inputs, decided)

    with pytest.raises(DatasetError, match="not decisions"):
        lrcompress.factorize(model, layer="head", rank=2, dataset=X)


def test_several_outputs_numbers_and_labels(tmp_path: Path) -> None:
    """Each output is measured by what the original says there: decisions, labels that hold, numbers."""
    inputs = {name: keras.Input((5,), name=name) for name in ("a", "b")}
    both = keras.layers.Concatenate()(list(inputs.values()))
    hidden = keras.layers.Dense(20, activation="relu", name="hidden")(both)
    outputs = {
        "classes": keras.layers.Dense(4, activation="softmax", name="classes")(hidden),
        "labels": keras.layers.Dense(3, activation="sigmoid", name="labels")(hidden),
        "numbers": keras.layers.Dense(2, name="numbers")(hidden),
    }
    keras.Model(inputs, outputs).save(tmp_path / "several.keras")
    arrays = {
        f"x_{part}.{name}": DRAW.normal(size=(90, 5)) for part in ("train", "test") for name in "ab"
    }
    np.savez(tmp_path / "several.npz", **arrays)

    result = lrcompress.factorize(
        tmp_path / "several.keras", rank=3, layer="hidden", dataset=str(tmp_path / "several.npz"),
        output=tmp_path / "small.keras",
    )  # fmt: skip

    assert result.measured_after is not None
    found = result.measured_after["outputs"]
    assert {name: figures["measure"] for name, figures in found.items()} == {
        "classes": "disagreement", "labels": "disagreement", "numbers": "deviation",
    }  # fmt: skip
    assert found["numbers"]["deviation"] > 0
    with pytest.raises(RankError, match="classes") as refused:
        lrcompress.factorize(
            tmp_path / "several.keras", max_drop=1, layer="hidden",
            dataset=str(tmp_path / "several.npz"), output=tmp_path / "other.keras",
        )  # fmt: skip
    assert refused.value.code == "no_error_rate"


@pytest.mark.parametrize(
    ("arrays", "word"),
    [
        ({"x_train": X[:9], "x_test": X[:3], "y_test": LABELS[:3]}, "without y_train"),
        ({"x_train": X[:9], "y_train": LABELS[:9], "x_test": X[:3]}, "without y_test"),
        ({"x_train": X[:9], "y_train": LABELS[:9], "y_test": LABELS[:3]}, "without x_test"),
        ({"x_train": X[:9], "class_weight": np.ones(6)}, "class_weight"),
        ({"x_train": X[:1]}, "three"),
        ({"x_train": X[:9], "x_val": X[:3] * np.nan}, "x_val"),
        ({"x_train": X[:9], "x_val": X[:3, :5]}, "validation"),
    ],
)
def test_halves_are_refused(arrays: dict[str, Any], word: str) -> None:
    """Labels of one part alone, and parts that do not go with inputs alone; every array is looked at."""
    with pytest.raises(DatasetError, match=word):
        assemble("data", "data", arrays)


def test_the_part_left_out_is_seeded() -> None:
    """A fifth, with its labels and weights; the same by the same seed, all of it where it is only measured."""
    arrays = {"x_train": X[:50], "y_train": LABELS[:50], "sample_weight_train": np.arange(50) + 1.0}
    first, again, other, whole = (
        assemble("data", "data", arrays, seed=seed, whole=whole)
        for seed, whole in ((3, False), (3, False), (4, False), (3, True))
    )

    assert np.array_equal(first.x_test, again.x_test)
    assert not np.array_equal(first.x_test, other.x_test)
    rows = np.asarray(first.w_test, int) - 1
    assert len(rows) == 10
    assert np.array_equal(np.asarray(first.x_test), X[rows])
    assert np.array_equal(np.asarray(first.y_test), LABELS[rows])
    assert len(first.x_train) == 40
    assert len(whole.x_test) == len(whole.x_train) == 50
    assert not first.test_given
