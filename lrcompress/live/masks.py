"""The padding among the outputs of a model.

Keras hands a mask on from layer to layer (`mask_zero` of an embedding, `Masking`, a layer of one's
own) until one consumes it or does not support masks. What reaches an output is asked for here: no
measure, moment or loss counts the positions that it leaves out.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, chunks, count, reaching_back, take
from lrcompress.live.predict import batch_size

Mask = NDArray[np.bool_]


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
    """Return which positions of each output count, (samples, steps); None where no mask reaches it."""
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
    """Return a layer's inputs, (samples, steps, m), without those at masked positions."""
    # What is left stands in sequences of the old length again, without the rest: the first axis tells which inputs
    # are too alike to check each other.
    if mask is None or mask.all():
        return inputs
    rows: NDArray[np.float32] = inputs[spread(mask, inputs.shape[:-1])]
    steps = int(np.prod(inputs.shape[1:-1]))
    whole = len(rows) // steps
    return rows if whole < 2 else rows[: whole * steps].reshape(whole, *inputs.shape[1:])


def left_out(model: Any, x: Arrays) -> float | None:
    """Return the share of positions that masks leave out, in percent."""
    shares = [100 * float(1 - mask.mean()) for mask in masks_of(model, x) if mask is not None]
    return float(np.mean(shares)) if any(shares) else None
