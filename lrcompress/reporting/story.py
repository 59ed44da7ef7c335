"""From a run record to the document that every format of a report shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrcompress.records.runs import RunRecord
from lrcompress.records.schema import ModelRow, wrong
from lrcompress.records.text import read_json

ORDER = ("original", "factorized", "finetuned", "scratch")
# Where a record tells how much of a stage's file is optimizer state.
_OPTIMIZER = {"original": "optimizer_bytes", "factorized": "optimizer_bytes_after"}


def tell(record: RunRecord) -> dict[str, Any]:
    """Return the story of a run: stages in order, layers, errors, times; see docs/run-record.md.

    A `train-from-scratch` folder beside the record that holds the same rank on the same data set
    becomes the stage `scratch`.
    """
    document = record.document
    stages = [dict(stage) for stage in document["stages"] if stage["name"] in ORDER]
    scratch = _scratch_stage(record)
    if scratch:
        stages.append(scratch)
    stages.sort(key=lambda stage: ORDER.index(stage["name"]))
    for stage in stages:
        stage["optimizer_bytes"] = document.get(_OPTIMIZER.get(stage["name"], "")) or 0
    original = next((stage for stage in stages if stage["name"] == "original"), None)
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
    timed = {"benchmark": document["benchmark"]} if document.get("benchmark") else {}
    return timed | {
        "schema_version": document["schema_version"],
        "kind": "report",
        "record": str(record.path),
        "created": document.get("created"),
        "updated": document.get("updated"),
        "method": document.get("method"),
        "method_reason": document.get("method_reason"),
        "dataset": document.get("dataset"),
        "layers": document["layers"],
        "stages": stages,
        "optimizer_bytes": document.get("optimizer_bytes") or 0,
        "optimizer_bytes_after": document.get("optimizer_bytes_after") or 0,
        "finetune": document["finetune"],
        "seconds": document.get("seconds") or {},
        "versions": document.get("versions") or {},
        "warnings": document.get("warnings") or [],
        "commands": [c for c in [document.get("command"), *_finetune_commands(document)] if c],
    }


def _finetune_commands(document: dict[str, Any]) -> list[Any]:
    return [entry.get("command") for entry in document["finetune"] if isinstance(entry, dict)]


def _difference(
    first: dict[str, Any] | None, second: dict[str, Any] | None, key: str
) -> float | int | None:
    if first is None or second is None or first is second:
        return None
    a, b = first.get(key), second.get(key)
    return a - b if isinstance(a, (int, float)) and isinstance(b, (int, float)) else None


def _scratch_stage(record: RunRecord) -> dict[str, Any] | None:
    dataset = (record.document.get("dataset") or {}).get("name")
    layers = record.document["layers"]
    if not dataset or len(layers) != 1 or Path(str(dataset)).name != dataset:
        return None
    path = record.path.parent / f"scratch-{dataset}" / "results.json"
    try:
        rows = read_json(path)["rows"]
        row = next(row for row in rows if row["rank"] == layers[0]["rank"])
        if wrong(row, ModelRow):
            return None
        return {
            "name": "scratch",
            "path": record.relative(path.parent / row["model"]),
            "parameters": row["model_parameters"],
            "bytes": row["bytes"],
            **{
                key: row[key]
                for key in ("error_rate", "error_rate_low", "error_rate_high", "samples", "loss")
            },
            "seconds": row["seconds"],
        }
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        # A table that is not there, not finished or not ours is no part of this story.
        return None
