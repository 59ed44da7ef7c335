"""A method is one file: one that is registered from outside serves the function and the command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lrcompress
from lrcompress.lowrank import METHODS

PAGE = Path(__file__).parents[2] / "docs" / "contributing.md"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the method of the page for a test."""
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert block.count("\n") < 30
    names: dict[str, Any] = {}
    exec(block, names)
    monkeypatch.setitem(METHODS, "toy", names["Toy"]())


@pytest.mark.usefixtures("toy")
def test_a_method_from_outside(run: Callable[..., Any], examples: Path, tmp_path: Path) -> None:
    """`factorize --method toy` writes a model, its record names it, and nothing else takes it."""
    model = examples / "digits_cnn.keras"

    done = lrcompress.factorize(model, rank=4, method="toy", output=tmp_path / "toy.keras")
    best = lrcompress.factorize(model, rank=4, method="svd", output=tmp_path / "best.keras")
    shown = run("factorize", model, "--rank", 4, "--method", "toy", "--json")
    swept = run("sweep", model, "--method", "svd,toy", "--ranks", "2,4", "--json")
    refused = run("factorize", model, "--rank", 4, "--method", "toys")

    layer = done.to_json()["layers"][0]
    assert (done.method, done.method_reason) == ("toy", "as asked")
    assert layer["frobenius_error"] > best.to_json()["layers"][0]["frobenius_error"]
    assert json.loads(shown.stdout)["layers"] == done.to_json()["layers"]
    assert [row["method"] for row in json.loads(swept.stdout)["rows"]] == ["svd"] * 2 + ["toy"] * 2
    assert "did you mean 'toy'" in refused.stderr.lower()
    assert lrcompress.factorize(model, rank=4, output=tmp_path / "auto.keras").method == "centered"
