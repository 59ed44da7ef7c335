"""Models of every kind through the whole house: two inputs, two outputs, labels, numbers, weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

import lrcompress
from lrcompress.data.dataset import Dataset
from lrcompress.data.scaling import parse
from lrcompress.data.sources import load
from lrcompress.errors import DatasetError, RankError
from lrcompress.live.prepare import prepare
from lrcompress.live.storing import load_model

pytestmark = pytest.mark.keras
Refuses = Callable[..., AbstractContextManager[None]]
Run = Callable[..., Result]
Data = dict[str, NDArray[Any]]
SAMPLES = 160


def inputs(rng: np.random.Generator, samples: int = SAMPLES) -> NDArray[np.float32]:
    """Return six features, which all of the labels below come from."""
    return rng.normal(size=(samples, 6)).astype(np.float32)


def numbers(x: NDArray[np.float32], n: int = 8) -> NDArray[np.float32]:
    """Return n numbers that depend on the inputs linearly, and on one square."""
    mixing = np.random.default_rng(7).normal(size=(x.shape[1], n))
    return np.asarray(x @ mixing + np.square(x[:, :1]), np.float32)


def parts(make: Any, seed: int = 0) -> Data:
    """Return training and test arrays of what a function makes of inputs: arrays by their key."""
    rng = np.random.default_rng(seed)
    found: Data = {}
    for part in ("train", "test"):
        made = make(inputs(rng))
        found |= {key.replace("@", part): array for key, array in made.items()}
    return found


def regression(x: NDArray[np.float32]) -> Data:
    """Numbers of a regression."""
    return {"x_@": x, "y_@": numbers(x)}


def labels(x: NDArray[np.float32]) -> Data:
    """Eight labels, any number of which hold."""
    return {"x_@": x, "y_@": (numbers(x) > 0.5).astype(np.uint8)}


def two_inputs(x: NDArray[np.float32]) -> Data:
    """The classes, with the features in two arrays."""
    return {"x_@.left": x[:, :2], "x_@.right": x[:, 2:], "y_@": numbers(x).argmax(axis=1)}


def two_outputs(x: NDArray[np.float32]) -> Data:
    """A class and eight numbers."""
    return {"x_@": x, "y_@.kind": numbers(x).argmax(axis=1), "y_@.size": numbers(x)}


MAKERS = {
    "regression": regression,
    "labels": labels,
    "two_inputs": two_inputs,
    "two_outputs": two_outputs,
}


def build(kind: str) -> Any:
    """Return a compiled, untrained model of a kind: one of the functions above by name."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    if kind == "two_inputs":
        ends = [keras.Input((2,), name="left"), keras.Input((4,), name="right")]
        x = layers.Concatenate(name="both")(ends)
    else:
        ends = [keras.Input((6,), name="features")]
        x = ends[0]
    hidden = layers.Dense(12, activation="relu", name="hidden")(x)
    if kind == "two_outputs":
        outputs = [
            layers.Dense(8, activation="softmax", name="kind")(hidden),
            layers.Dense(8, name="size")(hidden),
        ]
        loss: Any = {"kind": "sparse_categorical_crossentropy", "size": "mse"}
        weights = {"kind": 1.0, "size": 0.5}
    else:
        activation = {"regression": "linear", "labels": "sigmoid"}.get(kind, "softmax")
        outputs = [layers.Dense(8, activation=activation, name="out")(hidden)]
        loss = {"regression": "mse", "labels": "binary_crossentropy"}.get(
            kind, "sparse_categorical_crossentropy"
        )
        weights = None
    model = keras.Model(
        ends if len(ends) > 1 else ends[0], outputs if len(outputs) > 1 else outputs[0]
    )
    model.compile(keras.optimizers.Adam(0.02), loss, loss_weights=weights)
    return model


def as_fed(data: Data, key: str) -> Any:
    """Return the arrays of a key as Keras takes them: alone, or by name."""
    named = {
        name.partition(".")[2]: array for name, array in data.items() if name.split(".")[0] == key
    }
    return named.get("", named)


def trained(kind: str, data: Data, folder: Path, suffix: str = ".keras") -> Path:
    """Return the file of a model of a kind, trained a little."""
    model = build(kind)
    model.fit(as_fed(data, "x_train"), as_fed(data, "y_train"), epochs=12, batch_size=16, verbose=0)
    path = folder / f"{kind}{suffix}"
    model.save(path)
    return path


def saved(data: Data, folder: Path, name: str = "data") -> Path:
    """Return the `.npz` file of some arrays."""
    path = folder / f"{name}.npz"
    np.savez(path, **data)
    return path


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path, Data]]:
    """Return a function that makes a trained model, its data file and the arrays, once a kind."""
    folder = tmp_path_factory.mktemp("kinds")
    made: dict[str, tuple[Path, Path, Data]] = {}

    def get(kind: str, suffix: str = ".keras") -> tuple[Path, Path, Data]:
        if kind not in made:
            data = parts(MAKERS[kind])
            made[kind] = trained(kind, data, folder, suffix), saved(data, folder, kind), data
        return made[kind]

    return get


def outputs_of(path: Path, data: Data, part: str = "test") -> Any:
    """Return what Keras itself predicts."""
    return load_model(path).predict(as_fed(data, f"x_{part}"), verbose=0)


def test_numbers(case: Any, refuses: Refuses, tmp_path: Path) -> None:
    """A regression is measured by its RMSE, in the record too; a drop in points means nothing."""
    model, npz, data = case("regression", ".h5")
    dataset, small = str(npz), tmp_path / "small.h5"

    result = lrcompress.factorize(model, rank=3, method="whitened", dataset=dataset, output=small)
    first, second = lrcompress.evaluate([model, small], dataset=dataset)

    y = data["y_test"]
    roots = [np.sqrt(np.mean((outputs_of(path, data) - y) ** 2)) for path in (model, small)]
    assert [first.value, second.value] == pytest.approx(roots, rel=1e-5)
    assert (first.measure, first.scaling, first.error_rate) == ("rmse", "as-is", None)
    assert second.difference is not None
    assert second.difference["difference"] == pytest.approx(roots[1] - roots[0], rel=1e-4)
    stages = json.loads(result.record.read_text())["stages"]
    assert [stage["rmse"] for stage in stages] == pytest.approx(roots, rel=1e-5)
    assert stages[1]["drop"]["measure"] == "rmse"
    with refuses(RankError, "no_error_rate", "RMSE", "--energy"):
        lrcompress.factorize(model, max_drop=1, dataset=dataset, output=tmp_path / "other.h5")
    assert not (tmp_path / "other.h5").exists()


def test_labels_of_which_any_may_hold(case: Any, tmp_path: Path) -> None:
    """Labels are measured one by one and ranked; a drop counts points of their error."""
    model, npz, data = case("labels")

    result = lrcompress.factorize(
        model, max_drop=8, method="whitened", dataset=str(npz), output=tmp_path / "small.keras"
    )
    (found,) = lrcompress.evaluate([model], dataset=str(npz))

    p, y = outputs_of(model, data), data["y_test"]
    areas = [
        np.mean(p[y[:, k] == 1, k][:, None] > p[y[:, k] == 0, k][None]) for k in range(y.shape[1])
    ]
    assert found.measure == "binary_error"
    assert found.value == pytest.approx(100 * np.mean((p > 0.5) != y))
    assert found.figures["auc"] == pytest.approx(np.mean(areas), abs=1e-6)
    chosen = result.layers[0].choice
    assert chosen.found[result.rank] <= 8
    before, after = result.measured_before, result.measured_after
    assert before is not None
    assert after is not None
    assert before["binary_error"] == pytest.approx(found.value)
    assert after["binary_error"] > 0


def test_two_inputs(case: Any, run: Run, refuses: Refuses) -> None:
    """Arrays go to the inputs of their names, or of their order; others are refused by name."""
    model, npz, data = case("two_inputs")
    by_order = {k.replace("left", "0").replace("right", "1"): a for k, a in data.items()}
    np.savez("by_order.npz", **by_order)
    np.savez("others.npz", **{k.replace("left", "wrong"): a for k, a in data.items()})

    done = run(
        "factorize", model, "--rank", 3, "--method", "whitened", "--dataset", npz,
        "--output", "small.keras", "-q",
    )  # fmt: skip
    named = lrcompress.evaluate([model, "small.keras"], dataset=str(npz))
    (ordered,) = lrcompress.evaluate([model], dataset="by_order.npz")

    assert done.exit_code == 0
    wrong = outputs_of(model, data).argmax(axis=1) != data["y_test"]
    assert named[0].error_rate == ordered.error_rate == pytest.approx(100 * wrong.mean())
    assert named[1].difference is not None
    assert named[1].difference["p_value"] <= 1
    with refuses(DatasetError, "model_inputs", "left, right", "x_train.wrong", "x_train.left"):
        lrcompress.evaluate([model], dataset="others.npz")


def test_two_outputs(case: Any, run: Run, refuses: Refuses) -> None:
    """Each output has its own measure; the loss is Keras' own, and a layer is judged by its output."""
    model, npz, data = case("two_outputs")

    done = run(
        "factorize", model, "--layer", "kind", "--max-drop", 40, "--dataset", npz,
        "--output", "small.keras", "--json", "-q",
    )  # fmt: skip
    text = run("evaluate", model, "small.keras", "--dataset", npz, "-q")
    (found,) = lrcompress.evaluate([model], dataset=str(npz))
    swept = lrcompress.sweep(model, layer="size", ranks=[2], dataset=str(npz), method="whitened")

    keras_loss = load_model(model).evaluate(
        as_fed(data, "x_test"), as_fed(data, "y_test"), verbose=0, return_dict=True
    )["loss"]
    kind, size = outputs_of(model, data)
    outputs = found.figures["outputs"]
    assert found.loss == pytest.approx(keras_loss, rel=1e-4)
    assert outputs["kind"]["errors"] == (kind.argmax(axis=1) != data["y_test.kind"]).sum()
    assert outputs["size"]["rmse"] == pytest.approx(
        np.sqrt(np.mean((size - data["y_test.size"]) ** 2)), rel=1e-5
    )
    document = json.loads(done.stdout)
    choice = document["layers"][0]["rank_choice"]
    assert choice["rule"] == "max_drop"
    assert choice["found"][str(document["rank"])] <= 40
    # It ends an output, so it is refined through softmax like the head of a model with one.
    assert "hidden" not in document["method_reason"]
    after = document["measured_after"]["outputs"]
    # The other output is untouched.
    assert after["size"]["rmse"] == outputs["size"]["rmse"]
    assert after["kind"]["errors"] != outputs["kind"]["errors"]
    row = swept.rows[0]
    assert row["held_out_error_rate"] is None
    assert row["rmse"] > outputs["size"]["rmse"] == swept.original["rmse"]
    assert text.exit_code == 0
    assert "keras: kind" in text.stdout
    assert "RMSE" in text.stdout
    # The hidden layer leads to numbers too: a drop of the other output would not see what they lose.
    with refuses(RankError, "no_error_rate", "output size"):
        lrcompress.factorize(model, layers="dense", max_drop=9, dataset=str(npz), output="x.keras")


def test_weights_of_samples_count(case: Any, tmp_path: Path) -> None:
    """Errors are weighted on test data and held-out data; the split keeps weights with samples."""
    model, _, data = case("two_inputs")
    weights = np.random.default_rng(3).integers(0, 4, SAMPLES).astype(np.float32)
    given = data | {
        "sample_weight_train": data["x_train.left"][:, 0] ** 2,
        "sample_weight_test": weights,
        "class_weight": np.arange(1.0, 9.0),
    }
    npz = saved(given, tmp_path)

    (found,) = lrcompress.evaluate([model], dataset=str(npz))
    prepared = prepare(load(str(npz)), load_model(model))
    result = lrcompress.factorize(
        model, max_drop=40, method="whitened", dataset=str(npz), output=tmp_path / "small.keras"
    )

    wrong = outputs_of(model, data).argmax(axis=1) != data["y_test"]
    assert found.error_rate == pytest.approx(100 * np.average(wrong, weights=weights))
    assert found.samples == (weights > 0).sum()
    split = prepared.split
    assert isinstance(split.x_train, dict)
    assert isinstance(split.x_val, dict)
    np.testing.assert_array_equal(split.w_train, split.x_train["left"][:, 0] ** 2)
    np.testing.assert_array_equal(split.w_val, split.x_val["left"][:, 0] ** 2)
    np.testing.assert_array_equal(split.class_weight, np.arange(1.0, 9.0))
    assert result.layers[0].choice.found[result.rank] <= 40
    drop = json.loads(result.record.read_text())["stages"][1]["drop"]
    assert drop["measure"] == "error_rate"


def test_padded_steps_count_nowhere(tmp_path: Path) -> None:
    """Steps of weight 0 are left out by the head alone as by the whole network."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((None, 6)),
            keras.layers.Dense(12, activation="relu"),
            keras.layers.Dense(8, activation="softmax", name="step"),
        ]
    )
    model.save(tmp_path / "steps.keras")
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 5, 6)).astype(np.float32), rng.integers(0, 8, (40, 5))
    weights = (rng.random((40, 5)) < 0.6).astype(np.float32)
    data = {f"{key}_{part}": a for key, a in (("x", x), ("y", y), ("sample_weight", weights))
            for part in ("train", "test")}  # fmt: skip
    npz = saved(data, tmp_path)

    swept = lrcompress.sweep(
        tmp_path / "steps.keras", ranks=[3], method="svd", dataset=str(npz), scaling="as-is"
    )
    (found,) = lrcompress.evaluate([tmp_path / "steps.keras"], dataset=str(npz), scaling="as-is")

    wrong = (model.predict(x, verbose=0).argmax(axis=-1) != y)[weights > 0]
    assert found.error_rate == pytest.approx(100 * wrong.mean())
    assert swept.original["error_rate"] == pytest.approx(found.error_rate)
    assert swept.original["samples"] == found.samples == (weights > 0).sum()
    assert swept.original["held_out_samples"] < 0.2 * found.samples
    assert swept.rows[0]["drop"]["p_value"] <= 1


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"sample_weight_test": np.ones(3)}, "sample_weight", ["(3,)", "160 samples"]),
        ({"sample_weight_train": -np.ones(SAMPLES)}, "sample_weight", ["0 or more"]),
        ({"class_weight": np.ones(3)}, "class_weight", ["3 class weights", "8 units"]),
        ({"y_train": np.full((SAMPLES, 1), np.nan)}, "dataset_labels", ["NaN"]),
        ({"x_train": np.zeros((SAMPLES, 6))}, "dataset_shape", ["x_train and x_train.left"]),
        ({"x_test.left": np.zeros((3, 2))}, "dataset_shape", ["160 samples, another input 3"]),
        ({"x_test.more": np.zeros((SAMPLES, 2))}, "dataset_shape", ["x.more", "the same names"]),
    ],
)
def test_arrays_that_do_not_belong_together(
    case: Any, refuses: Refuses, tmp_path: Path, changes: Data, code: str, words: list[str]
) -> None:
    """Weights and names are checked like shapes, in one line."""
    model, _, data = case("two_inputs")
    npz = saved(data | changes, tmp_path)

    with refuses(DatasetError, code, *words):
        lrcompress.evaluate([model], dataset=str(npz))


def test_images_of_labels_are_scaled() -> None:
    """Bytes of an image are scaled as the model is least wrong, whatever its labels mean."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (300, 3, 3), dtype=np.uint8)
    model = keras.Sequential(
        [keras.Input((3, 3)), keras.layers.Flatten(), keras.layers.Dense(4, activation="sigmoid")]
    )
    # As sure as a trained network: of an unsure one, larger inputs lower the loss.
    kernel = 30 * rng.normal(size=(9, 4))
    model.set_weights([kernel, -0.5 * kernel.sum(axis=0)])
    y = (x.reshape(300, 9) / 255 - 0.5) @ kernel > 0
    far = Dataset("bytes", "bytes.npz", x, y.astype(np.int64), x, y.astype(np.int64))

    prepared = prepare(far, model)

    assert prepared.scaling.name == "/255"
    assert prepared.description["scaling_scores"]["/255"] == 0


def test_of_several_inputs_images_are_scaled(refuses: Refuses) -> None:
    """A scaling goes to the image among the inputs, and where there is none it is refused."""
    both = {"image": np.full((2, 4, 4), 255, np.uint8), "words": np.full((2, 5), 255)}

    scaled = parse("/255", both)(both)

    assert scaled["image"].max() == 1
    assert scaled["words"].min() == 255
    with refuses(DatasetError, "scaling", "/255", "words", "as-is"):
        parse("/255", {"words": both["words"]})
