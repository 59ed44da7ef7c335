"""From a run record to the document that every format of a report shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrcompress.errors import RunRecordError
from lrcompress.records import ARMS, read_json
from lrcompress.records.runs import RunRecord
from lrcompress.records.schema import Comparison, ModelRow, Sweep, wrong
from lrcompress.reporting.headline import headline

# A sweep of a thousand ranks by four methods has two megabytes, a comparison less.
LARGEST = 64 * 2**20
ORDER = ("original", "factorized", "finetuned", "scratch")
_TOLD = (
    "created", "updated", "method", "method_reason", "dataset", "network", "parameters_by_layer", "exports",
    "compress",
)  # fmt: skip
# Where a record tells how much of a stage's file is optimizer state.
_OPTIMIZER = {"original": "optimizer_bytes", "factorized": "optimizer_bytes_after"}


def tell(
    record: RunRecord, *, sweep: Path | None = None, comparison: Path | None = None
) -> dict[str, Any]:
    """Return the story of a run: stages in order, layers, errors, times; see docs/run-record.md."""
    document = record.document
    timed = {"benchmark": document["benchmark"]} if document.get("benchmark") else {}
    commands = [document.get("command"), *(one.get("command") for one in document["finetune"])]
    story: dict[str, Any] = timed | {
        "schema_version": document["schema_version"],
        "kind": "report",
        "record": str(record.path),
        **{key: document.get(key) for key in _TOLD},
        "layers": document["layers"],
        "stages": [],
        "optimizer_bytes": document.get("optimizer_bytes") or 0,
        "optimizer_bytes_after": document.get("optimizer_bytes_after") or 0,
        "finetune": document["finetune"],
        "seconds": document.get("seconds") or {},
        "versions": document.get("versions") or {},
        "warnings": document.get("warnings") or [],
        "commands": [command for command in commands if command],
    }
    attached: dict[str, Any] = {}
    if sweep is not None:
        attached["sweep"] = _read_sweep(sweep, story)
    if comparison is not None:
        attached["comparison"] = _read_comparison(comparison, story)
    found = [dict(stage) for stage in document["stages"] if stage["name"] in ORDER]
    found += _scratch(record, attached.get("comparison"))
    found.sort(key=lambda stage: ORDER.index(stage["name"]))
    story["stages"] = _compared(found, document)
    return story | {"headline": headline(story)} | attached


def _compared(stages: list[dict[str, Any]], document: dict[str, Any]) -> list[dict[str, Any]]:
    """Add to each stage what it saves and loses beside the original."""
    original = next((stage for stage in stages if stage["name"] == "original"), None)
    for stage in stages:
        stage["optimizer_bytes"] = document.get(_OPTIMIZER.get(stage["name"], "")) or 0
    for stage in stages:
        stage.setdefault("error_rate", None)
        stage["drop_points"] = _difference(stage, original, "error_rate")
        for key in ("parameters", "bytes"):
            less, whole = _difference(original, stage, key), 0
            if original and less is not None:
                whole = original[key]
                if key == "bytes":
                    # Optimizer state, kept or dropped, is no credit to the factorization.
                    less -= original["optimizer_bytes"] - stage["optimizer_bytes"]
                    whole -= original["optimizer_bytes"]
            stage[f"{key}_saved"] = less
            stage[f"{key}_reduction"] = less / whole if less is not None and whole > 0 else None
    return stages


def _difference(
    first: dict[str, Any] | None, second: dict[str, Any] | None, key: str
) -> float | int | None:
    if first is None or second is None or first is second:
        return None
    a, b = first.get(key), second.get(key)
    return a - b if isinstance(a, (int, float)) and isinstance(b, (int, float)) else None


def _scratch(record: RunRecord, comparison: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the stage of the network trained from scratch at the rank of a run of one layer, if there is one.

    A `train-from-scratch` folder beside the record tells, or else the row of a comparison.
    """
    if len(record.document["layers"]) != 1:
        return []
    rank = record.document["layers"][0].get("rank")
    if rank is None:
        return []
    rows = [] if comparison is None else comparison["summary"]
    row = next((one for one in rows if one["arm"] == "scratch" and one["rank"] == rank), None)
    found = _beside(record, rank)
    if found is None and row is not None:
        figures = ("error_rate", "error_rate_low", "error_rate_high", "loss", "seconds", "seeds")
        # Another network: its samples are not paired with the original's here.
        found = {"path": None, "parameters": row["model_parameters"], "bytes": None}
        found |= {"optimizer_bytes": 0, **{key: row.get(key) for key in figures}}
    return [] if found is None else [{"name": "scratch"} | found]


def _beside(record: RunRecord, rank: int) -> dict[str, Any] | None:
    """Return what a table of `train-from-scratch` beside the record tells; one that is not ours is no part of this."""
    dataset = (record.document.get("dataset") or {}).get("name")
    if not dataset or Path(str(dataset)).name != dataset:
        return None
    path = record.path.parent / f"scratch-{dataset}" / "results.json"
    try:
        row = next(row for row in read_json(path)["rows"] if row["rank"] == rank)
        if wrong(row, ModelRow):
            return None
        figures = ("error_rate", "error_rate_low", "error_rate_high", "samples", "loss", "seconds")
        return {
            "path": record.relative(path.parent / row["model"]),
            "parameters": row["model_parameters"],
            "bytes": row["bytes"],
            **{key: row[key] for key in figures},
        }
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def _read_sweep(path: Path, story: dict[str, Any]) -> dict[str, Any]:
    """Return a sweep that `lrcompress sweep --json` printed, of a layer of this story."""
    made = "what `lrcompress sweep MODEL --json` prints"
    document = _read(path, made, Sweep)
    from lrcompress.lowrank import METHODS

    for number, row in enumerate(document["rows"], 1):
        if not {row["method"], row.get("method_used", row["method"])} <= METHODS.keys():
            msg = f"{path} has a method in row {number} that no sweep measures; expected {made}."
            raise RunRecordError(msg, code="not_a_document")
    shapes = {
        layer.get("path", layer["name"]): layer["kernel_shape"]
        for layer in story["layers"] if layer.get("form") is None
    }  # fmt: skip
    if shapes.get(document["layer"]) != document["kernel_shape"]:
        m, n = document["kernel_shape"]
        msg = (
            f"{path} is a sweep of layer {document['layer']!r}, {m} x {n}, which {story['record']} "
            f"did not factorize; expected one of {', '.join(map(repr, shapes)) or 'no layer'}."
        )
        raise RunRecordError(msg, code="other_layer")
    return document


def _read_comparison(path: Path, story: dict[str, Any]) -> dict[str, Any]:
    """Return a comparison (`compare.json`) on the data set of this story."""
    made = "a compare.json of `lrcompress compare`"
    document = _read(path, made, Comparison)
    if not {row["arm"] for row in document["summary"]} <= set(ARMS):
        msg = f"{path} has an arm that is none of {', '.join(ARMS)}; expected {made}."
        raise RunRecordError(msg, code="not_a_document")
    ours, theirs = (story["dataset"] or {}).get("name"), document["settings"].get("dataset")
    if ours is not None and ours != theirs:
        msg = (
            f"{path} is a comparison on data set {theirs!r}; {story['record']} was measured on "
            f"{ours!r}: give one on the same data."
        )
        raise RunRecordError(msg, code="other_dataset")
    return document


def _read(path: Path, made: str, kind: type) -> dict[str, Any]:
    """Read a document of a kind."""
    try:
        if path.stat().st_size > LARGEST:
            msg = f"{path} has {path.stat().st_size} bytes; expected {made}, of at most {LARGEST}."
            raise RunRecordError(msg, code="not_a_document")
        document = read_json(path)
    except OSError as error:
        msg = f"Cannot read {path} ({error.strerror}); expected {made}."
        raise RunRecordError(msg, code="no_document") from error
    except ValueError as error:
        msg = f"{path} has text that is not JSON; expected {made}."
        raise RunRecordError(msg, code="not_a_document") from error
    said = wrong(document, kind)
    if said is not None:
        msg = f"{path} has another form ({said}); expected {made}."
        raise RunRecordError(msg, code="not_a_document")
    return dict(document)
