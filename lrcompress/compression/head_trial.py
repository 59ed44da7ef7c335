"""What a changed head does to the outputs, where the head alone tells.

All that follows such a head keeps the order of the classes, so the network below it need not run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrcompress.compression.trial import Counted, Matrices, Outcome
from lrcompress.lowrank import Outputs, each, outputs_of
from lrcompress.measure import (
    SCORERS,
    Evaluation,
    Judge,
    Judged,
    Scores,
    classes_of,
    from_logits,
    is_language,
    rise,
    summarize,
    tells_perplexity,
)

# Logits that a core holds at one time, but for so many rows, with fewer of which products wait for the kernel.
BLOCK, LEAST_ROWS = 2**21, 32
# From so many classes on sums over the inputs tell the divergence; float32 rounds them to 1e-6 or so.
MANY = 1_000


class _Block(NamedTuple):
    """What other logits of a block of inputs are worth, and how far, summed, they are from the original's."""

    picked: NDArray[np.int64]
    scores: Scores
    apart: float = 0.0
    divergence: float = 0.0
    spread: float = 0.0


class HeadTrial:
    """A head x A + b on some of its inputs and their labels."""

    def __init__(
        self,
        kernel: NDArray[Any],
        bias: NDArray[Any] | None,
        inputs: NDArray[np.float32],
        labels: NDArray[np.int64],
        *,
        ending: str,
        by_labels: bool = True,
        decided: bool = False,
    ) -> None:
        """Hold the original; nothing is computed yet.

        Args:
            kernel: A, (m, n).
            bias: b, (n,), or None.
            inputs: Of the layer, (..., m).
            labels: Class numbers, (...); inputs with a negative one do not count.
            ending: What follows: softmax along the classes, sigmoid, or another name for nothing.
            by_labels: Whether the labels are new to the original, and a drop counts them.
            decided: Whether the labels are what the original decides.
        """
        self._axes, self._of_original = labels.ndim, decided
        self._x, self._y = inputs.reshape(-1, inputs.shape[-1]), labels.reshape(-1)
        if self._y.min(initial=0) < 0:
            counted = self._y >= 0
            self._x, self._y = self._x[counted], self._y[counted]
        self._kernel = np.asarray(kernel, np.float32)
        self._bias = np.zeros(kernel.shape[1], np.float32) if bias is None else bias.astype("f4")
        self._ending, self._by_labels = ending, by_labels

    @property
    def counts(self) -> Counted:
        """Points, or of a language model perplexity."""
        at_steps = is_language(self._kernel.shape[1], self._axes)
        return "perplexity" if at_steps else "points"

    @cached_property
    def original(self) -> Outcome:
        """What the head does as it is."""
        found, _ = self._as_it_is
        rise = 0.0 if self._tells_rise else None
        return Outcome(0.0, 100.0, found.error_rate, found.wrong, 0.0, rise, found)

    @cached_property
    def _as_it_is(self) -> tuple[Evaluation, NDArray[np.int64]]:
        """What the labels tell of the head, and the classes that it picks."""

        def measure(block: slice) -> tuple[Scores, NDArray[np.int64]]:
            logits = self._raw(block)
            return self._scores(logits, block), classes_of(logits, is_logits=True)

        scores, picked = zip(*each(measure, self._blocks()), strict=True)
        return self._evaluation(scores), np.concatenate(picked)

    def __call__(self, matrices: Matrices, task: str = "") -> Outcome:  # nobody waits
        """Measure one head; a bias of None keeps the layer's own."""
        (factors,) = matrices.values()
        first, second = factors.B.astype(np.float32), factors.C.astype(np.float32)
        bias = self._bias if factors.bias is None else factors.bias.astype(np.float32)
        hidden, picks = self._x @ first, self._as_it_is[1]
        is_sure, sums = self._ending in ("softmax", "sigmoid"), self._sums

        def measure(block: slice) -> _Block:
            new = np.asarray(hidden[block] @ second, np.float32)
            new += bias
            found = classes_of(new, is_logits=True), self._scores(new, block)
            if sums is not None:
                return _Block(*found)
            old = self._raw(block)
            spread = 0.0 if is_sure else float(np.square(old - self._mean).sum(dtype=np.float64))
            apart = divergence = from_logits(old, new, self._ending)
            # What a softmax would make of logits that the model leaves to the loss.
            if self._tells_rise and self._ending != "softmax":
                pair = self._as_softmax(old), self._as_softmax(new)
                divergence = from_logits(*pair, "softmax")
            return _Block(*found, apart, divergence, spread)

        parts = each(measure, self._blocks())
        apart, divergence = (
            sum(part.apart for part in parts),
            sum(part.divergence for part in parts),
        )
        found = np.concatenate([part.picked for part in parts])
        scores = [part.scores for part in parts]
        if sums is not None:
            own = np.einsum("kr,kr->k", hidden, second.T[self._y]) + bias[self._y]
            losses = np.concatenate([score["loss"] for score in scores])
            volume = float((losses + own).mean())
            apart = divergence = len(self._x) * sums.divergence(first, second, bias, volume)
        scale = len(self._x) if is_sure else sum(part.spread for part in parts) or 1.0
        judge, before = self._judge
        evaluation = self._evaluation(scores)
        return Outcome(
            # A divergence is never negative but for rounding.
            output_error=max(apart / scale, 0.0),
            agreement=100 * float((found == picks).mean()),
            error_rate=evaluation.error_rate,
            wrong=evaluation.wrong,
            drop=before.drop_to(judge(found, self._logits_at(found))),
            rise=self._rise(max(divergence / len(self._x), 0.0), evaluation),
            evaluation=evaluation,
        )

    @cached_property
    def _sums(self) -> Outputs | None:
        """What softmax says of many classes, summed up: the original's logits are not computed for each rank."""
        if self._ending != "softmax" or self._kernel.shape[1] < MANY:
            return None
        return outputs_of(self._x, self._kernel, self._bias, "softmax")

    @property
    def _tells_rise(self) -> bool:
        return tells_perplexity(self._kernel.shape[1], self._axes)

    def _rise(self, divergence: float, found: Evaluation) -> float | None:
        if not self._tells_rise:
            return None
        if self._of_original or not self._by_labels:
            return rise(divergence)
        return rise(found.loss - self._as_it_is[0].loss)

    def _scores(self, logits: NDArray[np.float32], rows: slice) -> Scores:
        """Return what single predictions are worth."""
        return SCORERS["classes"](self._as_softmax(logits), self._y[rows], is_logits=True)

    def _evaluation(self, scores: Sequence[Scores]) -> Evaluation:
        whole = {key: np.concatenate([part[key] for part in scores]) for key in scores[0]}
        return summarize(
            "classes", whole, None,
            axes=self._axes, units=self._kernel.shape[1], decided=self._of_original,
        )  # fmt: skip

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        mean = self._x.mean(axis=0, dtype=np.float64) @ self._kernel + self._bias
        return np.asarray(mean, np.float32)

    @cached_property
    def _judge(self) -> tuple[Judge, Judged]:
        """A judge of predictions, and what it says of the original's."""
        judge = Judge(self._y, self._logits, by_labels=self._by_labels)
        picked = self._as_it_is[1]
        return judge, judge(picked, self._logits_at(picked))

    def _raw(self, rows: slice) -> NDArray[np.float32]:
        return np.asarray(self._x[rows] @ self._kernel + self._bias)

    def _logits(self, rows: slice) -> NDArray[np.float32]:
        """Return logits of all classes, whose softmax says how likely each is."""
        return self._as_softmax(self._raw(rows))

    def _as_softmax(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return logits for a softmax: two of a single unit; of several sigmoids, which need not sum to one."""
        if values.shape[-1] == 1:
            return np.concatenate([np.zeros_like(values), values], axis=-1)
        return values if self._ending != "sigmoid" else -np.logaddexp(np.float32(0), -values)

    def _logits_at(self, picked: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the same of one class for each input, (k,)."""
        if self._kernel.shape[1] == 1:
            return np.where(picked == 1, self._raw(slice(None))[:, 0], 0.0).astype(np.float32)
        own = np.einsum("km,km->k", self._x, self._kernel.T[picked]) + self._bias[picked]
        return np.asarray(own) if self._ending != "sigmoid" else -np.logaddexp(np.float32(0), -own)

    def _blocks(self) -> list[slice]:
        step = max(LEAST_ROWS, BLOCK // self._kernel.shape[1])
        return [slice(i, i + step) for i in range(0, len(self._x), step)]
