"""How fast a language model is before and after its last layer was factorized; see language_model.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.live import storing
from lrcompress.live.layers import alone, head_of
from lrcompress.live.timing import interleaved

HEAD = "next_word"
SECONDS = 10.0


def speed(
    full_file: Path, small_file: Path, data: dict[str, NDArray[np.int32]], batch: int
) -> dict[str, Any]:
    """Return seconds of the head, of the whole model and of a training step, and their ratios."""
    full, small = storing.load_model(full_file), storing.load_model(small_file)
    x, y = data["x_train"][:batch], data["y_train"][:batch]
    steps, units = x.shape[1], full.get_layer(HEAD).kernel.shape[0]
    activations = np.random.default_rng(0).standard_normal((batch * steps, units), np.float32)
    heads = [alone(head_of(model).layers, (units,)) for model in (full, small)]
    found: dict[str, Any] = {}
    for words in (1, batch * steps):
        calls = [_predicts(head, activations[:words]) for head in heads]
        found[f"head, {words:,} {'word' if words == 1 else 'words'}"] = in_turns(*calls)
    for samples in (1, batch):
        calls = [_predicts(model, x[:samples]) for model in (full, small)]
        found[f"model, {samples} x {steps} words"] = in_turns(*calls)
    for model in (full, small):
        model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    calls = [_trains(model, x, y) for model in (full, small)]
    found[f"training step, {batch} x {steps} words"] = in_turns(*calls)
    return found


def in_turns(before: Callable[[], Any], after: Callable[[], Any]) -> dict[str, float | list[float]]:
    """Return median seconds of two calls that take turns, and the quartiles of their ratio."""
    found = interleaved({"before": before, "after": after}, seconds=SECONDS)
    ratios = found["before"].seconds / found["after"].seconds
    return {
        "seconds_before": found["before"].median,
        "seconds_after": found["after"].median,
        "ratio_quartiles": np.percentile(ratios, [25, 50, 75]).tolist(),
        "repeats": len(found["before"].seconds),
    }


def _predicts(model: keras.Model, x: NDArray[Any]) -> Callable[[], Any]:
    return lambda: model.predict_on_batch(x)


def _trains(model: keras.Model, x: NDArray[Any], y: NDArray[Any]) -> Callable[[], Any]:
    return lambda: model.train_on_batch(x, y)
