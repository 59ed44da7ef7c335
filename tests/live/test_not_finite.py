"""NaN and infinity: one line that names them, before anything is written."""

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
from numpy.typing import NDArray

from lrcompress.data.arrays import check_outputs
from lrcompress.data.dataset import assemble
from lrcompress.errors import DatasetError, NotFiniteError

Run = Callable[..., Result]
Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def arrays() -> Arrays:
    """Return a data set of 60 and 30 samples that a network can learn."""
    draw = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (draw.normal(size=(3, 8)) * 2)[y] + draw.normal(size=(90, 8))
    x = x.astype(np.float32)
    return {"x_train": x[:60], "y_train": y[:60], "x_test": x[60:], "y_test": y[60:]}


@pytest.fixture
def model(run: Run, arrays: Arrays, tmp_path: Path) -> Any:
    """Return a network in memory; its file and a data set lie in the folder of `run`."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential(
        [keras.Input((8,)), layers.Dense(16, name="low"), layers.Dense(3, "softmax")]
    )
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(arrays["x_train"], arrays["y_train"], epochs=30, verbose=0)
    network.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    return network


def refused(result: Result, *words: str) -> None:
    """Check that a command ended in one line that says this."""
    assert result.exit_code == 1, result.output
    line = result.stderr.splitlines()[-1]
    assert line.startswith("Error: ")
    for word in words:
        assert word in line


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("key", ["x_train", "x_test", "y_train", "sample_weight_test", "x_test.b"])
def test_data_are_refused_by_name_row_and_number(arrays: Arrays, key: str, bad: float) -> None:
    """In whichever array, and what is too large for float32 is infinity to a network."""
    given: dict[str, Any] = {k: v.astype(np.float64) for k, v in arrays.items()}
    given["sample_weight_test"] = np.ones(30)
    if key == "x_test.b":
        for part in ("x_train", "x_test"):
            given[part] = {"a": given[part], "b": given[part].copy()}
        array = given["x_test"]["b"]
    else:
        array = given[key]
    array[[7, 11]] = bad

    with pytest.raises(
        DatasetError, match=rf"{key} of here .* in 2 of {len(array)} rows, the first is row 7 "
    ):
        assemble("here", "here", given)


def test_halves_at_their_end_are_numbers(arrays: Arrays) -> None:
    """65,504 is the largest of them, and so are whole numbers of any size."""
    given: dict[str, Any] = {**arrays, "x_test": np.full((30, 8), 65504, np.float16)}

    assert assemble("here", "here", given).x_test is given["x_test"]
    given["x_train"] = np.full((60, 8), 2**62)
    assemble("here", "here", given)


def test_objects_are_refused(arrays: Arrays) -> None:
    """A None among numbers makes an array of objects."""
    given: dict[str, Any] = {**arrays, "x_test": arrays["x_test"].astype(object)}

    with pytest.raises(DatasetError, match="dtype object; expected numbers"):
        assemble("here", "here", given)


@pytest.mark.usefixtures("model")
def test_nothing_is_written_for_data_with_holes(run: Run, arrays: Arrays, tmp_path: Path) -> None:
    """Neither by factorize nor by finetune, whichever part has the hole."""
    assert run("factorize", "model.keras", "--rank", 1, "-o", "small.keras").exit_code == 0
    before = set(tmp_path.iterdir())
    for key in ("x_train", "x_test"):
        holed = {k: v.copy() for k, v in arrays.items()}
        holed[key][5, 2] = np.nan
        np.savez(tmp_path / "data.npz", **holed)  # type: ignore[arg-type]
        data = ["--dataset", "data.npz", "--scaling", "as-is"]
        for words in (
            ["factorize", "model.keras", "--rank", 1], ["finetune", "small.keras"], ["evaluate", "model.keras"],
        ):  # fmt: skip
            refused(run(*words, *data), f"{key} of data.npz", "row 5")
    assert set(tmp_path.iterdir()) == before


def test_a_model_that_holds_nan_is_refused_by_every_figure(
    model: Any, run: Run, tmp_path: Path
) -> None:
    """By the commands that run it; `inspect` says where."""
    low = model.get_layer("low")
    kernel, bias = low.get_weights()
    kernel[0, :3] = np.nan
    low.set_weights([kernel, bias])
    model.save("nan.keras")
    assert run("factorize", "nan.keras", "--rank", 1, "-o", "small.keras").exit_code == 0
    before = set(tmp_path.iterdir())
    data = ["--dataset", "data.npz", "--scaling", "as-is"]
    for words in (
        ["evaluate", "nan.keras", *data], ["evaluate", "model.keras", "nan.keras", *data],
        ["sweep", "nan.keras", *data],
        ["factorize", "nan.keras", "--rank", 1, "-o", "out.keras", *data], ["finetune", "small.keras", *data],
        ["benchmark", "nan.keras"], ["compare", "nan.keras", "--ranks", 1, *data, "-o", "compared"],
    ):  # fmt: skip
        refused(run(*words), "NaN or infinity among its weights", "low/kernel 3 of 128")
        assert set(tmp_path.iterdir()) - {tmp_path / "compared"} == before

    document = json.loads(run("inspect", "nan.keras", "--json").stdout)
    assert {x["path"]: x["not_finite"] for x in document["layers"]}["low"] == 3
    assert sum(x["not_finite"] for x in document["layers"]) == 3
    assert "NaN or infinity among the weights of: low (3)" in run("inspect", "nan.keras").stdout
    assert "NaN or" not in run("inspect", "model.keras").stdout


@pytest.mark.usefixtures("model")
def test_outputs_that_are_no_numbers_are_refused(run: Run, arrays: Arrays, tmp_path: Path) -> None:
    """Finite weights, finite data, and a product too large."""
    huge = {k: 3e38 * np.sign(v) if k == "x_test" else v for k, v in arrays.items()}
    np.savez(tmp_path / "data.npz", **huge)  # type: ignore[arg-type]
    before = set(tmp_path.iterdir())
    for words in (
        ["evaluate", "model.keras"],
        ["factorize", "model.keras", "--rank", 1, "-o", "out.keras"],
    ):
        refused(
            run(*words, "--dataset", "data.npz", "--scaling", "as-is"),
            "gives NaN or infinity",
            "counted from 0",
        )
    assert set(tmp_path.iterdir()) == before


def test_which_samples_are_named(model: Any) -> None:
    """The first of them, counted over all parts."""
    outputs = np.zeros((10, 3), np.float32)
    check_outputs(model, "out", outputs, 100)
    outputs[[4, 6], 1] = np.inf

    with pytest.raises(NotFiniteError, match="for 2 of samples 100 to 109, the first is 104 "):
        check_outputs(model, "out", outputs, 100)


@pytest.mark.usefixtures("model")
def test_training_that_diverges_writes_nothing(run: Run, tmp_path: Path) -> None:
    """Exit code 1, and no checkpoint is left."""
    assert run("factorize", "model.keras", "--rank", 1, "-o", "small.keras").exit_code == 0
    before = set(tmp_path.iterdir())

    result = run(
        "finetune",
        "small.keras",
        "--dataset",
        "data.npz",
        "--scaling",
        "as-is",
        "--learning-rate",
        1e30,
    )

    refused(result, "diverged in epoch 1", "--learning-rate")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("litert")
def test_export_of_a_model_that_holds_nan(model: Any, run: Run, tmp_path: Path) -> None:
    """Refused before the exporter starts."""
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    model.save("nan.keras")

    refused(run("export", "nan.keras", "-o", "out.tflite"), "NaN or infinity among its weights")
    assert not (tmp_path / "out.tflite").exists()
