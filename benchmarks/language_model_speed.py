"""How fast a language model is before and after its last layer was factorized; see language_model.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.training import backend

HEAD = "next_word"
REPEATS = 30
# The first turns compile.
WARM_UP = 3


def speed(
    full_file: Path, small_file: Path, data: dict[str, NDArray[np.int32]], batch: int
) -> dict[str, Any]:
    """Return seconds of the head, of the whole model and of a training step, and their ratios."""
    full, small = backend.load_model(full_file), backend.load_model(small_file)
    x, y = data["x_train"][:batch], data["y_train"][:batch]
    steps, units = x.shape[1], full.get_layer(HEAD).kernel.shape[0]
    activations = np.random.default_rng(0).standard_normal((batch * steps, units), np.float32)
    heads = [_head_alone(model, units) for model in (full, small)]
    found: dict[str, Any] = {}
    for words, repeats in ((1, 10 * REPEATS), (batch * steps, REPEATS)):
        calls = [_predicts(head, activations[:words]) for head in heads]
        found[f"head, {words:,} {'word' if words == 1 else 'words'}"] = in_turns(*calls, repeats)
    for samples in (1, batch):
        calls = [_predicts(model, x[:samples]) for model in (full, small)]
        found[f"model, {samples} x {steps} words"] = in_turns(*calls, REPEATS)
    for model in (full, small):
        model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    calls = [_trains(model, x, y) for model in (full, small)]
    found[f"training step, {batch} x {steps} words"] = in_turns(*calls, REPEATS)
    return found


def in_turns(
    before: Callable[[], Any], after: Callable[[], Any], repeats: int
) -> dict[str, float | list[float]]:
    """Return median seconds of two calls that take turns, and the quartiles of their ratio.

    What else the machine does slows both of a turn alike, so the ratio says more than the seconds.
    """
    taken = np.empty((repeats + WARM_UP, 2))
    for turn in taken:
        for column, call in enumerate((before, after)):
            started = time.perf_counter()
            call()
            turn[column] = time.perf_counter() - started
    taken = taken[WARM_UP:]
    first, second = np.median(taken, axis=0)
    return {
        "seconds_before": float(first),
        "seconds_after": float(second),
        "ratio_quartiles": np.percentile(taken[:, 0] / taken[:, 1], [25, 50, 75]).tolist(),
        "repeats": repeats,
    }


def _head_alone(model: keras.Model, units: int) -> keras.Model:
    """Return the layers from the head on as a model of their own."""
    first = next(i for i, layer in enumerate(model.layers) if layer.name.startswith(HEAD))
    layers = model.layers[first:]
    copies = [type(layer).from_config(layer.get_config()) for layer in layers]
    head = keras.Sequential([keras.Input((units,)), *copies])
    head.set_weights([weight for layer in layers for weight in layer.get_weights()])
    return head


def _predicts(model: keras.Model, x: NDArray[Any]) -> Callable[[], Any]:
    return lambda: model.predict_on_batch(x)


def _trains(model: keras.Model, x: NDArray[Any], y: NDArray[Any]) -> Callable[[], Any]:
    return lambda: model.train_on_batch(x, y)
