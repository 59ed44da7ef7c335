"""Rare classes: what an error rate hides where one class is most of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.measure.drop import has_rare, judge_labels
from lrcompress.measure.evaluation import (
    ByClass,
    ClassEvaluation,
    Evaluation,
    LabelEvaluation,
    OutputsEvaluation,
)
from lrcompress.measure.scores import Scores

# A class is lost whose recall was at least so much, in percent, of so many samples, and halves.
WORTH_LOSING, ENOUGH = 10.0, 5
# Classes that a remark names.
MOST_NAMED = 3


def of_classes(scores: Scores, weights: NDArray[Any] | None) -> ByClass | None:
    """Return how each class fares, None where there are many; see `scores.class_scores`."""
    if "true" not in scores:
        return None
    true, picked = scores["true"], scores["picked"]
    n = int(max(true.max(), picked.max())) + 1
    samples = np.bincount(true, weights, n).astype(np.float64)
    found = np.bincount(true, (picked == true) * (1 if weights is None else weights), n)
    recall = _shares(found, samples)
    known = [share for share in recall if share is not None]
    counts = "scores" in scores or has_rare(samples)
    balanced = 100 - float(np.mean(known)) if counts else None
    return ByClass(balanced, recall, samples.tolist(), len(np.unique(picked)))


def of_labels(scores: Scores, weights: NDArray[Any] | None) -> ByClass:
    """Return how each of several labels fares; see `scores.label_scores`."""
    holds, decided = scores["holds"], scores["decided"]
    wide = np.ones((len(holds), 1)) if weights is None else weights[:, None]
    samples = (holds * wide).sum(axis=0).astype(np.float64)
    found = ((holds & decided) * wide).sum(axis=0)
    balanced = judge_labels(decided, holds.astype(np.float64), weights).balanced
    return ByClass(
        balanced, _shares(found, samples), samples.tolist(), int(decided.any(axis=0).sum())
    )


def _shares(found: NDArray[Any], samples: NDArray[Any]) -> list[float | None]:
    return [100 * float(f / s) if s else None for f, s in zip(found, samples, strict=True)]


def lost_classes(before: Evaluation, after: Evaluation, output: str = "") -> list[str]:
    """Return remarks on classes that a changed model no longer finds, and on one that is all it gives."""
    if isinstance(before, OutputsEvaluation) and isinstance(after, OutputsEvaluation):
        pairs = zip(before.outputs.items(), after.outputs.values(), strict=True)
        return [
            text
            for (name, old), new in pairs
            for text in lost_classes(old, new, f"Output {name}: ")
        ]
    kinds = (ClassEvaluation, LabelEvaluation)
    if not isinstance(before, kinds) or not isinstance(after, kinds):
        return []
    old, new = before.by_class, after.by_class
    if old is None or new is None:
        return []
    word, remarks = "label" if isinstance(before, LabelEvaluation) else "class", []
    fewest = 0 if word == "label" else 1
    if new.predicted <= fewest < old.predicted:
        what = "no label at all" if word == "label" else "one class only"
        remarks.append(
            f"{output}The result predicts {what} on the test data; the original does not."
        )
    lost = [
        f"{word} {i} ({100 * size / before.samples:.2g} % of the samples): {was:.0f} % to {now:.0f} %"
        for i, (size, was, now) in enumerate(zip(old.samples, old.recall, new.recall, strict=False))
        if was is not None and now is not None
        and size >= ENOUGH and was >= WORTH_LOSING and now < was / 2
    ]  # fmt: skip
    if lost:
        more = f", and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else ""
        remarks.append(
            f"{output}Recall falls by more than half: {'; '.join(lost[:MOST_NAMED])}{more}."
        )
    return remarks
