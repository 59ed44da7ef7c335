"""What a changed head does to the outputs, where the head alone tells.

All that follows such a head keeps the order of the classes, so the network below it need not run again.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.compression.trial import Matrices, Outcome
from lrcompress.lowrank import each
from lrcompress.measure import Judge, Judged, classes_of, from_logits

# Logits that a core holds at one time.
BLOCK = 2**21


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
    ) -> None:
        """Hold the original; nothing is computed yet.

        Args:
            kernel: A, (m, n).
            bias: b, (n,), or None.
            inputs: Of the layer, (..., m).
            labels: Class numbers, (...); inputs with a negative one do not count.
            ending: What follows: softmax along the classes, sigmoid, or another name for nothing.
            by_labels: Whether the labels are new to the original, and a drop counts them.
        """
        self._x, self._y = inputs.reshape(-1, inputs.shape[-1]), labels.reshape(-1)
        if self._y.min(initial=0) < 0:
            counted = self._y >= 0
            self._x, self._y = self._x[counted], self._y[counted]
        self._kernel = np.asarray(kernel, np.float32)
        self._bias = np.zeros(kernel.shape[1], np.float32) if bias is None else bias.astype("f4")
        self._ending, self._by_labels = ending, by_labels

    @cached_property
    def original(self) -> Outcome:
        """What the head does as it is."""
        wrong = self._decided != self._y
        return Outcome(0.0, 100.0, 100 * float(wrong.mean()), wrong, 0.0)

    def __call__(self, matrices: Matrices, task: str = "") -> Outcome:  # nobody waits
        """Measure one head; a bias of None keeps the layer's own."""
        (factors,) = matrices.values()
        first, second = factors.B.astype(np.float32), factors.C.astype(np.float32)
        bias = self._bias if factors.bias is None else factors.bias.astype(np.float32)

        def measure(block: slice) -> tuple[float, float, int, NDArray[np.int64]]:
            old, new = self._raw(block), (self._x[block] @ first) @ second + bias
            spread = float(np.square(old - self._mean).sum(dtype=np.float64))
            picked = classes_of(new, is_logits=True)
            same = int((picked == classes_of(old, is_logits=True)).sum())
            return from_logits(old, new, self._ending), spread, same, picked

        apart, spread, same, picked = zip(*each(measure, self._blocks()), strict=True)
        scale = len(self._x) if self._ending in ("softmax", "sigmoid") else sum(spread) or 1.0
        found = np.concatenate(picked)
        wrong = found != self._y
        judge, before = self._judge
        return Outcome(
            # A divergence is never negative but for rounding.
            output_error=max(sum(apart) / scale, 0.0),
            agreement=100 * sum(same) / len(self._x),
            error_rate=100 * float(wrong.mean()),
            wrong=wrong,
            drop=before.drop_to(judge(found, self._logits_at(found))),
        )

    @cached_property
    def _mean(self) -> NDArray[np.float32]:
        mean = self._x.mean(axis=0, dtype=np.float64) @ self._kernel + self._bias
        return np.asarray(mean, np.float32)

    @cached_property
    def _decided(self) -> NDArray[np.int64]:
        found = each(lambda b: classes_of(self._raw(b), is_logits=True), self._blocks())
        return np.concatenate(found)

    @cached_property
    def _judge(self) -> tuple[Judge, Judged]:
        """A judge of predictions, and what it says of the original's."""
        judge = Judge(self._y, self._logits, by_labels=self._by_labels)
        return judge, judge(self._decided, self._logits_at(self._decided))

    def _raw(self, rows: slice) -> NDArray[np.float32]:
        return np.asarray(self._x[rows] @ self._kernel + self._bias)

    def _logits(self, rows: slice) -> NDArray[np.float32]:
        """Return logits of all classes, whose softmax says how likely each is: two of a single unit."""
        values = self._raw(rows)
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
        step = max(1, BLOCK // self._kernel.shape[1])
        return [slice(i, i + step) for i in range(0, len(self._x), step)]
