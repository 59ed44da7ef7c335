"""What a changed head does to the outputs, where what follows keeps the order of classes: nothing else runs again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress import measure
from lrcompress.compression.trial import Counted, Matrices, Outcome
from lrcompress.lowrank import Outputs, each, outputs_of

# Logits that a core holds at one time, but for so many rows, with fewer of which products wait for the kernel.
BLOCK, LEAST_ROWS = 2**21, 32
# From so many classes on sums over the inputs tell the divergence; float32 rounds them to 1e-6 or so.
MANY = 1_000


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
        """Hold A (m, n) and b (n,) with inputs (..., m) and class numbers (...), of which negative ones do not count.

        The ending is a softmax along the classes, a sigmoid, or nothing. A drop goes by labels that are new to the
        original; those that are its own decisions are `decided`.
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
        return "perplexity" if measure.is_language(self._kernel.shape[1], self._axes) else "points"

    @cached_property
    def original(self) -> Outcome:
        """What the head does as it is."""
        found, _ = self._as_it_is
        rise = 0.0 if self._tells_rise else None
        return Outcome(0.0, 100.0, found.error_rate, found.wrong, 0.0, rise, found)

    @cached_property
    def _as_it_is(self) -> tuple[measure.Evaluation, NDArray[np.int64]]:
        """What the labels tell of the head, and the classes that it picks."""

        def of_block(block: slice) -> tuple[measure.Scores, NDArray[np.int64]]:
            logits = self._raw(block)
            return self._scores(logits, block), measure.classes_of(logits, is_logits=True)

        scores, picked = zip(*each(of_block, self._blocks()), strict=True)
        return self._evaluation(scores), np.concatenate(picked)

    def __call__(self, matrices: Matrices, task: str = "") -> Outcome:  # nobody waits
        """Measure one head; a bias of None keeps the layer's own."""
        (factors,) = matrices.values()
        first, second = factors.B.astype(np.float32), factors.C.astype(np.float32)
        bias = self._bias if factors.bias is None else factors.bias.astype(np.float32)
        hidden, picks = self._x @ first, self._as_it_is[1]
        is_sure, sums = self._ending in ("softmax", "sigmoid"), self._sums

        # What other logits of a block are worth, and how far, summed, they are from the original's.
        def of_block(block: slice) -> tuple[Any, ...]:
            new = np.asarray(hidden[block] @ second, np.float32)
            new += bias
            found = measure.classes_of(new, is_logits=True), self._scores(new, block)
            if sums is not None:
                return (*found, 0.0, 0.0, 0.0)
            old = self._raw(block)
            spread = 0.0 if is_sure else float(np.square(old - self._mean).sum(dtype=np.float64))
            apart = divergence = measure.from_logits(old, new, self._ending)
            # What a softmax would make of logits that the model leaves to the loss.
            if self._tells_rise and self._ending != "softmax":
                pair = self._as_softmax(old), self._as_softmax(new)
                divergence = measure.from_logits(*pair, "softmax")
            return (*found, apart, divergence, spread)

        picked, scores, *sizes = zip(*each(of_block, self._blocks()), strict=True)
        found = np.concatenate(picked)
        apart, divergence, spread = (float(sum(parts)) for parts in sizes)
        if sums is not None:
            own = np.einsum("kr,kr->k", hidden, second.T[self._y]) + bias[self._y]
            losses = np.concatenate([score["loss"] for score in scores])
            volume = float((losses + own).mean())
            apart = divergence = len(self._x) * sums.divergence(first, second, bias, volume)
        scale = len(self._x) if is_sure else spread or 1.0
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
        return measure.tells_perplexity(self._kernel.shape[1], self._axes)

    def _rise(self, divergence: float, found: measure.Evaluation) -> float | None:
        if not self._tells_rise:
            return None
        if self._of_original or not self._by_labels:
            return measure.rise(divergence)
        return measure.rise(found.loss - self._as_it_is[0].loss)

    def _scores(self, logits: NDArray[np.float32], rows: slice) -> measure.Scores:
        """Return what single predictions are worth."""
        return measure.SCORERS["classes"](self._as_softmax(logits), self._y[rows], is_logits=True)

    def _evaluation(self, scores: Sequence[measure.Scores]) -> measure.Evaluation:
        whole = {key: np.concatenate([part[key] for part in scores]) for key in scores[0]}
        return measure.summarize(
            "classes", whole, None,
            axes=self._axes, units=self._kernel.shape[1], decided=self._of_original,
        )  # fmt: skip

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        mean = self._x.mean(axis=0, dtype=np.float64) @ self._kernel + self._bias
        return np.asarray(mean, np.float32)

    @cached_property
    def _judge(self) -> tuple[measure.Judge, measure.Judged]:
        """A judge of predictions, and what it says of the original's."""
        judge = measure.Judge(
            self._y, lambda rows: self._as_softmax(self._raw(rows)), by_labels=self._by_labels
        )
        picked = self._as_it_is[1]
        return judge, judge(picked, self._logits_at(picked))

    def _raw(self, rows: slice) -> NDArray[np.float32]:
        return np.asarray(self._x[rows] @ self._kernel + self._bias)

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
