"""How each class or label fares: what an error rate hides where one class is most of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.measure.drop import has_rare, judge_labels
from lrcompress.measure.scores import Scores


@dataclass(frozen=True)
class ByClass:
    """Figures of each of a few classes, or of several labels.

    Attributes:
        balanced_error: In percent: the mean of the classes' own errors; of labels, that of each
            label's two sides, averaged over labels. None unless a class is rare, or there are two.
        recall: Share of each one's samples that are found, in percent; None where it has none.
        samples: Of each, weighted where the data have weights.
        predicted: How many are ever predicted.
    """

    balanced_error: float | None
    recall: list[float | None]
    samples: list[float]
    predicted: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures, where they tell something that the error does not."""
        if self.balanced_error is None:
            return {}
        return {"balanced_error": self.balanced_error, "recall": self.recall}


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
    recall = _shares(((holds & decided) * wide).sum(axis=0), samples)
    balanced = judge_labels(decided, holds.astype(np.float64), weights).balanced
    return ByClass(balanced, recall, samples.tolist(), int(decided.any(axis=0).sum()))


def _shares(found: NDArray[Any], samples: NDArray[Any]) -> list[float | None]:
    return [100 * float(f / s) if s else None for f, s in zip(found, samples, strict=True)]
