"""How far changed outputs are from the original's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Probabilities below this are not told apart from 0.
SMALLEST = 1e-30


def from_logits(old: NDArray[np.float32], new: NDArray[np.float32], ending: str) -> float:
    """Return the divergence, summed over logits (k, n), in nats; without an ending the squared error.

    Args:
        old: The original's.
        new: The changed.
        ending: What makes probabilities of them: softmax, sigmoid, or another name for nothing.
    """
    if ending == "softmax":
        before, after = _log_softmax(old), _log_softmax(new)
        return float((np.exp(before) * (before - after)).sum(dtype=np.float64))
    if ending == "sigmoid":
        p = 1 / (1 + np.exp(-old))
        ends = np.logaddexp(0, new) - np.logaddexp(0, old)
        return float((ends - p * (new - old)).sum(dtype=np.float64))
    return float(np.square(old - new).sum(dtype=np.float64))


def from_outputs(old: NDArray[np.float32], new: NDArray[np.float32], *, is_logits: bool) -> float:
    """Return the mean divergence of probabilities; of others the squared error by their variance."""
    before, after = old.astype(np.float64), new.astype(np.float64)
    if is_logits:
        spread = float(np.square(before - before.mean(axis=0)).mean())
        return float(np.square(before - after).mean()) / (spread or 1.0)
    divergence = _divergence(before, after)
    sums = before.sum(axis=-1)
    if before.shape[-1] == 1 or not np.allclose(sums, 1, atol=1e-3):
        divergence = divergence + _divergence(1 - before, 1 - after)
    return float(divergence.sum(axis=-1).mean())


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _divergence(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[Any]:
    logs = np.log(np.maximum(old, SMALLEST)) - np.log(np.maximum(new, SMALLEST))
    return np.asarray(old * logs)
