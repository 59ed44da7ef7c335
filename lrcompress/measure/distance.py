"""How far changed outputs are from the original's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.measure.scores import is_softmax, log_sums

# Probabilities below this are not told apart from 0.
SMALLEST = 1e-30
# So many probabilities are many.
MANY = 1_000


def from_logits(old: NDArray[np.float32], new: NDArray[np.float32], ending: str) -> float:
    """Return the divergence, summed over logits (k, n), in nats; without an ending the squared error."""
    if ending == "softmax":
        # sum p (z - z') + log sum exp z' - log sum exp z, whatever is added to the logits of an input.
        top = old.max(axis=-1, keepdims=True)
        parts = np.exp(old - top)
        sums = parts.sum(axis=-1, keepdims=True, dtype=np.float64)
        parts *= old - new
        apart = parts.sum(axis=-1, keepdims=True, dtype=np.float64) / sums
        return float((apart + log_sums(new) - np.log(sums) - top).sum())
    if ending == "sigmoid":
        p = 1 / (1 + np.exp(-old))
        ends = np.logaddexp(0, new) - np.logaddexp(0, old)
        return float((ends - p * (new - old)).sum(dtype=np.float64))
    return float(np.square(old - new).sum(dtype=np.float64))


def from_outputs(old: NDArray[np.float32], new: NDArray[np.float32], *, is_logits: bool) -> float:
    """Return the divergence of probabilities, (k, n), summed over k; of others the mean squared errors of each."""
    # Of many probabilities float32 tells the logarithms well enough, in a quarter of the time.
    wide: Any = np.float32 if old.shape[-1] >= MANY and not is_logits else np.float64
    before, after = old.astype(wide, copy=False), new.astype(wide, copy=False)
    if is_logits:
        return float(np.square(before - after).mean(axis=-1).sum())
    divergence = _divergence(before, after)
    if not is_softmax(old):
        divergence += _divergence(1 - before, 1 - after)
    return float(divergence.sum(dtype=np.float64))


def spread_of(parts: Sequence[NDArray[np.float32]]) -> float:
    """Return the variance of outputs, (k, n) each, around the mean of each unit."""
    rows = sum(map(len, parts))
    mean = sum(part.sum(axis=0, dtype=np.float64) for part in parts) / rows
    return float(sum(np.square(part - mean).mean(axis=-1).sum() for part in parts) / rows)


def _divergence(old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
    logs = np.log(np.maximum(old, SMALLEST)) - np.log(np.maximum(new, SMALLEST))
    return np.asarray(old * logs)
