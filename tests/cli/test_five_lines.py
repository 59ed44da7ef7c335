"""The lines in which `compress` says what was gained, lost and written."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rich.console import Console

from lrcompress.cli.commands.compress import _about_int8, render

FOUND: dict[str, Any] = {
    "output": "small.h5", "record": "small.lrcompress.json", "report": "small.report.html", "exported": None,
    "parameters_before": 1000, "parameters_after": 250, "bytes_before": 9000, "bytes_after": 3000,
    "budget": {"name": "max_drop", "value": 0.5, "default": True}, "inputs": "data set",
    "estimated": {"output_error": 0.01, "agreement": 99.5, "drop": 0.1},
    "measured_before": None, "measured_after": None, "drop": None, "finetune": None, "export": None,
}  # fmt: skip
MEASURED = {
    "measured_before": {"measure": "error_rate", "error_rate": 1.0, "samples": 1000},
    "measured_after": {"measure": "error_rate", "error_rate": 1.2, "samples": 1000},
    "drop": {"difference": 0.2, "low": -0.1, "high": 0.4, "p_value": 0.3},
}
LOST = {"difference": 3.0, "low": 2.0, "high": 4.0, "p_value": 0.0}
EXPORT = {
    "path": "small-int8.tflite", "bytes_after": 1500, "int8": True,
    "original": {"bytes_after": 4000, "speed": {"ratio": 1.5}},
    "errors": {
        "keras": {"measure": "error_rate", "error_rate": 1.2},
        "exported": {"measure": "error_rate", "error_rate": 4.2}, "difference": LOST,
    },
    "difference": {"agreement": 96.0},
}  # fmt: skip


def lines(**more: Any) -> list[str]:
    """Return the lines of a job that came to this."""
    console = Console(width=400, color_system=None)
    with console.capture() as capture:
        console.print(*render(FOUND | more))
    return capture.get().splitlines()


def test_what_was_measured_is_told_with_its_interval() -> None:
    """Sizes, the loss on test data beside what was allowed, the choice on held-out data, the files."""
    tuned = {
        "kept": True, "why": "epoch 2 was best on 100 held-out inputs", "measure": "error_rate",
        "before": 2.0, "after": 1.0,
    }  # fmt: skip

    gained, lost, trained, exported, wrote = lines(**MEASURED, finetune=tuned, export=EXPORT)

    assert "parameters 1,000 -> 250, 75.0 % saved" in gained
    assert "1.00 % -> 1.20 % (+0.20 pt [-0.10, +0.40] on 1,000 samples): within the 0.5" in lost
    assert "kept: epoch 2 was best on 100 held-out inputs (error 2.00 % -> 1.00 %)" in trained
    assert "small-int8.tflite, 1.50 kB (the original exported the same way: 4.00 kB" in exported
    assert wrote.endswith("small.h5, small.lrcompress.json, small.report.html")


def test_what_was_not_measured_is_not_told_as_if_it_were() -> None:
    """By the weights alone nothing is known; by synthetic inputs there is an estimate, with what it is worth."""
    assert "not known" in lines(inputs="none", estimated=None)[1]
    assert "nothing was measured" in lines(inputs="none", estimated=None)[1]
    estimate = lines(inputs="synthetic")[1]
    assert "estimated on synthetic inputs: output error 0.01, 99.50 % of decisions kept" in estimate
    assert "up to 1.6 times that" in estimate
    kept = {"kept": False, "why": "no epoch was better than the start on 100 held-out inputs"}
    assert "not kept: no epoch was better" in lines(**MEASURED, finetune=kept)[2]


def test_integers_that_lose_are_warned_of() -> None:
    """Where the loss is more than chance explains; not of those that lose nothing."""
    result: Any = SimpleNamespace(export=EXPORT)

    [warning] = _about_int8(result)

    assert "lose +3.00 pt [+2.00, +4.00] more" in warning
    for other in (
        EXPORT | {"int8": False},
        EXPORT | {"errors": {"difference": LOST | {"low": -0.5}}},
        EXPORT | {"errors": None},
    ):
        assert _about_int8(SimpleNamespace(export=other)) == []  # type: ignore[arg-type]
    assert _about_int8(SimpleNamespace(export=None)) == []  # type: ignore[arg-type]
