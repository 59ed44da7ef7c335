"""The arms of a comparison: ways to end with a small network, each measured on the same test data.

| arm | what it is |
|---|---|
| ``full`` | the full-rank network |
| ``full-finetuned`` | the same, given the extra epochs that ``finetuned`` gets |
| ``svd`` | its final layer by truncated SVD, nothing trained |
| ``refined`` | its final layer by the best method on unlabelled training inputs, nothing trained |
| ``finetuned`` | factorized, then a few epochs |
| ``scratch`` | the low-rank network from random weights |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lrcompress.progress import Progress, silent
from lrcompress.training import backend
from lrcompress.training.arrays import count
from lrcompress.training.evaluate import evaluate
from lrcompress.training.finetune import finetune
from lrcompress.training.predictions import figures, unpack
from lrcompress.training.recover import SplitHead
from lrcompress.training.seeds import paired_difference
from lrcompress.training.session import Prepared
from lrcompress.training.settings import FinetuneSettings
from lrcompress.training.summary import group_rows, summarize

# Arms that begin from the trained full-rank network: its training is part of their price.
FROM_FULL = ("full-finetuned", "svd", "refined", "finetuned")

Row = dict[str, Any]


def measured(model: Any, data: Prepared, progress: Progress, task: str) -> Row:
    """Return what a row holds of a model that is only measured."""
    x, y = data.test()
    found = evaluate(model, x, y, progress, task, sample_weight=data.split.w_test)
    return {**figures(found), "device": backend.describe_device()}


def finetuned(
    student: Any,
    teacher: Any,
    data: Prepared,
    settings: FinetuneSettings,
    *,
    head: SplitHead | None = None,
    progress: Progress = silent,
) -> Row:
    """Fine-tune a model in place, as `lrcompress finetune` does, and return what a row holds of it.

    Args:
        student: The factorized model, or a copy of the full-rank one.
        teacher: The full-rank model.
        data: The data set, fitted and scaled.
        settings: Epochs and seed.
        head: The factorized layer, None for a full-rank student.
        progress: Told of every step.

    Raises:
        KeyboardInterrupt: If it was broken off, which fine-tuning alone ends well.
    """
    outcome = finetune(student, teacher, data, settings, head=head, progress=progress)
    if outcome.stopped == "interrupted":
        raise KeyboardInterrupt
    return {
        **figures(outcome.after),
        "epochs": outcome.epochs_done,
        "best_epoch": outcome.best_epoch,
        "history": outcome.history,
        "seconds": outcome.seconds,
        "images": outcome.epochs_done * count(data.split.x_train),
        "images_per_second": outcome.images_per_second,
        "device": backend.describe_device(),
    }


def summarize_arms(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one entry an arm and rank: means over seeds and paired differences.

    Returns:
        What `summary.summarize` says, with ``arm``, ``rank``; ``images_total`` and
        ``seconds_total``, the training of the full-rank network included where the arm begins
        from it; ``against_full`` and, where both are there, ``against_scratch``, as
        `seeds.paired_difference` gives them for the seeds that both have.
    """
    groups = group_rows(rows, ("arm", "rank"))
    full = groups.get(("full", None), [])
    summary = []
    for (arm, rank), members in groups.items():
        entry = {"arm": arm, "rank": rank, **summarize(members)}
        base = summarize(full) if arm in FROM_FULL and full else None
        for key in ("images", "seconds"):
            parts = [entry[key]] if base is None else [entry[key], base[key]]
            entry[f"{key}_total"] = None if None in parts else sum(parts)
        entry["against_full"] = None if arm == "full" else _paired(full, members)
        scratch = groups.get(("scratch", rank), []) if arm != "scratch" and rank else []
        entry["against_scratch"] = _paired(scratch, members)
        summary.append(entry)
    return summary


def _paired(first: Sequence[Row], second: Sequence[Row]) -> dict[str, Any] | None:
    """Compare rows seed by seed; a row without a seed serves every seed."""
    pairs = [(a, b) for b in second if (a := _of_seed(first, b["seed"])) is not None]
    if all(b["seed"] is None for _, b in pairs):
        # Nothing here depends on a seed: once is enough.
        pairs = pairs[:1]
    if not pairs:
        return None
    return paired_difference([_wrong(a) for a, _ in pairs], [_wrong(b) for _, b in pairs])


def _of_seed(rows: Sequence[Row], seed: int | None) -> Row | None:
    return next((row for row in rows if row["seed"] in (seed, None) or seed is None), None)


def _wrong(row: Row) -> Any:
    return unpack(row["wrong"], row["samples"])
