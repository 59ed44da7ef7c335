"""Batches for `fit`: picked, scaled and handed over one at a time, in an order that a seed fixes.

The data set stays as it was read (bytes stay bytes, a mapped file stays on disk); only a batch is
ever copied. The order is NumPy's, so it is the same under every engine, and an epoch's is known
without those before it, which is what lets a killed run go on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, count, take
from lrcompress.data.scaling import Scaling, parse
from lrcompress.live.devices import replicas


def seed_epoch(model: Any, seed: int, epoch: int) -> None:
    """Seed all that an epoch, numbered from 1, may draw from: it does not depend on those before it."""
    states = [v for v in model.variables if v.name.endswith("seed_generator_state")]
    # 31 bits: what the PyTorch backend's states can hold.
    first, *seeds = np.random.SeedSequence([seed, epoch]).generate_state(1 + len(states)) >> 1
    keras.utils.set_random_seed(int(first))
    for state, value in zip(states, seeds, strict=True):
        state.assign([int(value), 0])


def epoch_order(samples: int, batch_size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the samples of an epoch in order, each once; full batches only, if there is one."""
    # The last batch is filled up from the order's begin: a batch of another size would have the
    # engine compile the step anew, and leaving it out would leave samples out.
    order = np.random.default_rng([seed, epoch]).permutation(samples)
    return np.resize(order, samples_an_epoch(samples, batch_size))


def samples_an_epoch(samples: int, batch_size: int) -> int:
    """Return how many samples an epoch of full batches goes through."""
    return samples if samples < batch_size else samples + -samples % batch_size


class Feed(keras.utils.PyDataset):  # type: ignore[misc]  # keras ships no types
    """One epoch's batches, of which this process feeds its share; `y` is what `fit` takes, or a structure of it."""

    def __init__(
        self,
        x: Arrays,
        y: Any,
        order: NDArray[np.int64],
        batch_size: int,
        scaling: Scaling,
        sample_weight: Any = None,
        change: Callable[[Any, int], Any] | None = None,
    ) -> None:
        """Of raw inputs, which `change` may change by the number of the step."""
        super().__init__()
        self._change = change
        self._x, self._scaling, self._batch_size = x, scaling, batch_size
        self._targets = (y,) if sample_weight is None else (y, sample_weight)
        self._order, self._team = replicas().evened(order), replicas()

    def __len__(self) -> int:
        """Return the number of steps."""
        return -(-len(self._order) // self._batch_size)

    def __getitem__(self, step: int) -> tuple[Any, ...]:
        """Return inputs, targets and, where there are any, weights of a step."""
        index = self._order[step * self._batch_size : (step + 1) * self._batch_size]
        # In the order of the file, which a mapped one reads faster; a batch has no order.
        index = np.sort(np.array_split(index, self._team.processes)[self._team.index])
        x = take(self._x, index)
        x = self._scaling(x if self._change is None else self._change(x, step))
        return (x, *keras.tree.map_structure(lambda array: array[index], self._targets))


def batches(x: Any, targets: Any, batch_size: int) -> dict[str, Any]:
    """Return what to hand to `fit` for one epoch over arrays in random order."""
    # Under TensorFlow that is the arrays themselves, unless the devices' shares would not be equally
    # large. Else it is a feed in an order drawn from NumPy, which must have been seeded for the epoch,
    # in all processes alike: for arrays the other engines draw twice in a model's first `fit` and once
    # in later ones, so that a run that goes on after a kill would take another order.
    devices, samples = len(replicas().devices), count(x)
    even = batch_size % devices == samples % batch_size % devices == 0
    if even and keras.backend.backend() == "tensorflow":
        return {"x": x, "y": targets, "batch_size": batch_size}
    order = np.random.permutation(samples)
    return {"x": Feed(x, targets, order, batch_size, parse("as-is", x)), "shuffle": False}
