"""The whole job in one step, and what is left of it where it fails or is interrupted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import OutputError, TrainingError
from lrcompress.records import runs

Run = Callable[..., Result]
MADE = ["small.keras", "small.lrcompress.json", "small.report.html"]


@pytest.fixture
def data(few_digits: Any) -> dict[str, Any]:
    """Return the few digits as arrays, with what `compress` needs to be told of them."""
    arrays = {
        name: getattr(few_digits, name) for name in ("x_train", "y_train", "x_test", "y_test")
    }
    return {"dataset": arrays, "scaling": "/16"}


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_without_data_it_says_that_nothing_was_measured(run: Run, examples: Path) -> None:
    """The model gets smaller by its weights alone; the next command names what data would bring."""
    done = run("compress", examples / "digits_cnn.h5")

    assert done.exit_code == 0, done.output
    assert names(Path()) == [
        "digits_cnn-compressed.h5", "digits_cnn-compressed.lrcompress.json", "digits_cnn-compressed.report.html",
    ]  # fmt: skip
    assert "nothing was measured" in done.stdout
    assert len(done.stdout.splitlines()) <= 5
    assert "--dataset digits --overwrite" in done.stderr.splitlines()[-1]
    record = runs.read(Path("digits_cnn-compressed.lrcompress.json")).document
    assert record["parameters_after"] < record["parameters_before"]
    assert record["compress"]["done"] is True
    assert record["compress"]["finetune"] is None


@pytest.mark.keras
@pytest.mark.usefixtures("litert")
def test_the_whole_job_on_data(trained_file: Path, data: dict[str, Any], tmp_path: Path) -> None:
    """One model, its record, its report and its export; figures are those of the test data."""
    result = lrcompress.compress(
        trained_file,
        **data,
        reduction=0.4,
        epochs=2,
        export="litert",
        output=tmp_path / "small.keras",
    )

    assert names(tmp_path) == [*MADE, "small.tflite"]
    assert result.record is not None
    record = runs.read(result.record)
    assert result.parameters_after <= 0.6 * result.parameters_before
    assert result.measured_after is not None
    assert result.measured_after["samples"] == 150
    assert record.stage_of(tmp_path / "small.keras") == result.stage
    assert result.finetune == record.document["compress"]["finetune"]
    assert [entry["path"] for entry in record.document["exports"]] == ["small.tflite"]
    assert result.export is not None
    assert result.export["errors"]["keras"]["error_rate"] == result.measured_after["error_rate"]
    assert json.dumps(result.to_json())


@pytest.mark.keras
@pytest.mark.parametrize("better", [True, False])
def test_fine_tuning_is_kept_where_held_out_data_say_so(
    trained_file: Path,
    data: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    better: bool,
) -> None:
    """The output then holds the trained weights; else it stays as it was, and no second model is left."""
    from lrcompress.train.loop import Loop

    real = Loop._merit
    merits = iter([1.0, 0.5 if better else 2.0])

    def merit(self: Any, entry: dict[str, Any]) -> tuple[float, ...]:
        real(self, entry)
        return (next(merits),)

    monkeypatch.setattr(Loop, "_merit", merit)
    result = lrcompress.compress(
        trained_file, **data, reduction=0.4, epochs=1, output=tmp_path / "small.keras"
    )

    assert names(tmp_path) == MADE
    assert result.finetune is not None
    assert result.finetune["kept"] is better
    assert result.stage == ("finetuned" if better else "factorized")
    assert result.record is not None
    record = runs.read(result.record)
    assert record.stage_of(tmp_path / "small.keras") == result.stage
    assert record.document["finetune"][0]["history"][0]["epoch"] == 0


@pytest.mark.keras
def test_an_interrupted_job_leaves_a_whole_model_and_goes_on(
    trained_file: Path, data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layers are not chosen again, and the training goes on after its last whole epoch."""
    from lrcompress.train.loop import Loop
    from lrcompress.verbs import factorize

    job: dict[str, Any] = {
        **data, "reduction": 0.4, "epochs": 2, "output": tmp_path / "small.keras", "model": trained_file,
    }  # fmt: skip
    real, begun = Loop._fit, iter([False, True])

    def fit(self: Any, *args: Any) -> float:
        if next(begun):
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(Loop, "_fit", fit)
    with pytest.raises(TrainingError, match="the same command goes on"):
        lrcompress.compress(**job)
    monkeypatch.setattr(Loop, "_fit", real)

    left = ["small-finetuned.checkpoint.npz", "small.keras", "small.lrcompress.json"]
    assert names(tmp_path) == left
    record = runs.read(tmp_path / "small.lrcompress.json")
    assert record.stage_of(tmp_path / "small.keras") == "factorized"
    with pytest.raises(OutputError, match="--overwrite"):
        lrcompress.compress(**job | {"reduction": 0.3})

    monkeypatch.setattr(factorize, "factorize", None)
    result = lrcompress.compress(**job)

    assert names(tmp_path) == MADE
    assert result.record is not None
    assert runs.read(result.record).document["finetune"][-1]["resumed_from"] == 1
    with pytest.raises(OutputError, match="already exists"):
        lrcompress.compress(**job)


@pytest.mark.keras
@pytest.mark.usefixtures("litert")
def test_what_cannot_be_exported_is_compressed_all_the_same(
    trained_file: Path, data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what is there; the same command tries the export again."""
    from lrcompress.runtimes.litert import LiteRT

    job: dict[str, Any] = {
        **data, "reduction": 0.4, "epochs": 0, "export": "litert", "output": tmp_path / "small.keras",
        "model": trained_file,
    }  # fmt: skip
    real = LiteRT.write

    def refuse(*_: Any, **__: Any) -> None:
        msg = "no such operation"
        raise TrainingError(msg, code="cannot_export")

    monkeypatch.setattr(LiteRT, "write", refuse)
    with pytest.raises(TrainingError, match="written with its report, but not exported: no such"):
        lrcompress.compress(**job)
    assert names(tmp_path) == MADE

    monkeypatch.setattr(LiteRT, "write", real)
    result = lrcompress.compress(**job)

    assert names(tmp_path) == [*MADE, "small.tflite"]
    assert result.export is not None


@pytest.mark.keras
def test_a_live_model_comes_back_as_one(
    trained_file: Path, data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs without labels are enough; nothing is written, and the report knows the run."""
    import keras

    monkeypatch.chdir(tmp_path)
    model = keras.saving.load_model(trained_file)
    inputs = {"x_train": data["dataset"]["x_train"]}

    result = lrcompress.compress(model, dataset=inputs, scaling="/16", reduction=0.4, epochs=1)

    assert names(tmp_path) == []
    assert (result.output, result.record, result.report) == (None, None, None)
    assert result.model.count_params() == result.parameters_after < model.count_params()
    assert result.model.predict(np.zeros((2, 8, 8)), verbose=0).shape == (2, 10)
    assert lrcompress.report(result)["stages"][-1]["name"] == result.stage


@pytest.mark.keras
def test_the_default_gives_way_where_nothing_keeps_to_it(
    trained_file: Path, data: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A little is saved, and said to be beyond half a point; a budget that was asked for is refused."""
    from lrcompress.compression.network.budget import Budget
    from lrcompress.errors import RankError

    def none(self: Any, stage: Any) -> list[Any]:
        msg = "No form of these layers loses at most 0.5 points on held-out data."
        raise RankError(msg, code="max_drop_unreachable")

    monkeypatch.setattr(Budget, "_by_drop", none)
    job: dict[str, Any] = {
        **data, "epochs": 0, "output": tmp_path / "small.keras", "model": trained_file,
    }  # fmt: skip

    result = lrcompress.compress(**job)

    assert 0.9 * result.parameters_before >= result.parameters_after
    assert any("before fine-tuning" in warning for warning in result.warnings)
    with pytest.raises(RankError):
        lrcompress.compress(**job, max_drop=0.5, overwrite=True)


@pytest.mark.keras
@pytest.mark.parametrize(("most", "stage"), [(60_000, "factorized"), (100_000, "finetuned")])
def test_a_target_size_is_kept_by_what_was_trained(
    data: dict[str, Any],
    examples: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    stage: str,
) -> None:
    """Keras writes larger files than layers are written into: they give way to a little; to much, training does."""
    from lrcompress.train.loop import Loop

    merits = iter([1.0, 0.5])
    real = Loop._merit

    def merit(self: Any, entry: dict[str, Any]) -> tuple[float, ...]:
        real(self, entry)
        return (next(merits),)

    monkeypatch.setattr(Loop, "_merit", merit)
    result = lrcompress.compress(
        examples / "digits_cnn.h5", **data, target_size=most, epochs=1, output=tmp_path / "small.h5"
    )

    assert result.stage == stage
    assert (tmp_path / "small.h5").stat().st_size <= most
    assert result.budget is not None
    assert result.budget["value"] == most
    assert result.finetune is not None
    assert ("as Keras writes it" in result.finetune["why"]) is (stage == "factorized")


@pytest.mark.keras
def test_layers_that_gave_way_in_vain_are_recorded_as_asked(
    data: dict[str, Any], examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where training finds no room though layers gave way, the record still has the size that was asked for."""
    from lrcompress.live import storing

    most, real = 100_000, storing.save_model
    sizes = iter([most + 1_000, 2 * most])

    def save(model: Any, path: Path, *args: Any, **kwargs: Any) -> None:
        real(model, path, *args, **kwargs)
        os.truncate(path, next(sizes))

    monkeypatch.setattr(storing, "save_model", save)
    result = lrcompress.compress(
        examples / "digits_cnn.h5", **data, target_size=most, epochs=1, output=tmp_path / "small.h5"
    )

    assert next(sizes, None) is None
    assert result.budget is not None
    assert result.budget["value"] == most
    assert result.finetune is not None
    assert "as Keras writes it" in result.finetune["why"]


def test_a_file_that_the_default_does_not_make_smaller_gives_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two layers in the place of one take room of their own; a model of tiny layers has nothing to give."""
    import keras

    from lrcompress.errors import RankError

    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    for units in (24, 1):
        model = keras.Sequential(
            [keras.Input((units,)), keras.layers.Dense(units), keras.layers.Dense(units)]
        )
        model.save(tmp_path / f"{units}.h5")

    result = lrcompress.compress(tmp_path / "24.h5")

    assert result.bytes_after < result.bytes_before
    assert any("may be too much" in warning for warning in result.warnings)
    with pytest.raises(RankError, match="no layer that can be made smaller"):
        lrcompress.compress(tmp_path / "1.h5")
    assert names(tmp_path) == ["1.h5", "24-compressed.h5", "24-compressed.lrcompress.json",
                               "24-compressed.report.html", "24.h5"]  # fmt: skip


def test_each_attempt_of_a_default_has_files_of_its_own(tmp_path: Path) -> None:
    """Layers that get narrower are written on the way, and a budget that gives way comes there again."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6, 8)), keras.layers.Dense(16, activation="relu"), keras.layers.LSTM(16)]
    )
    kernel, bias = model.layers[0].get_weights()
    kernel[:, 3] = bias[3] = 0
    model.layers[0].set_weights([kernel, bias])
    model.save(tmp_path / "model.keras")

    result = lrcompress.compress(tmp_path / "model.keras", output=tmp_path / "small.keras")

    assert result.parameters_after < result.parameters_before
