"""What is measured of a model of a run goes into its record, and the report finds it beside the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import RunRecordError
from lrcompress.records import runs

Run = Callable[..., Result]


@pytest.fixture
def factorized(run: Run, trained_file: Path, tmp_path: Path) -> Path:
    """Return a model factorized without data, beside its record and its original."""
    model = tmp_path / "model.keras"
    model.write_bytes(trained_file.read_bytes())
    assert run("factorize", model, "--rank", 3).exit_code == 0
    return tmp_path / "model-rank3.keras"


@pytest.mark.keras
def test_evaluations_are_added_to_the_record(factorized: Path, run: Run) -> None:
    """Figures, the paired difference and the data set: `finetune` and `report` then know them."""
    original = factorized.with_name("model.keras")
    done = run(
        "evaluate", original, factorized, "--dataset", "digits", "--scaling", "/16", "--json"
    )

    assert done.exit_code == 0, done.output
    assert f"added to {factorized.with_name('model-rank3.lrcompress.json')}" in done.stderr
    record = runs.read(factorized.with_name("model-rank3.lrcompress.json"))
    first, second = json.loads(done.stdout)
    assert record.stage("original")["error_rate"] == first["error_rate"]
    assert record.stage("factorized")["error_rate"] == second["error_rate"]
    assert record.stage("factorized")["drop"] == second["difference"]
    assert record.origin.named == "digits"


@pytest.mark.keras
def test_figures_of_other_samples_are_not_mixed_in(
    factorized: Path, run: Run, tmp_path: Path
) -> None:
    """A record of one data set takes no errors on another."""
    import numpy as np

    from lrcompress.data.sources import load

    digits = load("digits")
    np.savez(tmp_path / "few.npz", x_train=digits.x_train, y_train=digits.y_train,
             x_test=digits.x_test[:50], y_test=digits.y_test[:50])  # fmt: skip
    run("evaluate", factorized, "--dataset", "digits", "--scaling", "/16")
    before = runs.read(factorized.with_name("model-rank3.lrcompress.json")).document

    done = run("evaluate", factorized, "--dataset", tmp_path / "few.npz", "--scaling", "/16")

    assert done.exit_code == 0, done.output
    assert "added to" not in done.stderr
    assert runs.read(factorized.with_name("model-rank3.lrcompress.json")).document == before


@pytest.mark.keras
def test_timings_of_named_models_are_added(factorized: Path) -> None:
    """As those without names are; not where one of the models is of no run."""
    original = factorized.with_name("model.keras")
    other = factorized.with_name("other.keras")
    other.write_bytes(original.read_bytes())

    found = lrcompress.benchmark([original, factorized], batch_sizes=[1], seconds=0)
    beside = lrcompress.benchmark([other, factorized], batch_sizes=[1], seconds=0)

    assert found.record == factorized.with_name("model-rank3.lrcompress.json")
    assert beside.record is None
    assert runs.read(found.record).document["benchmark"]["batch_sizes"] == [1]


@pytest.mark.keras
@pytest.mark.usefixtures("litert")
def test_exports_are_added_and_lead_to_the_report(factorized: Path, run: Run) -> None:
    """Path, size, errors and latency; the same file again takes the place of its entry."""
    for _ in range(2):
        done = run(
            "export", factorized, "--dataset", "digits", "--scaling", "/16", "--overwrite", "--json"
        )
        assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)

    [entry] = runs.read(factorized.with_name("model-rank3.lrcompress.json")).document["exports"]

    assert entry["path"] == "model-rank3.tflite"
    assert entry["model"] == "model-rank3.keras"
    assert entry["original"]["model"] == "model.keras"
    for key in ("bytes_after", "errors", "latency", "format", "int8"):
        assert entry[key] == told[key]
    for name in ("model-rank3.tflite", "model-rank3.keras", "model-rank3.lrcompress.json"):
        assert run("report", factorized.with_name(name)).exit_code == 0


def test_a_report_of_a_model_without_a_run_says_what_is_missing(
    trained_file: Path, refuses: Callable[..., object]
) -> None:
    """A lone model is no run."""
    with refuses(RunRecordError, "no_run", "expected a run record"):  # type: ignore[attr-defined]
        lrcompress.report(trained_file)
