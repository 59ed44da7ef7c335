"""Outputs over many samples, a few batches at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, check_outputs, chunks, count, reaching_back, take
from lrcompress.events import progress
from lrcompress.live import devices
from lrcompress.live.outputs import output_names

BATCH = 256
# Outputs of a batch, at most: a prediction for each step and word of a language model, on all
# samples at once, would fill any memory.
MOST_OUTPUTS = 2**23
# What makes a batch's outputs, (samples, ...) each, in the model's order or structure.
Run = Callable[[Arrays], Any]


def predict_all(model: Any, x: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return every output on `x` by its name, float32, (samples, ..., units)."""
    columns = zip(*[outputs for _, outputs in run_over(model, x)], strict=True)
    return dict(zip(output_names(model), map(np.concatenate, columns), strict=True))


def run_over(
    model: Any, x: Arrays, task: str = "", run: Run | None = None
) -> Iterator[tuple[slice, list[NDArray[np.float32]]]]:
    """Yield samples and all outputs on them, in the model's order; `run` makes them in its place."""
    total, batch = count(x), batch_size(model, x)
    run = run or (lambda some: devices.predict(model, some, batch))
    # Several devices are started anew for each part: it holds several batches, unless those are large.
    several = len(devices.replicas().devices) > 1 and batch == BATCH
    for part in chunks(total, 8 * batch if several else batch):
        whole = part if several else reaching_back(part, batch)
        found = keras.tree.flatten(run(take(x, whole)))
        outputs = [np.asarray(one, np.float32)[part.start - whole.start :] for one in found]
        for name, values in zip(output_names(model), outputs, strict=True):
            check_outputs(model, name, values, part.start)
        yield part, outputs
        if task:
            progress(task, part.stop, total)


def batch_size(model: Any, x: Arrays) -> int:
    """Return how many samples to run at once: `BATCH`, or fewer where each has many outputs."""
    return max(1, min(BATCH, MOST_OUTPUTS // max(outputs_each(model, x), 1)))


def outputs_each(model: Any, x: Arrays) -> int:
    """Return how many numbers a model gives out for a sample."""
    # A length that the model leaves open is that of the inputs.
    arrays = x.values() if isinstance(x, dict) else [x]
    longest = max((array.shape[1] for array in arrays if array.ndim > 1), default=1)
    return sum(math.prod(int(n or longest) for n in output.shape[1:]) for output in model.outputs)
