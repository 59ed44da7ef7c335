"""Reports of a whole network whose layers were chosen together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


def layer(path: str, form: str, size: int, largest: int, share: float | None) -> dict[str, Any]:
    """Return a layer of 1,000 weights that keeps a part of them."""
    return {
        "name": path, "path": path, "kind": "Dense", "form": form, "size": size, "largest": largest,
        "parameters_before": 1000, "parameters_after": 1000 * size // largest,
        "multiplications_before": 5000, "multiplications_after": 5000 * size // largest, "error": 0.02,
        "share": share, "method": "svd" if share is None else "data-aware", "first_names": [f"{path}_lowrank"],
    }  # fmt: skip


def curve(errors: list[float]) -> dict[str, Any]:
    """Return the sensitivity of a layer of 1,000 weights, from little saved to much."""
    saved = [200, 500, 800, 950]
    columns = {"size": [8, 5, 2, 1], "parameters_saved": saved, "error": errors}
    return {
        "class_name": "Dense", "parameters": 1000,
        "forms": {"rank": columns | {"parameters": 1000} | {"multiplications_saved": saved, "measured": [True] * 4}},
    }  # fmt: skip


def network(made: SimpleNamespace, inputs: str, **changes: Any) -> dict[str, Any]:
    """Return the record of two layers, chosen on some inputs."""
    known = inputs != "none"
    found = {
        "layers": ["all"], "budget": {"name": "reduction", "value": 0.5, "default": False},
        "multiple": 1, "inputs": inputs, "samples": 3000 if known else None,
        "predicted": 0.05 if known else None,
        "measured": {"output_error": 0.0625, "agreement": 97.5, "drop": None} if known else None,
        "curves": {"a": curve([0.001, 0.01, 0.1, 1.0]), "b": curve([0.002, 0.02, 0.2, 2.0])},
        "kept": {"own": "is of class OwnConv, of which no form is known", "norm": "is of class BatchNormalization"},
    }  # fmt: skip
    share = 0.03 if known else None
    document: dict[str, Any] = made.record(
        layers=[layer("a", "rank", 2, 10, share), layer("b", "units", 5, 10, share)],
        network=found | changes, method="data-aware", method_reason="the data tell",
    )  # fmt: skip
    if not known:
        document |= {"dataset": None, "finetune": [], "stages": document["stages"][:2]}
        for stage in document["stages"]:
            for key in ("measure", "error_rate", "samples", "drop"):
                stage.pop(key, None)
    return document


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Return what writes a record."""

    def written(document: dict[str, Any]) -> Path:
        path = tmp_path / "small.lrcompress.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    return written


def test_the_layers_and_their_sensitivity_are_shown(
    run: Run, made: SimpleNamespace, write: Callable[[dict[str, Any]], Path]
) -> None:
    """A table of layers with form, size, parameters and share, and one of least errors."""
    text = run("report", write(network(made, "data set"))).stdout

    rows = [line.split() for line in text.splitlines()]
    shown = "a Dense rank 2 of 10 1,000 -> 200 80.0 % 5,000 -> 1,000 0.03"
    assert shown.split() in rows
    assert ["a", "Dense", "1,000", "0.01", "0.01", "0.1", "1"] in rows
    assert "to save 50.0 % of the model's parameters" in text
    assert "on held-out inputs: output error 0.0625" in text
    assert "is of class OwnConv, of which no form is known: own" in text
    assert "BatchNormalization" not in text
    assert "certificate" not in text


@pytest.mark.parametrize("kind", ["", "markdown", "html"])
def test_what_was_not_measured_is_said(
    run: Run, made: SimpleNamespace, write: Callable[[dict[str, Any]], Path], kind: str
) -> None:
    """Without data every format says so, names the command that would measure, and shows no certificate."""
    done = run("report", write(network(made, "none")), *(["--format", kind] if kind else []))

    assert done.exit_code == 0
    assert "othing was measured" in done.stdout
    assert "lrcompress evaluate" in done.stdout
    assert "ertificate" not in done.stdout.split("</style>")[-1]


def test_synthetic_inputs_are_named(
    run: Run, made: SimpleNamespace, write: Callable[[dict[str, Any]], Path]
) -> None:
    """An estimate is called one, with how far it held elsewhere."""
    text = run("report", write(network(made, "synthetic"))).stdout

    assert "synthetic inputs" in text
    assert "estimated on others of them: output error 0.0625" in text
    assert "up to 1.6 times the estimated one" in text


@pytest.mark.parametrize("kind", ["json", "csv", "markdown", "html"])
def test_every_format_tells_of_a_network(
    run: Run, made: SimpleNamespace, write: Callable[[dict[str, Any]], Path], kind: str
) -> None:
    """No share is told of the layers together: one may be counted with two that change it."""
    text = run("report", write(network(made, "data set")), "--format", kind).stdout

    if kind == "json":
        document = json.loads(text)
        assert document["headline"]["layer_reduction"] is None
        assert document["network"]["measured"]["output_error"] == 0.0625
    elif kind == "csv":
        assert ",2 5," in text
    else:
        assert "2 layers" in text
        assert "97.50 %" in text


def test_the_page_draws_the_sensitivity(
    run: Run,
    made: SimpleNamespace,
    write: Callable[[dict[str, Any]], Path],
    read_page: type[Any],
) -> None:
    """Lines by layer with the chosen points, closed tags, and both tables."""
    text = run("report", write(network(made, "data set")), "--format", "html").stdout

    page = read_page(text)
    assert page.unclosed == []
    assert "Sensitivity of each layer" in [name for _, name in page.all("h3")]
    captions = [name for _, name in page.all("caption")]
    assert "Each layer in its form, before and after" in captions


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["layers"][0].pop("size"), "size"),
        (lambda d: d["network"]["curves"]["a"]["forms"]["rank"]["error"].pop(), "one length"),
        (lambda d: d["network"].update(inputs="noise"), "inputs"),
    ],
)
def test_a_changed_record_is_refused(
    run: Run,
    made: SimpleNamespace,
    write: Callable[[dict[str, Any]], Path],
    change: Callable[[dict[str, Any]], Any],
    said: str,
) -> None:
    """What is missing or of another form is named in one line."""
    document = network(made, "data set")
    change(document)

    done = run("report", write(document))

    assert done.exit_code == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
