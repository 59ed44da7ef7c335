"""Outputs over many samples, a few batches at a time, and the padding among them.

Keras hands a mask on from layer to layer (`mask_zero` of an embedding, `Masking`, a layer of one's
own) until one consumes it or does not support masks. What reaches an output is asked for here: no
measure, moment or loss counts the positions that it leaves out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import ops
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
Mask = NDArray[np.bool_]


def predict_all(model: Any, x: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return every output on `x` by its name, float32, (samples, ..., units)."""
    columns = zip(*[outputs for _, outputs in run_over(model, x)], strict=True)
    return {
        name: np.concatenate(column)
        for name, column in zip(output_names(model), columns, strict=True)
    }


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


class MaskReader(keras.layers.Layer):  # type: ignore[misc]  # keras ships no types
    """Gives out the mask that Keras hands it with its inputs; `has_mask` tells whether there was one."""

    has_mask = False

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Return the mask as booleans, or a false of no meaning."""
        self.has_mask = mask is not None
        return ops.zeros((1, 1), "bool") if mask is None else ops.cast(mask, "bool")

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """Hand nothing on."""

    def read(self, inputs: Any) -> Mask | None:
        """Return the mask of inputs, outside any graph."""
        mask = ops.convert_to_numpy(self(inputs))
        return np.asarray(mask, np.bool_) if self.has_mask else None


class Masks(keras.Model):  # type: ignore[misc]
    """The masks of a model's outputs; an engine that compiles leaves the outputs themselves out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.readers = [MaskReader() for _ in model.outputs]

    def call(self, x: Any) -> Any:
        """Return one mask an output."""
        outputs = keras.tree.flatten(self.model(x, training=False))
        return [read(output) for read, output in zip(self.readers, outputs, strict=True)]


_masks = functools.lru_cache(maxsize=2)(Masks)


def masks_of(model: Any, x: Arrays) -> list[Mask | None]:
    """Return which positions of each output count, (samples, steps), in the model's order.

    None where no mask reaches an output.
    """
    if not any(map(_makes_masks, model._flatten_layers())):
        return [None] * len(model.outputs)
    reading, parts, batch = _masks(model), [], batch_size(model, x)
    for part in chunks(count(x), batch):
        whole = reaching_back(part, batch)
        found = keras.tree.flatten(reading.predict_on_batch(take(x, whole)))
        parts.append([mask[part.start - whole.start :] for mask in found])
    masks = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return [
        mask if reader.has_mask and _belongs(mask, output) else None
        for reader, mask, output in zip(reading.readers, masks, model.outputs, strict=True)
    ]


def _makes_masks(layer: Any) -> bool:
    """Return whether a layer may begin a mask: all others only hand one on, or stop it."""
    if getattr(layer, "mask_zero", False) or isinstance(layer, keras.layers.Masking):
        return True
    own = not type(layer).__module__.startswith("keras.")
    return own and type(layer).compute_mask is not keras.layers.Layer.compute_mask


def _belongs(mask: Mask, output: Any) -> bool:
    """Return whether a mask is of an output's leading axes."""
    shape = output.shape[:-1]
    return mask.ndim <= len(shape) and all(
        b is None or a == b for a, b in zip(mask.shape, shape, strict=False)
    )


def spread(mask: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return a mask, or weights, for predictions of a shape: one a sample holds for all its steps."""
    wide = mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim))
    return np.broadcast_to(wide, shape)


def masked_weights(
    weights: NDArray[Any] | None, mask: Mask | None, shape: tuple[int, ...]
) -> NDArray[Any] | None:
    """Return weights of predictions of a shape that are 0 where the mask says so; None if all weigh alike."""
    if mask is None or mask.all():
        return weights
    counts: NDArray[np.float32] = spread(mask, shape).astype(np.float32)
    if weights is None:
        return counts
    return np.asarray(counts * spread(weights, shape))


def packed(inputs: NDArray[np.float32], mask: Mask | None) -> NDArray[np.float32]:
    """Return a layer's inputs, (samples, steps, m), without those at masked positions.

    What is left stands in sequences of the old length again: the first axis tells which inputs are
    too alike to check each other. A rest shorter than that is left out.
    """
    if mask is None or mask.all():
        return inputs
    rows: NDArray[np.float32] = inputs[spread(mask, inputs.shape[:-1])]
    steps = int(np.prod(inputs.shape[1:-1]))
    whole = len(rows) // steps
    return rows if whole < 2 else rows[: whole * steps].reshape(whole, *inputs.shape[1:])


def left_out(model: Any, x: Arrays) -> float | None:
    """Return the share of positions that masks leave out, in percent, over the outputs that have one."""
    shares = [100 * float(1 - mask.mean()) for mask in masks_of(model, x) if mask is not None]
    return float(np.mean(shares)) if any(shares) else None
