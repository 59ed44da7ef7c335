"""What single predictions are worth, by kind of label; chunks of them are joined before a summary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

# What labels mean: classes, any number of labels, or numbers.
Kind = Literal["classes", "labels", "regression"]
# Per prediction (samples, or samples x steps in one row): arrays by what they hold.
Scores = dict[str, NDArray[Any]]
# Classes that each count alike; of the words of a language most are rare.
FEW_CLASSES = 100
# With so many classes a guess among five is a measure of its own.
MANY_CLASSES = 100
# Labels that are each ranked and told of; outputs of more would not be held for all samples.
MOST_RANKED = 1_000
# What probabilities of exactly 0 and 1 count as, which `hard_sigmoid` gives; in float32, as in Keras.
IMPOSSIBLE = 1e-7
CERTAIN = float(1 - np.float32(IMPOSSIBLE))


def kind_of(labels: NDArray[Any]) -> Kind:
    """Return what labels that were fitted to a model mean, which their dtype carries."""
    # Integers are class numbers, (samples, ...); booleans and floats are shaped as the outputs, (samples, ..., n).
    kinds: dict[str, Kind] = {"b": "labels", "f": "regression"}
    return kinds.get(labels.dtype.kind, "classes")


def class_scores(outputs: NDArray[np.float32], y: NDArray[np.int64], is_logits: bool) -> Scores:
    """Score outputs, (..., classes) or one unit, against class numbers, (...); losses are in nats."""
    values: NDArray[Any] = outputs
    if outputs.shape[-1] == 1:
        logits = outputs.astype(np.float64) if is_logits else _logit(outputs.astype(np.float64))
        values, is_logits = np.concatenate([np.zeros_like(logits), logits], axis=-1), True
    own = np.take_along_axis(values, y[..., None], axis=-1)
    if is_logits:
        log_own = own - log_sums(values)
    else:
        # Only one of thousands of probabilities needs its logarithm. Sigmoid outputs over exclusive
        # classes need not sum to one.
        total = values.sum(axis=-1, keepdims=True, dtype=np.float64)
        total += IMPOSSIBLE * np.count_nonzero(values <= 0, axis=-1, keepdims=True)
        log_own = np.log(np.maximum(np.where(own <= 0, IMPOSSIBLE, own) / total, 1e-30))
    picked = values.argmax(axis=-1)
    found: Scores = {"wrong": (picked != y).reshape(-1), "loss": -log_own.reshape(-1)}
    if values.shape[-1] <= FEW_CLASSES:
        found |= {"true": y.reshape(-1), "picked": picked.reshape(-1)}
    if values.shape[-1] == 2:
        # How much likelier the second is.
        found["scores"] = (values[..., 1] - values[..., 0]).reshape(-1)
    if values.shape[-1] >= MANY_CLASSES:
        # Whether it is none of the five likeliest; written so that NaN, which is in no order, counts as beyond.
        within = np.count_nonzero(values <= own, axis=-1) > values.shape[-1] - 5
        found["beyond5"] = ~within.reshape(-1)
    return found


def label_scores(outputs: NDArray[np.float32], y: NDArray[np.bool_], is_logits: bool) -> Scores:
    """Score outputs, (..., n), against which of n labels hold: shares decided wrongly, and mean losses in nats."""
    n = outputs.shape[-1]
    logits = outputs.astype(np.float64)
    decided = logits > (0.0 if is_logits else 0.5)
    if not is_logits:
        logits = _logit(logits)
    # log(1 + exp(z)) - y z, without overflow.
    loss = np.logaddexp(0.0, logits) - y * logits
    found: Scores = {
        "wrong": (decided != y).mean(axis=-1).reshape(-1),
        "loss": loss.mean(axis=-1).reshape(-1),
    }
    if n <= MOST_RANKED:
        rows = {"outputs": outputs, "holds": y, "decided": decided}
        found |= {key: values.reshape(-1, n) for key, values in rows.items()}
    if n >= MANY_CLASSES:
        # Whether the likeliest does not hold, and none of the five likeliest does.
        first = np.argpartition(-outputs, 5, axis=-1)[..., :5]
        likeliest = outputs.argmax(axis=-1)[..., None]
        for key, picked in (("beyond1", likeliest), ("beyond5", first)):
            found[key] = ~np.take_along_axis(y, picked, axis=-1).any(axis=-1).reshape(-1)
    return found


def number_scores(outputs: NDArray[np.float32], y: NDArray[np.float32], is_logits: bool) -> Scores:
    """Score outputs against numbers of the same shape, (..., n), by their errors, averaged over n."""
    apart = outputs.astype(np.float64) - y
    return {
        "squared": np.square(apart).mean(axis=-1).reshape(-1),
        "absolute": np.abs(apart).mean(axis=-1).reshape(-1),
    }


SCORERS: dict[Kind, Callable[..., Scores]] = {
    "classes": class_scores,
    "labels": label_scores,
    "regression": number_scores,
}


def log_sums(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return the logarithms of the sums of exponentials over classes, (..., 1)."""
    top = logits.max(axis=-1, keepdims=True)
    sums = np.exp(logits - top).sum(axis=-1, keepdims=True, dtype=np.float64)
    return np.asarray(np.log(sums) + top)


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    p = np.where(p <= 0, IMPOSSIBLE, np.where(p >= 1, CERTAIN, p))
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return np.log(p) - np.log1p(-p)


def classes_of(outputs: NDArray[np.float32], is_logits: bool) -> NDArray[np.int64]:
    """Return the predicted classes, (samples, ...); one unit says whether it is class 1."""
    if outputs.shape[-1] > 1:
        return np.asarray(outputs.argmax(axis=-1))
    return np.asarray(outputs[..., 0] > (0.0 if is_logits else 0.5), np.int64)


def logits_of(
    outputs: NDArray[np.float32], is_logits: bool, *, softmax: bool
) -> NDArray[np.float32]:
    """Return logits for outputs: of a softmax the logarithms, of probabilities a unit each a sigmoid's own."""
    if is_logits:
        return outputs
    if softmax:
        return np.log(np.maximum(outputs, np.float32(1e-30)))
    return _logit(outputs.astype(np.float64)).astype(np.float32)


def is_softmax(outputs: NDArray[np.float32]) -> bool:
    """Return whether probabilities, (k, n), are a softmax's, which sum to 1; all others are of a unit each."""
    return outputs.shape[-1] > 1 and np.allclose(outputs.sum(axis=-1), 1, atol=1e-3)
