"""Mixed precision while a model is trained: bfloat16 products over float32 weights.

Only `fit` runs so. Weights, files and every measured figure stay float32. bfloat16 has float32's
range, so no loss need be scaled, unlike with float16.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from typing import Any

import keras

from lrcompress.live import engine

MIXED = "mixed_bfloat16"
# A product that is not so much faster would not make an epoch faster.
GAIN = 1.5
SIDE = 4096
REPEATS = 5


def choose(wanted: str) -> str:
    """Return ``float32`` or ``mixed_bfloat16`` for what a user asked: auto, float32 or mixed."""
    if wanted == "mixed":
        return MIXED
    return MIXED if wanted == "auto" and device_gains() else "float32"


@functools.cache
def device_gains() -> bool:
    """Return whether the device multiplies bfloat16 matrices clearly faster than float32 ones.

    Measured rather than looked up: the engines name devices each in their own way. Never on a CPU.
    """
    if not engine.has_accelerator():
        return False
    return _seconds("float32") > GAIN * _seconds("bfloat16")


def _seconds(dtype: str) -> float:
    """Return the best of a few times of one large product."""
    matrix = keras.ops.ones((SIDE, SIDE), dtype)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        product = keras.ops.matmul(matrix, matrix)
        # Fetching one number waits for all of them.
        keras.ops.convert_to_numpy(keras.ops.cast(product[0, 0], "float32"))
        times.append(time.perf_counter() - started)
    return min(times)


@contextlib.contextmanager
def training_in(model: Any, policy: str) -> Iterator[None]:
    """Let a Keras model compute in a policy while it is trained, and in its own again after.

    Layers that are not plain float32 stay as they are, and so do the outputs' own layers, whose
    softmax and loss need float32's digits.

    Args:
        model: A Keras model.
        policy: ``float32`` changes nothing.
    """
    if policy == "float32":
        yield
        return
    inner = model._flatten_layers()
    last = {
        tensor._keras_history.operation
        for layer in inner
        for tensor in (isinstance(layer, keras.Model) and getattr(layer, "outputs", None)) or []
    }
    # A model casts what it is given as a whole: numbers of words would not survive bfloat16.
    layers = [
        layer
        for layer in inner
        if not isinstance(layer, keras.Model)
        and layer not in last
        and layer.dtype_policy.name == "float32"
    ]
    kept = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = policy
        yield
    finally:
        for layer, own in zip(layers, kept, strict=True):
            layer.dtype_policy = own
