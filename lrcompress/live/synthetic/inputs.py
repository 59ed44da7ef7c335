"""Inputs made from a network alone: of which networks, and whether they are to be trusted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays
from lrcompress.live.engine import temporarily
from lrcompress.live.outputs import input_names
from lrcompress.live.synthetic import amount
from lrcompress.live.synthetic.matching import FIRST_STEPS, RATE, Descent, watched

# A loss of the statistics from which on inputs are not to be trusted.
TRUSTED = 0.1
# Their scale is sought on so many.
SOUGHT_ON = 32
# These take numbers of words, of classes or of ranges: nothing leads from one to the next.
_OF_NUMBERS = (
    keras.layers.Embedding, keras.layers.CategoryEncoding, keras.layers.Discretization,
    keras.layers.Hashing, keras.layers.IntegerLookup, keras.layers.StringLookup,
)  # fmt: skip


@dataclass(frozen=True)
class Synthetic:
    """Inputs made from a network alone."""

    x: Arrays
    fit: int  # so many, the first, are to calibrate on; the others owe them nothing, and judge
    # How far the network's statistics on them are from its own: the mean over channels and layers of the squared
    # difference of the means and of the standard deviations, relative to the variance.
    loss: float
    matched: int  # BatchNormalization layers
    trusted: bool  # whether they may stand for data
    seconds: float


def synthetic_inputs(model: Any, *, samples: int | None = None, seed: int = 0) -> Synthetic | None:
    """Make inputs on which a network's BatchNormalization layers see what they saw in training, if it has any."""
    kind = keras.layers.BatchNormalization
    layers = [one for one in model._flatten_layers() if isinstance(one, kind) and one.built]
    if not layers or not hasattr(model, "inputs"):
        return None
    types = [keras.backend.standardize_dtype(tensor.dtype) for tensor in model.inputs]
    floats = all("float" in name for name in types)
    if not floats or any(isinstance(layer, _OF_NUMBERS) for layer in model._flatten_layers()):
        return None
    started, spent = time.perf_counter(), amount.Spent()
    each = amount.numbers_each(model)
    samples = amount.sample_count(samples, each * FIRST_STEPS)
    batch = model.inputs[0].shape[0] or min(samples, amount.batch_size(each))
    if batch < amount.FEWEST_IN_BATCH:
        return None
    generator = np.random.default_rng(seed)
    # Spares engines that differentiate by all that trains the gradients of the network's weights.
    unneeded = temporarily(list(model.trainable_variables), "trainable", lambda _: False)
    with unneeded, watched(layers) as seen:
        few = Descent(model, layers, seen, min(batch, SOUGHT_ON))
        few.begin(generator)
        samples = amount.affordable(few, samples)
        batch = model.inputs[0].shape[0] or min(samples, batch)
        scales = few.find_scales()
        search = Descent(model, layers, seen, batch)
        search.scale(scales)
        found: list[list[NDArray[np.float32]]] = []
        losses = list[float]()
        batches = -(-samples // batch)
        # What judges is no sum of what calibrates: it begins with noise of its own.
        judges = max(1, batches // 4)
        fit = 0
        for first, last in ((0, batches - judges), (batches - judges, batches)):
            steps = 0
            for number in range(first, last):
                done = f"batch {number + 1} of {batches}"
                if number == first:
                    search.begin(generator)
                    steps = search.converge(done, amount.PATIENCE / 4, spent)
                    if search.reconstruct():
                        search.descend(steps, RATE / 4, done)
                elif spent() < amount.PATIENCE * last / batches:
                    search.mix(generator)
                    search.descend(steps // 2, RATE / 2, done)
                else:
                    break
                found.append([one[: samples - number * batch] for one in search.arrays()])
                losses.append(search.measure()[1])
            fit = fit or sum(len(part[0]) for part in found)
    arrays = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    named = dict(zip(input_names(model), arrays, strict=True))
    loss = float(np.mean(losses))
    return Synthetic(
        x=named if len(named) > 1 else arrays[0],
        fit=fit if fit < len(arrays[0]) else 3 * fit // 4,
        loss=loss,
        matched=len(layers),
        trusted=loss < TRUSTED,
        seconds=time.perf_counter() - started,
    )
