"""The four commands of the mission, as written, on the bundled data set."""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import lrcompress

Run = Callable[..., Result]


@pytest.fixture(params=["h5", "keras"])
def model(request: pytest.FixtureRequest, examples: Path, tmp_path: Path) -> Path:
    """Return a copy of the example in the working directory, in either format."""
    source = examples / f"digits_cnn.{request.param}"
    return Path(shutil.copy(source, tmp_path / f"model.{request.param}"))


@pytest.fixture
def h5(examples: Path, tmp_path: Path) -> Path:
    """Return a copy of the HDF5 example in the working directory."""
    return Path(shutil.copy(examples / "digits_cnn.h5", tmp_path / "model.h5"))


def loaded(path: Path) -> Any:
    """Load a model as a stranger would: plain Keras, safe mode, no custom objects."""
    import keras

    with warnings.catch_warnings():
        # Keras warns of optimizer state that is not there; factorize reports what it dropped.
        warnings.filterwarnings("ignore", message=".*optimizer.*")
        return keras.saving.load_model(path, safe_mode=True)


def test_factorize_prints_what_it_did(run: Run, model: Path) -> None:
    """The output names layer, shapes, parameters, bytes, certificate, files and the next command."""
    before = model.read_bytes()

    result = run("factorize", model.name, "--rank", 4)

    assert result.exit_code == 0
    for words in ("256 x 10 -> 256 x 4 x 10", "2,570", "1,074", "58.2 %", "40,394", "38,898",
                  "certificate", f"model-rank4{model.suffix}", "model-rank4.lrcompress.json"):  # fmt: skip
        assert words in result.stdout
    assert "lrcompress finetune --epochs 2" in result.stderr
    assert model.read_bytes() == before


def test_factorize_json(run: Run, model: Path) -> None:
    """The document holds the promised names, and the file is really smaller."""
    result = run("factorize", model.name, "--rank", 4, "--json")

    document = json.loads(result.stdout)
    assert next(iter(document)) == "schema_version"
    assert document["rank"] == document["layers"][0]["rank"] == 4
    assert document["layers"][0]["kernel_shape"] == [256, 10]
    assert document["parameters_before"] - document["parameters_after"] == 2560 - 4 * 266
    assert document["bytes_after"] == Path(document["output"]).stat().st_size
    after = document["bytes_after"] - document["optimizer_bytes_after"]
    assert after < document["bytes_before"] - document["optimizer_bytes"]
    assert document["error_rate_before"] is None
    assert Path(document["record"]).is_file()
    assert document["layers"][0]["optimality"] >= 1


def test_optimizer_state_is_told_apart(run: Run, model: Path) -> None:
    """Both formats lose it; sizes without it are shown, and it is not counted as saved."""
    text = run("factorize", model.name, "--rank", 4).stdout
    report = run("report").stdout
    story = json.loads(run("report", "--json").stdout)

    original, factorized = story["stages"]
    assert original["optimizer_bytes"] == story["optimizer_bytes"] > 300_000
    assert factorized["optimizer_bytes"] == story["optimizer_bytes_after"] == 0
    for stage in story["stages"]:
        assert f"{(stage['bytes'] - stage['optimizer_bytes']) / 1000:.2f} kB" in text
        assert f"{stage['bytes'] / 1000:.2f} kB" in report
    assert 0 < factorized["bytes_saved"] < 20_000
    assert 0 < factorized["bytes_reduction"] < 0.1
    assert "is dropped and not counted as saved" in text
    assert "of the original are optimizer state" in report


def test_same_input_same_bytes(run: Run, model: Path, tmp_path: Path) -> None:
    """Two runs write the same model, byte for byte."""
    run("factorize", model.name, "--rank", 4, "-o", f"a{model.suffix}")
    run("factorize", model.name, "--rank", 4, "-o", f"b{model.suffix}")

    first, second = (tmp_path / f"{name}{model.suffix}" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_records_of_both_formats_live_side_by_side(run: Run, examples: Path) -> None:
    """Two outputs with one stem keep two records."""
    records = []
    for suffix in ("h5", "keras"):
        result = run("factorize", examples / f"digits_cnn.{suffix}", "--rank", 4, "--json")
        records.append(json.loads(result.stdout)["record"])

    outputs = [json.loads(Path(path).read_text())["stages"][1]["path"] for path in records]
    assert outputs == ["digits_cnn-rank4.h5", "digits_cnn-rank4.keras"]


@pytest.mark.parametrize(
    ("rule", "value", "rank"), [("--energy", 0.8, 7), ("--reduction", 0.4, 5), ("--rank", 9, 9)]
)
def test_rank_rules(run: Run, h5: Path, rule: str, value: float, rank: int) -> None:
    """Energy and reduction choose the rank that `inspect` announces."""
    result = run("factorize", h5.name, rule, value, "--json", "--method", "svd")

    assert json.loads(result.stdout)["rank"] == rank


def test_energy_without_a_rank_is_the_default(run: Run, h5: Path) -> None:
    """Without a rule 95 % of the energy is kept, and the message says that it was our choice."""
    result = run("factorize", h5.name)

    assert result.exit_code == 0
    assert "the default" in result.stdout
    assert "95 % of the energy" in result.stdout


def test_inspect(run: Run, model: Path) -> None:
    """Inspect names the head, its break-even rank and what ranks save."""
    text = run("inspect", model.name).stdout
    document = json.loads(run("inspect", model.name, "--json").stdout)

    assert "predictions" in text
    assert document["head"]["path"] == "predictions"
    assert document["head"]["break_even_rank"] == 9
    assert document["parameters"] == 40_394
    assert [row["rank"] for row in document["head"]["ranks"]] == list(range(1, 10))
    assert sum(layer["parameters"] for layer in document["layers"]) == 40_394


def test_python_api(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`lrcompress.factorize(path, rank=4)` is the same engine."""
    monkeypatch.chdir(tmp_path)

    result = lrcompress.factorize(examples / "digits_cnn.keras", rank=4)

    assert result.output == Path("digits_cnn-rank4.keras")
    assert result.output.is_file()
    assert result.factors.B.shape == (256, 4)
    assert result.factors.C.shape == (4, 10)
    assert result.rank == 4
    stages = lrcompress.report()["stages"]
    assert [stage["name"] for stage in stages] == ["original", "factorized"]


def test_report_before_any_data(run: Run, h5: Path) -> None:
    """A report without measurements says so."""
    run("factorize", h5.name, "--rank", 4)

    result = run("report")

    assert "not measured" in result.stdout
    assert "58.2 %" in result.stdout
    stages = json.loads(run("report", "--json").stdout)["stages"]
    assert [stage["error_rate"] for stage in stages] == [None, None]


@pytest.mark.keras
def test_output_loads_in_plain_keras_and_computes_the_factors(run: Run, model: Path) -> None:
    """The written file is stock Keras, and its softmax is that of (x B) C + b."""
    run("factorize", model.name, "--rank", 4)

    original, small = loaded(model), loaded(Path(f"model-rank4{model.suffix}"))

    names = [layer.name for layer in small.layers]
    assert names[-2:] == ["predictions_lowrank", "predictions"]
    assert [type(layer).__name__ for layer in small.layers[-2:]] == ["Dense", "Dense"]
    assert small.count_params() == 38_898
    assert small.optimizer.name == original.optimizer.name
    assert small.loss == original.loss
    x = np.random.default_rng(0).random((5, 8, 8, 1), dtype=np.float32)
    head, first, second = original.layers[-1], *small.layers[-2:]
    for old, new in zip(original.layers[:-1], small.layers[:-2], strict=True):
        assert all(map(np.array_equal, old.get_weights(), new.get_weights()))
    kernel, bias = head.get_weights()
    centred = kernel - kernel.mean(axis=1, keepdims=True)
    u, s, vt = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    best = u[:, :4] * s[:4] @ vt[:4]
    (B,), (C, b) = first.get_weights(), second.get_weights()
    np.testing.assert_allclose(B @ C, best, atol=1e-6)
    np.testing.assert_allclose(b, bias - bias.mean(), atol=1e-6)
    assert small.predict(x, verbose=0).shape == (5, 10)


@pytest.mark.keras
@pytest.mark.parametrize("suffix", ["keras", "hdf5"])
def test_output_in_the_other_format(run: Run, h5: Path, suffix: str) -> None:
    """The output's suffix decides its format; the weights are the same."""
    run("factorize", h5.name, "--rank", 4)

    result = run("factorize", h5.name, "--rank", 4, "-o", f"other.{suffix}", "--json")

    document = json.loads(result.stdout)
    assert document["bytes_after"] == Path(f"other.{suffix}").stat().st_size < 250_000
    assert zipfile.is_zipfile(f"other.{suffix}") == (suffix == "keras")
    same, other = loaded(Path("model-rank4.h5")), loaded(Path(f"other.{suffix}"))
    assert all(map(np.array_equal, same.get_weights(), other.get_weights()))
    assert lrcompress.inspect(f"other.{suffix}")["dataset"] == "digits"


@pytest.mark.keras
def test_full_rank_changes_nothing(run: Run, model: Path) -> None:
    """At rank n - 1 the centred head gives the original's probabilities."""
    run("factorize", model.name, "--rank", 9)

    x = np.random.default_rng(1).random((16, 8, 8, 1), dtype=np.float32)
    before = loaded(model).predict(x, verbose=0)
    after = loaded(Path(f"model-rank9{model.suffix}")).predict(x, verbose=0)

    np.testing.assert_allclose(after, before, atol=1e-6)


@pytest.mark.keras
def test_the_main_job(run: Run, model: Path, tmp_path: Path) -> None:
    """factorize, finetune and report: the error comes back, and the record tells the whole story."""
    run("factorize", model.name, "--rank", 4)
    record = tmp_path / "model-rank4.lrcompress.json"
    document = json.loads(record.read_text())
    record.write_text(json.dumps(document | {"from_the_future": [1, 2]}))

    result = run("finetune", "--epochs", 2, "--json")
    report = run("report")

    tuned = json.loads(result.stdout)
    assert tuned["output"] == f"model-rank4-finetuned{model.suffix}"
    assert tuned["epochs"] == 2
    assert tuned["error_rate_before"] > 15
    assert tuned["error_rate_after"] < 6
    assert "Taking the newest run" in result.stderr
    assert "Device: cpu" in result.stderr or "Device: gpu" in result.stderr
    # Passes that have no name are told to nobody.
    assert not {"evaluate ...", "predict ..."} & set(result.stderr.splitlines())
    assert tuned["images_per_second"] > 0
    assert json.loads(record.read_text())["from_the_future"] == [1, 2]
    stages = json.loads(run("report", "--json").stdout)["stages"]
    assert [stage["name"] for stage in stages] == ["original", "factorized", "finetuned"]
    assert stages[2]["error_rate"] == tuned["error_rate_after"]
    assert stages[2]["error_rate_low"] <= stages[2]["error_rate"] <= stages[2]["error_rate_high"]
    assert "finetuned" in report.stdout
    small = loaded(tmp_path / tuned["output"])
    assert small.count_params() == 38_898
    # HDF5 gives the stock function, an archive its name.
    assert getattr(small.loss, "__name__", small.loss) == "categorical_crossentropy"
    kept = lrcompress.inspect(tmp_path / tuned["output"])
    assert kept["dataset"] == "digits"
    assert kept["bytes"] < 250_000


@pytest.mark.keras
@pytest.mark.usefixtures("few_samples")
def test_factorize_with_data(run: Run, h5: Path) -> None:
    """With data the method is refined, the rank is the smallest that loses little, errors are told."""
    chosen = json.loads(
        run("factorize", h5.name, "--dataset", "digits", "--max-drop", 1, "--json").stdout
    )
    plain = run("factorize", h5.name, "--rank", chosen["rank"], "-o", "plain.h5")
    evaluated = json.loads(
        run("evaluate", "model.h5", "plain.h5", chosen["output"], "--json").stdout
    )

    assert chosen["method"] == "refined"
    assert chosen["rank"] < 9
    assert chosen["layers"][0]["rank_choice"]["rule"] == "max_drop"
    assert chosen["error_rate_before"] == evaluated[0]["error_rate"]
    assert chosen["error_rate_after"] == evaluated[2]["error_rate"]
    assert plain.exit_code == 0
    assert evaluated[2]["loss"] < evaluated[1]["loss"]
    assert evaluated[0]["difference"] is None
    assert evaluated[1]["difference"]["p_value"] <= 1


@pytest.mark.keras
@pytest.mark.usefixtures("few_samples")
def test_the_default_with_data_is_a_drop(run: Run, h5: Path) -> None:
    """Without a rule, half a point on held-out data decides, and the method stands with its reason."""
    chosen = json.loads(run("factorize", h5.name, "--dataset", "digits", "--json").stdout)

    (layer,) = chosen["layers"]
    choice = layer["rank_choice"]
    assert (choice["rule"], choice["asked"], choice["default"]) == ("max_drop", 0.5, True)
    assert choice["found"][str(chosen["rank"])] <= 0.5
    assert ("better than refined" in layer["method_reason"]) == (chosen["method"] != "refined")
    # One of so few held-out samples is more than the drop that was asked for, but they are not counted.
    assert not any("each weighs" in line for line in chosen["warnings"])


@pytest.mark.keras
def test_where_centring_is_exact_it_stands_in_for_refinement(run: Run, h5: Path) -> None:
    """At rank n - 1 nothing is left to refine: the exact head is taken, and that is the reason told."""
    words = ["--dataset", "digits", "--method", "refined", "--rank", 9, "--json"]

    chosen = json.loads(run("factorize", h5.name, *words).stdout)

    assert chosen["method"] == "centered"
    assert "better than refined on held-out" in chosen["method_reason"]
    assert chosen["error_rate_after"] == chosen["error_rate_before"]


@pytest.mark.keras
def test_scaling_is_found(run: Run, h5: Path, tmp_path: Path) -> None:
    """Data in other units are recognised by what the original model makes of them."""
    import h5py

    from lrcompress.data.sources import load

    with h5py.File(h5, "r+") as file:
        del file.attrs["lrcompress"]
    data = load("digits")
    np.savez(
        tmp_path / "wide.npz",
        x_train=data.x_train * 15.9375, y_train=data.y_train,
        x_test=data.x_test * 15.9375, y_test=data.y_test,
    )  # fmt: skip

    found = json.loads(run("evaluate", "model.h5", "--dataset", "wide.npz", "--json").stdout)

    assert found[0]["scaling"] == "/255"
    assert found[0]["error_rate"] < 2


@pytest.mark.keras
def test_model_in_memory(examples: Path, tmp_path: Path) -> None:
    """A Keras model goes in, a smaller one comes out, and the first stays as it was."""
    model = loaded(examples / "digits_cnn.keras")

    result = lrcompress.factorize(model, rank=4)
    kept = lrcompress.factorize(model, rank=4, output=tmp_path / "kept.h5")

    assert result.model.count_params() == 38_898
    assert model.count_params() == 40_394
    assert result.output is None
    weights = loaded(kept.output).get_weights()
    assert all(map(np.array_equal, weights, result.model.get_weights()))


@pytest.mark.keras
@pytest.mark.usefixtures("few_samples")
def test_train_from_scratch_resumes(run: Run, tmp_path: Path) -> None:
    """Rows are saved one by one; the same command again trains only what is missing."""
    words = ["train-from-scratch", "--dataset", "digits", "--epochs", 1, "--ranks"]
    first = json.loads(run(*words, "full", "--json").stdout)
    stamp = (tmp_path / "scratch-digits" / "digits-full.keras").stat().st_mtime_ns

    result = run(*words, "full,2", "--json")

    rows = json.loads(result.stdout)["rows"]
    assert [row["rank"] for row in rows] == [None, 2]
    assert rows[0] == first["rows"][0]
    assert (tmp_path / "scratch-digits" / "digits-full.keras").stat().st_mtime_ns == stamp
    assert rows[1]["model_parameters"] == 40_394 - 2560 + 2 * 266
    table = run(*words, "full,2").stdout
    assert "From scratch: digits" in table


def test_datasets(run: Run) -> None:
    """The bundled data set is found; the others say where they would be sought."""
    text = run("datasets").stdout
    document = json.loads(run("datasets", "--json").stdout)

    assert "mnist" in text
    found = {entry["name"]: entry["found"] for entry in document["datasets"]}
    assert found["digits"].endswith("digits.npz")
