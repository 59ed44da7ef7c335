"""How figures of every measure are written and drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lrcompress.cli.commands import evaluate, sweep
from lrcompress.reporting.charts.plots import draw_sweep
from lrcompress.reporting.words import beside, drop, rate

ERRORS = {
    "measure": "error_rate", "samples": 200, "errors": 4, "error_rate": 2.0, "error_rate_low": 0.78,
    "error_rate_high": 5.03, "loss": 0.1, "top5_error_rate": 0.5,
}  # fmt: skip
LABELS = {
    "measure": "binary_error", "samples": 200, "labels": 5, "binary_error": 11.5,
    "binary_error_low": 9.25, "binary_error_high": 13.0, "auc": 0.9531, "loss": 0.3,
}  # fmt: skip
NUMBERS = {
    "measure": "rmse", "samples": 200, "rmse": 0.012345, "rmse_low": 0.011, "rmse_high": 0.0135,
    "mae": 0.01, "loss": 0.000152,
}  # fmt: skip
BOTH = {"measure": "outputs", "samples": 200, "loss": 0.1, "outputs": {"a": ERRORS, "b": NUMBERS}}
PAIRED = {"difference": 0.5, "low": -0.25, "high": 1.25, "p_value": 0.2}


def text_of(parts: Any) -> str:
    """Return rendered parts as text."""
    from rich.console import Console

    console = Console(width=200)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


def test_figures_have_their_names_and_units() -> None:
    """Errors are percentages, an RMSE has four digits, several outputs have names."""
    assert rate(ERRORS) == "2.00 % [0.78, 5.03]"
    assert rate({"error_rate": 3.0}) == "3.00 %"
    assert rate(LABELS) == "binary error 11.50 % [9.25, 13.00]"
    assert rate(NUMBERS) == "RMSE 0.01235 [0.011, 0.0135]"
    assert rate(BOTH) == f"a: {rate(ERRORS)}; b: {rate(NUMBERS)}"
    assert rate({"measure": "rmse", "error_rate": None}) == "not measured"
    assert beside(BOTH) == "a: top-5 error 0.50 %; b: MAE 0.01"
    assert beside(LABELS | {"auc": None}) == ""


def test_differences_have_their_units() -> None:
    """Points for errors, none for an RMSE."""
    points = drop({"drop": PAIRED})
    plain = drop({"drop": PAIRED | {"measure": "rmse"}})
    both = drop({"drop": {"outputs": {"a": PAIRED, "b": PAIRED | {"measure": "rmse"}}}})

    assert points == "+0.50 pt [-0.25, +1.25]"
    assert plain == "+0.5 [-0.25, +1.25]"
    assert both == f"a: {points}; b: {plain}"


@pytest.mark.parametrize(
    ("figures", "paired", "words"),
    [
        (ERRORS, PAIRED | {"only_first_wrong": 3}, ["test error [95 %]", "McNemar", "top-5 error"]),
        (LABELS, PAIRED | {"measure": "binary_error"}, ["on test data", "AUC 0.9531", "0.2"]),
        (NUMBERS, PAIRED | {"measure": "rmse"}, ["RMSE 0.01235", "MAE", "+0.5 [-0.25"]),
        (BOTH, {"outputs": {"a": PAIRED, "b": PAIRED}}, ["small: a", "small: b", "RMSE"]),
    ],
)
def test_evaluations_are_shown(
    figures: dict[str, Any], paired: dict[str, Any], words: list[str]
) -> None:
    """The table of two models names the measure, what is beside it, and the test that was made."""
    shared = {"scaling": "as-is", "device": "cpu"}
    first = {"model": "large", **figures, **shared, "difference": None}
    second = {"model": "small", **figures, **shared, "difference": paired}

    text = text_of(evaluate.render([first, second]))

    assert [word for word in words if word not in text] == []
    assert ("McNemar" in text) == (figures is ERRORS)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (NUMBERS, ["held out", "RMSE 0.013", "on test data"]),
        (LABELS, ["12.00 %", "binary error"]),
        (BOTH, ["loss 0.2", "b: RMSE"]),
    ],
)
def test_sweeps_are_shown_and_drawn(
    figures: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    """A sweep shows and draws what it measured; of several outputs it draws the norms alone."""
    measure = figures["measure"]
    held_out = {
        "rmse": {"held_out_error_rate": None, "held_out_rmse": 0.013},
        "binary_error": {"held_out_error_rate": 12.0},
        "outputs": {"held_out_error_rate": None, "held_out_outputs": 0.2},
    }[measure]
    row = {
        "method": "svd", "method_used": "svd", "rank": 1, "parameters_after": 10,
        "layer_reduction": 0.5, "model_reduction": 0.1, "energy": 0.9, "frobenius_error": 0.2,
        "spectral_error": 0.2, "output_error": 0.1, "agreement": None, "drop": None,
        "error_rate": None, **held_out, **figures,
    }  # fmt: skip
    document = {
        "model": "m.keras", "layer": "out", "kernel_shape": [4, 4], "parameters": 20,
        "break_even_rank": 1, "singular_values": [2.0, 1.0], "dataset": {"name": "d", "scaling": "as-is"},
        "seconds": {},
        "original": {**held_out, **figures}, "rows": [row],
    }  # fmt: skip

    text = text_of(sweep.render(document))
    draw_sweep(document, tmp_path / "sweep.svg")

    assert [word for word in words if word not in text] == []
    assert (tmp_path / "sweep.svg").stat().st_size > 1000
