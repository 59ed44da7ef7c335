"""Outputs are judged by labels, without a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.measure import Evaluation, Original


def score(
    outputs: NDArray[np.float32],
    y: NDArray[Any],
    *,
    is_logits: bool,
    sample_weight: NDArray[Any] | None = None,
) -> Evaluation:
    """Return what is said of outputs, (samples, ..., units), by labels and weights of the predictions."""
    weights = None if sample_weight is None else sample_weight.astype(np.float64)
    look = Original(y, weights, is_logits=is_logits, by_labels=False, decided=False).first
    look.add(slice(0, len(y)), outputs)
    assert look.evaluation is not None
    return look.evaluation
