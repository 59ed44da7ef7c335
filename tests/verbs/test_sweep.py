"""`sweep`: what every rank saves and costs, from the command line and from Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import lrcompress
from lrcompress.errors import RankError
from lrcompress.modelfile import find_head, open_model, read_kernel

Run = Callable[..., Result]
METHODS = "svd,centered,whitened,refined"


@pytest.fixture
def model(examples: Path, tmp_path: Path) -> Path:
    """Return a copy of the example in the working directory."""
    return Path(shutil.copy(examples / "digits_cnn.keras", tmp_path / "model.keras"))


@pytest.fixture(scope="module")
def measured(examples: Path) -> dict[str, Any]:
    """Return a sweep of the example over three ranks and all methods."""
    result = lrcompress.sweep(
        examples / "digits_cnn.keras", method=METHODS.split(","), ranks=[9, 5, 3], dataset="digits"
    )
    return result.to_json()


def test_without_data_the_kernel_is_judged(run: Run, model: Path) -> None:
    """Every rank that saves something is there, with the errors that NumPy finds."""
    kernel = read_kernel(open_model(model), find_head(open_model(model))).astype("float64")
    sigma = np.linalg.svd(kernel, compute_uv=False)

    document = json.loads(run("sweep", model, "--method", "svd", "--json").stdout)

    assert [row["rank"] for row in document["rows"]] == list(range(1, 10))
    for row in document["rows"]:
        r = row["rank"]
        assert row["spectral_error"] == pytest.approx(sigma[r] / sigma[0], rel=1e-5)
        kept = np.square(sigma[:r]).sum() / np.square(sigma).sum()
        assert row["energy"] == pytest.approx(kept, rel=1e-6)
        assert row["parameters_after"] == 40_394 - (2_560 - r * 266)
        assert row["error_rate"] is None
    assert document["singular_values"] == pytest.approx(list(sigma), rel=1e-6)


def test_without_data_keras_is_not_started(model: Path) -> None:
    """A fresh process sweeps the kernel without Keras, TensorFlow or Matplotlib."""
    code = (
        "import sys\nfrom lrcompress.cli import main\n"
        f"try: main(['sweep', {str(model)!r}, '--json'])\nexcept SystemExit: pass\n"
        "heavy = {'keras', 'tensorflow', 'matplotlib', 'scipy.optimize'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_data_that_start_tensorflow_start_it_quietly(tmp_path: Path) -> None:
    """A function that imports it does so before any model is loaded."""
    (tmp_path / "own_data.py").write_text(
        "import os\ndef data(): print(os.environ['TF_CPP_MIN_LOG_LEVEL'])\n"
    )
    code = (
        "import contextlib, lrcompress.errors as errors\n"
        "from lrcompress.verbs.context import DataSource\n"
        "with contextlib.suppress(errors.DatasetError):\n    DataSource('own_data:data').load()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}

    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )  # fmt: skip

    assert said.stdout.strip() == "3"


@pytest.mark.keras
def test_every_method_is_measured(measured: dict[str, Any]) -> None:
    """Each method has each rank, with errors on held-out data and, with intervals, on test data."""
    pairs = [(row["method"], row["rank"]) for row in measured["rows"]]

    assert sorted(pairs) == sorted((m, r) for m in METHODS.split(",") for r in (3, 5, 9))
    for row in measured["rows"]:
        assert 0 <= row["error_rate_low"] <= row["error_rate"] <= row["error_rate_high"] <= 100
        assert row["output_error"] >= 0
        assert 0 <= row["agreement"] <= 100
        lost = row["error_rate"] - measured["original"]["error_rate"]
        assert row["drop"]["difference"] == pytest.approx(lost)


@pytest.mark.keras
def test_better_objectives_cost_less(measured: dict[str, Any]) -> None:
    """At low rank the outputs stray least after refinement; at rank 9 centring is exact."""
    error = {(row["method"], row["rank"]): row["output_error"] for row in measured["rows"]}

    for rank in (3, 5):
        assert error["refined", rank] < error["whitened", rank] <= error["centered", rank] + 1e-9
    assert error["centered", 9] < 1e-6


@pytest.mark.keras
def test_a_rank_costs_what_factorize_then_costs(measured: dict[str, Any], model: Path) -> None:
    """The sweep's test error is that of the file which factorize writes."""
    result = lrcompress.factorize(
        model, rank=3, method="whitened", dataset="digits", samples=10_000,
        output=model.with_name("small.keras"),
    )  # fmt: skip
    (row,) = (r for r in measured["rows"] if (r["method"], r["rank"]) == ("whitened", 3))

    assert result.error_rate_before == pytest.approx(measured["original"]["error_rate"])
    assert result.error_rate_after == pytest.approx(row["error_rate"], abs=0.3)


@pytest.mark.keras
def test_the_table_says_what_to_choose_by(run: Run, model: Path) -> None:
    """Table, figure and advice come out of one command."""
    result = run("sweep", model, "--dataset", "digits", "--ranks", "4,2", "--method", "svd,whitened",
                 "--plot", "sweep.svg")  # fmt: skip

    assert result.exit_code == 0
    assert "Dense 256 x 10, svd" in result.stdout
    assert "choose by the held-out column" in result.stdout
    text = Path("sweep.svg").read_text(encoding="utf-8")
    assert text.startswith("<?xml")
    assert "<dc:date>" not in text


def test_bad_requests_are_refused_at_once(run: Run, model: Path) -> None:
    """What cannot work is one line, before Keras starts or a file is made."""
    Path("there.png").write_bytes(b"precious")

    for words, code in (
        (["--ranks", "0"], 2),
        (["--ranks", "11"], 1),
        (["--method", "best"], 2),
        (["--method", "whitened"], 1),
        (["--layer", "nowhere"], 1),
        (["--plot", "sweep.gif"], 1),
        (["--plot", "there.png"], 1),
    ):
        result = run("sweep", model, *words)

        assert result.exit_code == code, words
        assert len(result.stderr.strip().splitlines()) == 1
        assert result.stdout == ""
    assert Path("there.png").read_bytes() == b"precious"


def test_methods_are_what_can_be_gone_through_once(model: Path) -> None:
    """As `ranks` are: what a program makes of its own words need not be a list."""
    found = lrcompress.sweep(model, method=(name for name in ("svd", "centered")), ranks=[4])

    assert [row["method"] for row in found.rows] == ["svd", "centered"]


def test_nothing_to_sweep_is_said(tmp_path: Path, examples: Path) -> None:
    """A method that needs data, and a rank that the kernel does not have, are refused in Python too."""
    with pytest.raises(RankError):
        lrcompress.sweep(examples / "digits_cnn.keras", ranks=[11])
    with pytest.raises(RankError, match="needs inputs"):
        lrcompress.sweep(examples / "digits_cnn.keras", method="refined")


@pytest.mark.parametrize(("quick", "ranks"), [(0, [1, 2, 3, 4, 5, 6, 7, 9]), (2**35, range(1, 10))])
def test_ranks_that_take_long_to_measure_are_fewer(
    model: Path, monkeypatch: pytest.MonkeyPatch, quick: int, ranks: list[int]
) -> None:
    """A head of thousands of classes is swept in even ratios by every method; others at all ranks."""
    monkeypatch.setattr("lrcompress.verbs.sweep.QUICK", quick)
    monkeypatch.setattr("lrcompress.verbs.sweep.EVERY_RANK", 5)

    found = lrcompress.sweep(model, method="centered", dataset="digits", scaling="/16")

    assert [row["rank"] for row in found.rows] == list(ranks)
