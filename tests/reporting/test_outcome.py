"""What a run was asked for and reached, its layers, its exported files, and its model card."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

import lrcompress
from lrcompress.reporting.exported import MOST_BARS, bars_of
from lrcompress.reporting.formats import render
from lrcompress.reporting.target import target_of

LATENCY = {"median": 2e-3, "q1": 1e-3, "q3": 3e-3, "runs": 10}
EXPORT = {
    "path": "small.tflite", "sha256": None, "model": "small.keras", "format": "litert", "int8": True,
    "bytes_before": 4000, "bytes_after": 1000, "runtime": "runner 1", "latency": LATENCY,
    "original": {
        "model": "my model.keras", "bytes_after": 2000, "latency": LATENCY,
        "speed": {"ratio": 2.0, "low": 1.5, "high": 2.5, "verdict": "faster"},
    },
    "errors": {
        "keras": {"measure": "error_rate", "error_rate": 1.0},
        "exported": {"measure": "error_rate", "error_rate": 1.5, "error_rate_low": 1.0, "error_rate_high": 2.0},
        "difference": {"difference": 0.5, "low": -0.5, "high": 1.5, "p_value": 0.5},
    },
}  # fmt: skip
LAYERS = [
    {"path": f"layer{n}", "class_name": "Dense", "parameters_before": 100 * n, "parameters_after": 50 * n}
    for n in range(1, 41)
]  # fmt: skip


def told(tmp_path: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Return the story of a record."""
    path = tmp_path / "small.lrcompress.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return lrcompress.report(path)


def choice(rule: str, asked: float) -> dict[str, Any]:
    """Return why a rank was chosen."""
    return {"rank": 2, "rule": rule, "asked": asked, "default": False, "message": "rank 2"}


@pytest.mark.parametrize(
    ("rule", "asked", "half", "met"),
    [
        ("max_drop", 5.0, 1.5, True), ("max_drop", 0.1, 0.2, False), ("max_drop", 1.0, 1.5, None),
        ("rank", 2, 1.5, True), ("reduction", 0.5, 1.5, True), ("reduction", 0.6, 1.5, False),
    ],
)  # fmt: skip
def test_what_was_asked_is_set_beside_what_was_reached(
    tmp_path: Path, made: SimpleNamespace, rule: str, asked: float, half: float, met: bool | None
) -> None:
    """A drop by its interval, a share of the kernel by its rank: 20 x 5 at rank 2 saves half."""
    document = made.record()
    document["layers"][0]["rank_choice"] = choice(rule, asked)
    document["stages"][2]["drop"] = made.paired(0.5, half)

    found = target_of(told(tmp_path, document))

    assert found is not None
    assert found["met"] is met, found


def test_a_network_is_held_to_its_budget(tmp_path: Path, made: SimpleNamespace) -> None:
    """A share of the model's parameters is met when the result saves it."""
    story = told(tmp_path, made.record())
    story["network"] = {"budget": {"name": "reduction", "value": 0.0452, "default": True}}

    assert target_of(story) == {
        "asked": "save 4.52 % of the model’s parameters (the default)", "reached": "4.52 % saved", "met": True,
    }  # fmt: skip
    story["network"] = {"budget": {"name": "target_size", "value": 10, "default": False}}
    assert (target_of(story) or {})["met"] is False


def test_a_network_measured_on_synthetic_inputs_is_held_to_its_decisions(
    tmp_path: Path, made: SimpleNamespace
) -> None:
    """Those that changed are counted; a record that does not tell them gives no verdict."""
    story = told(tmp_path, made.record())
    story["network"] = {
        "budget": {"name": "max_drop", "value": 5.0, "default": True}, "inputs": "synthetic",
        "measured": {"agreement": 96.0},
    }  # fmt: skip

    assert target_of(story) == {
        "asked": "change at most 5 % of the decisions (the default)",
        "reached": "4.0 % changed on synthetic inputs", "met": True,
    }  # fmt: skip
    story["network"]["measured"]["agreement"] = 94.0
    assert (target_of(story) or {})["met"] is False
    story["network"]["measured"] = None
    assert (target_of(story) or {})["met"] is None


def test_the_page_begins_with_the_layers(
    tmp_path: Path, made: SimpleNamespace, read_page: Any
) -> None:
    """Every layer has a bar; the smallest of a deep network have one together, and no weight is lost."""
    story = told(tmp_path, made.record(parameters_by_layer=LAYERS))
    bars, page = bars_of(story), read_page(render(story, "html"))

    assert len(bars) == MOST_BARS
    assert bars[-1]["name"] == f"{41 - MOST_BARS} smaller layers"
    assert bars[-2]["figures"] == "4,000 → 2,000"
    assert (bars[-2]["before"], bars[-2]["after"], bars[-2]["saved"]) == (
        "43.96",
        "21.98",
        "−50.0 %",
    )
    small = sum(range(1, 42 - MOST_BARS))
    assert bars[-1]["figures"] == f"{100 * small:,} → {50 * small:,}"
    assert len(page.all("rect")) >= 2 * MOST_BARS
    assert page.all("h2")[0][1] == "Parameters by layer"


def test_exported_files_are_shown(
    tmp_path: Path, made: SimpleNamespace, run: Callable[..., Result]
) -> None:
    """Size, error and speed of a file, each beside the original exported the same way."""
    story = told(tmp_path, made.record(exports=[EXPORT]))

    record = tmp_path / "small.lrcompress.json"
    shown = run("report", record).stdout.replace("-50.0 %", "−50.0 %")
    assert "asked: keep 80.0 % of each kernel's energy; reached: by construction" in shown
    for text in (render(story, "html"), render(story, "markdown"), shown):
        assert "the original, exported the same way" in text
        assert "small.tflite" in text
        assert "−50.0 %" in text
        assert "1.50 to 2.50" in text


def test_the_page_says_whether_fine_tuning_was_kept(tmp_path: Path, made: SimpleNamespace) -> None:
    """Of a whole job it is not seen in the stages when the start was better."""
    tuned = {"kept": False, "why": "no epoch was better than the start on 10 held-out inputs"}
    job = {"asked": {}, "output": "small.keras", "done": True, "finetune": tuned}

    page = render(told(tmp_path, made.record(compress=job)), "html")

    assert "<dd>not kept: no epoch was better than the start on 10 held-out inputs</dd>" in page


def test_a_model_card_has_its_front_matter(tmp_path: Path, made: SimpleNamespace) -> None:
    """What the Hub reads stands between two lines of dashes; names of strangers stay strings there."""
    yaml = pytest.importorskip("yaml")
    document = json.loads(
        json.dumps(made.record()).replace("small-finetuned", 'a: "#1'.replace('"', "'"))
    )
    card = render(told(tmp_path, document), "model-card")
    _, front, body = card.split("---\n", 2)
    found = yaml.safe_load(front)

    assert found["library_name"] == "keras"
    assert found["datasets"] == ["ylecun/mnist"]
    (result,) = found["model-index"][0]["results"]
    assert found["model-index"][0]["name"] == "a: '#1"
    assert result["task"]["type"] == "image-classification"
    assert result["metrics"] == [{"type": "accuracy", "value": 0.985, "name": "test accuracy"}]
    assert "keras.saving.load_model" in body
    assert "## my model.keras at rank 2" in body


def test_a_card_of_data_without_a_name_promises_no_result(
    tmp_path: Path, made: SimpleNamespace
) -> None:
    """Where nothing was measured there is no metric."""
    document = made.record(dataset=None)
    for stage in document["stages"]:
        stage.pop("error_rate")

    assert "model-index" not in render(told(tmp_path, document), "model-card")
