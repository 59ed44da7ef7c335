"""A method is one file: one that is registered from outside serves the function and the command."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrcompress
from lrcompress.lowrank import METHODS, Factors, Method, Problem


class Toy(Method):
    """Cross approximation: r columns of the kernel, and what combines them best."""

    name = "toy"

    def solve(self, problem: Problem, ranks: Sequence[int]) -> dict[int, Factors]:
        """Take the longest columns as B and fit C by least squares."""
        A, reference = problem.kernel, problem.reference(max(ranks))
        longest = np.argsort(-np.linalg.norm(A, axis=0))
        found = {}
        for rank in ranks:
            B = A[:, longest[:rank]]
            C = np.linalg.lstsq(B, A, rcond=None)[0]
            certificate = reference.certify(B, C, "columns")
            sigma = reference.literal.singular_values
            found[rank] = Factors(B, C, None, sigma, self.name, certificate)
        return found


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register it for a test."""
    monkeypatch.setitem(METHODS, Toy.name, Toy())


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
