"""What changed outputs of a network lose against the original's; see `lrcompress.measure.judging`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.live.outputs import Head
from lrcompress.live.padding import spread
from lrcompress.measure.judging import FITTED_ON, Judge, Judged, judge_labels, temperature
from lrcompress.measure.scores import classes_of, kind_of, logits_of


class Losing:
    """Judges one output of a network, of class numbers or of several labels."""

    def __init__(
        self,
        head: Head,
        outputs: NDArray[np.float32],
        labels: NDArray[Any],
        weights: NDArray[Any] | None,
        *,
        by_labels: bool,
    ) -> None:
        """Judge the original.

        Args:
            head: The output.
            outputs: The original's, (samples, ..., units).
            labels: Fitted to the model, see `scores.kind_of`.
            weights: Of samples or predictions, see `evaluate`; None weighs all alike.
            by_labels: Whether the labels are new to the original.
        """
        self._head, self._several = head, kind_of(labels) == "labels"
        shape = outputs.shape[:-1]
        self._weights: NDArray[Any] | None = None
        self._kept = np.ones(shape, np.bool_)
        if weights is not None:
            wide = spread(weights, shape)
            self._kept = wide > 0
            self._weights = wide[self._kept]
        logits, labels = logits_of(outputs[self._kept], head.is_logits), labels[self._kept]
        if self._several:
            self._chances = _chances(logits, labels, by_labels=by_labels)
        else:
            self._logits = self._of_classes(logits)
            self._judge = Judge(
                labels, self._logits.__getitem__, by_labels=by_labels, weights=self._weights
            )
        self._before = self._judged(outputs)

    def __call__(self, outputs: NDArray[np.float32]) -> float:
        """Return what other outputs lose, in points."""
        return self._before.drop_to(self._judged(outputs))

    @staticmethod
    def _of_classes(logits: NDArray[np.float32]) -> NDArray[np.float32]:
        single = logits.shape[-1] == 1
        return np.concatenate([np.zeros_like(logits), logits], axis=-1) if single else logits

    def _judged(self, outputs: NDArray[np.float32]) -> Judged:
        kept = outputs[self._kept]
        if self._several:
            return judge_labels(
                logits_of(kept, self._head.is_logits) > 0, self._chances, self._weights
            )
        picked = classes_of(kept, self._head.is_logits)
        return self._judge(picked, np.take_along_axis(self._logits, picked[:, None], axis=-1)[:, 0])


def _chances(
    logits: NDArray[np.float32], labels: NDArray[np.bool_], *, by_labels: bool
) -> NDArray[np.float64]:
    """Return how likely each label is to hold, (k, n)."""
    if by_labels:
        return labels.astype(np.float64)
    step = -(-logits.size // FITTED_ON)
    some = logits.reshape(-1, 1)[::step]
    pairs = np.concatenate([np.zeros_like(some), some], axis=-1)
    scale = temperature(pairs, labels.reshape(-1)[::step].astype(np.int64))
    return np.asarray(1 / (1 + np.exp(-np.clip(logits.astype(np.float64) / scale, -500, 500))))
