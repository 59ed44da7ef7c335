"""What a rank-r head alone does to the outputs, on inputs of the layer that were kept.

All that follows the head keeps the order of the classes, so the network below it need not run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank import Factors

# Logits that are held at one time.
BLOCK = 2**24


@dataclass(frozen=True)
class Measured:
    """A head against the original on the same inputs.

    Attributes:
        output_error: Mean Kullback-Leibler divergence from the original's outputs in nats (summed
            over units for sigmoid); for other heads the squared error of the logits relative to
            their variance.
        agreement: Share of predictions that are the original's, in percent.
        error_rate: In percent, None without labels.
        wrong: Which predictions are wrong, (k,); None without labels.
    """

    output_error: float
    agreement: float
    error_rate: float | None
    wrong: NDArray[np.bool_] | None


class HeadMeter:
    """Measures heads in the place of x A + b."""

    def __init__(
        self,
        kernel: NDArray[Any],
        bias: NDArray[Any] | None,
        inputs: NDArray[np.float32],
        labels: NDArray[np.int64] | None,
        *,
        softmax: bool,
        activation: str,
    ) -> None:
        """Remember the original.

        Args:
            kernel: A, (m, n).
            bias: b, (n,), or None.
            inputs: Of the layer, (..., m).
            labels: Class numbers, shaped as `inputs` without its last axis, or None; inputs with
                a negative one do not count.
            softmax: Whether softmax along the classes follows.
            activation: The layer's own.
        """
        self._x = inputs.reshape(-1, inputs.shape[-1])
        self._y = None if labels is None else labels.reshape(-1)
        if self._y is not None and self._y.min(initial=0) < 0:
            counted = self._y >= 0
            self._x, self._y = self._x[counted], self._y[counted]
        self._kernel = kernel.astype(np.float32)
        self._bias = np.zeros(kernel.shape[1], np.float32) if bias is None else bias.astype("f4")
        self._kind = "softmax" if softmax else activation
        mean = self._x.mean(axis=0, dtype=np.float64) @ self._kernel + self._bias
        self._mean = mean.astype(np.float32)
        self.original_wrong = self._wrong()

    def _blocks(self) -> list[slice]:
        step = max(1, BLOCK // self._kernel.shape[1])
        return [slice(i, i + step) for i in range(0, len(self._x), step)]

    def _wrong(self) -> NDArray[np.bool_] | None:
        if self._y is None:
            return None
        found = [classes(self._x[b] @ self._kernel + self._bias) for b in self._blocks()]
        return np.asarray(np.concatenate(found) != self._y)

    def __call__(self, factors: Factors) -> Measured:
        """Measure one head; a bias of None keeps the layer's own."""
        first, second = factors.B.astype(np.float32), factors.C.astype(np.float32)
        bias = self._bias if factors.bias is None else factors.bias.astype(np.float32)
        apart, spread, same = 0.0, 0.0, 0
        predicted = []
        for block in self._blocks():
            x = self._x[block]
            old, new = x @ self._kernel + self._bias, (x @ first) @ second + bias
            apart += self._distance(old, new)
            spread += float(np.square(old - self._mean).sum(dtype=np.float64))
            predicted.append(classes(new))
            same += int((predicted[-1] == classes(old)).sum())
        scale = len(self._x) if self._kind in ("softmax", "sigmoid") else spread or 1.0
        wrong = None if self._y is None else np.concatenate(predicted) != self._y
        rate = None if wrong is None else 100 * float(wrong.mean())
        # A divergence is never negative but for rounding.
        return Measured(max(apart / scale, 0.0), 100 * same / len(self._x), rate, wrong)

    def _distance(self, old: NDArray[np.float32], new: NDArray[np.float32]) -> float:
        """Return the summed divergence, or the summed squared error."""
        if self._kind == "softmax":
            before, after = _log_softmax(old), _log_softmax(new)
            return float((np.exp(before) * (before - after)).sum(dtype=np.float64))
        if self._kind == "sigmoid":
            p = 1 / (1 + np.exp(-old))
            ends = np.logaddexp(0, new) - np.logaddexp(0, old)
            return float((ends - p * (new - old)).sum(dtype=np.float64))
        return float(np.square(old - new).sum(dtype=np.float64))


def classes(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return predicted classes; one unit says whether it is class 1."""
    if logits.shape[-1] == 1:
        return np.asarray(logits[..., 0] > 0, np.int64)
    return np.asarray(logits.argmax(axis=-1))


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
