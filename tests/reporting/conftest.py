"""A run record, a sweep and a comparison, small and made by hand; a reader of pages."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

EVIL = "<script>alert(1)</script>"
SIGMA = [4.0, 3.0, 2.0, 1.0]
ENERGY = [16 / 30, 25 / 30, 29 / 30, 1.0]


def stage(name: str, path: str, parameters: int, errors: int, **more: Any) -> dict[str, Any]:
    """Return a measured stage of 200 test samples."""
    return {
        "name": name, "path": path, "sha256": name[0] * 64, "parameters": parameters, "bytes": 4 * parameters + 1000,
        "measure": "error_rate", "samples": 200, "errors": errors, "error_rate": errors / 2,
        "error_rate_low": errors / 4, "error_rate_high": errors, "loss": 0.1, **more,
    }  # fmt: skip


def paired(difference: float, half: float) -> dict[str, Any]:
    """Return a paired difference with a symmetric interval."""
    return {
        "difference": difference, "low": difference - half, "high": difference + half,
        "only_first_wrong": 1, "only_second_wrong": 3, "p_value": 0.6,
    }  # fmt: skip


def record_document(**changes: Any) -> dict[str, Any]:
    """Return a record of a Dense 20 x 5 at rank 2, fine-tuned for two epochs."""
    layer = {
        "name": "predictions", "path": "predictions", "first_name": "predictions_lowrank", "is_head": True,
        "kernel_shape": [20, 5], "dtype": "float32", "activation": "softmax", "softmax": True, "rank": 2,
        "rank_choice": {"rank": 2, "rule": "energy", "asked": 0.8, "default": False,
                        "found": {"1": 0.53, "2": 0.83}, "message": "rank 2, the smallest rank that keeps 80 %"},
        "method": "svd", "method_reason": "as asked", "parameters_before": 105, "parameters_after": 55,
        "frobenius_error": 0.41, "spectral_error": 0.5, "optimality": 1.0, "algorithm": "gesdd",
        "spectrum_of": "kernel", "singular_values": SIGMA, "singular_value_ranks": [1, 2, 3, 4], "energy": ENERGY,
    }  # fmt: skip
    looks = [("start", 0, 4.0), ("trained", 1, 2.0), ("trained", 2, 1.5)]
    history = [
        {"epoch": epoch, "what": what, "loss": 0.3, "validation_error_rate": error,
         "validation_loss": error / 10, "kept": epoch == 2}
        for what, epoch, error in looks
    ]  # fmt: skip
    return {
        "schema_version": 1, "created": "2026-01-02T03:04:05+00:00", "updated": "2026-01-02T03:05:06+00:00",
        "command": ["lrcompress", "factorize", "my model.keras", "--energy", "0.8"], "seed": 0,
        "versions": {"python": "3.12.1", "lrcompress": "0.1.0", "numpy": "2.0"}, "warnings": ["Mind the gap."],
        "method": "svd", "method_reason": "as asked", "layers": [layer],
        "parameters_before": 1105, "parameters_after": 1055, "optimizer_bytes": 0, "optimizer_bytes_after": 0,
        "dataset": {"name": "mnist", "scaling": "/255"}, "seconds": {"total": 0.5},
        "stages": [
            stage("original", "my model.keras", 1105, 2),
            stage("factorized", "small.keras", 1055, 12, drop=paired(5.0, 2.0)),
            stage("finetuned", "small-finetuned.keras", 1055, 3, drop=paired(0.5, 1.5)),
        ],
        "finetune": [{
            "epochs": 2, "epochs_done": 2, "best_epoch": 2, "measure": "error_rate", "seconds": 3.0,
            "images_per_second": 100.0, "device": "cpu", "distilled": True, "history": history,
            "settings": {"optimizer": "adam", "batch_size": 32}, "output": "small-finetuned.keras",
            "command": ["lrcompress", "finetune", "--epochs", "2"], "versions": {"keras": "3.15"},
        }],
        **changes,
    }  # fmt: skip


def sweep_document() -> dict[str, Any]:
    """Return a sweep of the same layer, by two methods."""
    rows = [
        {"method": method, "method_used": method, "rank": rank, "parameters_after": 1005 + 25 * rank,
         "layer_reduction": 1 - rank / 4, "model_reduction": 0.05, "energy": ENERGY[rank - 1],
         "frobenius_error": 0.1, "spectral_error": SIGMA[rank] / 4, "held_out_error_rate": 1.0,
         "error_rate": 20.0 / rank, "error_rate_low": 15.0 / rank, "error_rate_high": 25.0 / rank, "drop": None}
        for method in ("svd", "refined") for rank in (1, 2, 3)
    ]  # fmt: skip
    return {
        "schema_version": 1, "model": "my model.keras", "layer": "predictions", "kernel_shape": [20, 5],
        "parameters": 1105, "break_even_rank": 3, "singular_values": SIGMA, "dataset": {"name": "mnist"},
        "original": {"error_rate": 1.0, "samples": 200}, "rows": rows, "seconds": {},
    }  # fmt: skip


def comparison_document() -> dict[str, Any]:
    """Return a comparison with a full-rank network and two arms at rank 2."""

    def entry(arm: str, rank: int | None, error: float) -> dict[str, Any]:
        return {
            "arm": arm, "rank": rank, "seeds": [0], "error_rate": error, "error_rate_low": error / 2,
            "error_rate_high": 2 * error, "interval": "wilson", "loss": 0.1, "seconds": 5.0, "images": 10.0,
            "layer_parameters": 55, "model_parameters": 1055, "against_full": None, "against_scratch": None,
        }  # fmt: skip

    return {
        "schema_version": 1, "kind": "compare", "device": "cpu", "rows": [],
        "settings": {"dataset": "mnist", "finetune_epochs": 2},
        "summary": [entry("full", None, 1.0), entry("svd", 2, 6.0), entry("scratch", 2, 3.0)],
    }  # fmt: skip


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Return a record's file, alone in the folder that `run` works in."""
    path = tmp_path / "small.lrcompress.json"
    path.write_text(json.dumps(record_document()), encoding="utf-8")
    return path


@pytest.fixture
def attached(record: Path) -> tuple[Path, Path]:
    """Return the files of a sweep and a comparison beside the record."""
    sweep, comparison = record.with_name("sweep.json"), record.with_name("compare.json")
    sweep.write_text(json.dumps(sweep_document()), encoding="utf-8")
    comparison.write_text(json.dumps(comparison_document()), encoding="utf-8")
    return sweep, comparison


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a record whose names are all a stranger's."""
    document = json.loads(json.dumps(record_document()).replace("my model", EVIL))
    for layer in document["layers"]:
        layer |= {"name": f"{EVIL}|`*_x", "path": EVIL, "activation": EVIL, "method_reason": EVIL}
        layer["rank_choice"]["message"] = f"rank 2 {EVIL}\x1b[31m"
    document |= {"warnings": [EVIL], "dataset": {"name": EVIL, "scaling": EVIL}}
    document["stages"][2]["path"] = "=cmd|x.keras"
    document["finetune"][0] |= {"device": EVIL, "output": "=cmd|x.keras"}
    path = tmp_path / "hostile.lrcompress.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


# Elements that have no end.
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """A page taken apart: elements with their attributes and the text inside them.

    Attributes:
        elements: (tag, attributes, text) in document order.
        unclosed: Tags that were not closed in order.
    """

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.unclosed: list[str] = []
        self._open: list[int] = []
        self.feed(text)
        self.unclosed += [self.elements[index][0] for index in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an element."""
        self.elements.append((tag, {key: value or "" for key, value in attrs}, []))
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember an empty element of SVG."""
        self.elements.append((tag, {key: value or "" for key, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        """Close an element."""
        if self._open and self.elements[self._open[-1]][0] == tag:
            self._open.pop()
        else:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        """Give text to all elements around it."""
        for index in self._open:
            self.elements[index][2].append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str], str]]:
        """Return attributes and text of every element of a tag."""
        return [
            (attrs, "".join(text).strip()) for found, attrs, text in self.elements if found == tag
        ]


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    """Return what makes the documents, and the name that a stranger gave."""
    return SimpleNamespace(
        record=record_document, sweep=sweep_document, comparison=comparison_document,
        paired=paired, evil=EVIL,
    )  # fmt: skip


@pytest.fixture(scope="session")
def read_page() -> type[Page]:
    """Return what takes a page apart."""
    return Page
