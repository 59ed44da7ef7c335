"""Whether fine-tuning helped, by held-out data, and what becomes of it where it did not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrcompress.records import runs
from lrcompress.records.results import FinetuneResult


def decision_on(found: FinetuneResult, samples: int | None) -> dict[str, Any]:
    """Return whether fine-tuning helped on held-out data, and the figures that say so."""
    key = f"validation_{found.measure}" if found.measure != "outputs" else "validation_loss"
    start, *others = found.history
    best = next((entry for entry in others if entry["kept"]), None)
    on = "held-out inputs" if samples is None else f"{samples:,} held-out inputs"
    if best is None:
        why = f"no epoch was better than the start on {on}"
    else:
        what = "the re-fitted head" if best["epoch"] == 0 else f"epoch {best['epoch']}"
        why = f"{what} was best on {on}"
    return {
        "kept": best is not None,
        "why": why,
        "samples": samples,
        "measure": found.measure,
        "before": start.get(key),
        "after": None if best is None else best.get(key),
    }


def decide(record: runs.RunRecord, decision: dict[str, Any]) -> runs.RunRecord:
    """Put into the record whether fine-tuning was kept."""
    with runs.updating(record) as (current, _):
        current.document["compress"]["finetune"] = decision
    return current


def drop(record: runs.RunRecord, tuned: Path) -> None:
    """Take away what was fine-tuned for nothing: the model, and its stage; the record keeps the history."""
    with runs.updating(record) as (current, _):
        tuned.unlink(missing_ok=True)
        document = current.document
        document["stages"] = [s for s in document["stages"] if s["name"] != "finetuned"]
        for entry in document["finetune"]:
            entry.pop("output", None)
