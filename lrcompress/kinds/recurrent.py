"""LSTM, GRU, SimpleRNN: at each step x A + b, where A is the input kernels of all gates side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.activations import activation_name
from lrcompress.kinds.cells import GATES, cells, directions, input_kernel, with_input_kernel
from lrcompress.kinds.linear import LinearForm, bare_dense, drawn_steps
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Batch,
    Form,
    Place,
    Refusal,
    Serialized,
    Solution,
)
from lrcompress.kinds.recurrent_units import fewer_units, gather_states, gives_sequences
from lrcompress.lowrank.responses import RowMoments


@dataclass
class Seen:
    """What went in and came out.

    Attributes:
        inputs: Of the inputs, at steps that are not masked.
        states: Of the outputs, at the same; at the end alone where others cannot be told.
    """

    inputs: RowMoments
    states: RowMoments

    @property
    def is_whole(self) -> bool:
        """Whether the covariance of the inputs is kept."""
        return self.inputs.is_whole

    @property
    def metric(self) -> Array | None:
        """By what errors of the gates are weighed."""
        return self.inputs.metric

    @metric.setter
    def metric(self, value: Array | None) -> None:
        self.inputs.metric = value


class Recurrent:
    """A layer of LSTM, GRU or simple cells, by itself, in `RNN` or in `Bidirectional`, of Keras 1 to 3."""

    name = "recurrent layer"
    family = "recurrent"
    linear = True
    classes = frozenset({*GATES, "RNN", "Bidirectional"})

    def refuse(self, layer: Serialized) -> Refusal | None:
        """Refuse cells of other classes, stacked ones among them."""
        if all(gates for gates, _ in cells(layer)):
            return None
        return Refusal("class", "holds cells other than one LSTM, GRU or SimpleRNN")

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return the input kernel in two factors, and the layer with fewer units."""
        if place.per_step or not directions(place.layer):
            return ()
        form = _InputKernel(self, place)
        return (*((form,) if form.largest > 1 else ()), *fewer_units(self, place))

    def gather(self, place: Place, arrays: Arrays, batch: Batch, seen: Any | None) -> Any:
        """Add a batch's inputs and states."""
        if seen is None:
            kernel = self.kernel(place.layer, arrays[place.path])
            states = np.zeros((batch.output.shape[-1], 1), np.float32)
            seen = Seen(RowMoments(kernel), RowMoments(states))
        seen.inputs.update(self.rows(place, batch))
        alone = not gives_sequences(place.layer) and fewer_units(self, place)
        if alone and gather_states(place, arrays[place.path], batch, seen.states):
            return seen
        backwards, mask = place.layer.config.get("go_backwards"), batch.mask
        given = mask[:, ::-1] if backwards and mask is not None else mask
        seen.states.update(drawn_steps(batch._replace(inputs=(batch.output,), mask=given)))
        return seen

    def inlets(self, layer: Serialized) -> tuple[tuple[int, int], ...]:
        """Return the input kernels' first axes."""
        return tuple((number, 0) for way in directions(layer) for number in way.kernels)

    def kernel(self, layer: Serialized, arrays: tuple[Array, ...]) -> Array:
        """Return the input kernels side by side."""
        return input_kernel(layer, arrays)

    def with_kernel(
        self, place: Place, arrays: Arrays, kernel: Array, shift: Array | None
    ) -> dict[str, tuple[Array, ...]]:
        """Return other input kernels and the rest."""
        return {place.path: with_input_kernel(place.layer, arrays[place.path], kernel, shift)}

    def beside(self, place: Place, batch: Batch) -> None:
        """Return nothing: its responses are in the gates."""

    def rows(self, place: Place, batch: Batch) -> Array:
        """Return some steps of its inputs."""
        return drawn_steps(batch)

    def merged(self, layers: tuple[Serialized, ...]) -> Serialized | None:
        """Return the layer whose input kernel is B C, of a linear Dense and the one behind it."""
        if len(layers) != 2 or layers[1].class_name not in self.classes:
            return None
        left, kernel = bare_factor(layers[0]), directions(layers[1])
        if left is None or not kernel:
            return None
        right = input_kernel(layers[1], layers[1].arrays)
        if len(right) != left.shape[1] or len(right) > min(len(left), right.shape[1]):
            return None
        whole = left.astype(np.float64) @ right
        arrays = with_input_kernel(layers[1], layers[1].arrays, whole, None)
        config = terms.taking(layers[1].config, len(left))
        return Serialized(layers[1].class_name, config, arrays)


class _InputKernel(LinearForm):
    """A linear Dense of r units at each step, and the layer that takes them in."""

    name = "input kernel"

    def __init__(self, kind: Recurrent, place: Place) -> None:
        """Of a layer at its place."""
        super().__init__(kind, place)
        self.touches = (place.path,)
        shapes = [array.shape for array in place.layer.arrays]
        found = directions(place.layer)
        self._recurrent: int = sum(math.prod(shapes[i]) for d in found for i in d.recurrent)
        self._gates: int = sum(shapes[i][1] for d in found for i in d.kernels)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.place.layer.arrays[0].shape[0], self._gates

    @property
    def remarks(self) -> tuple[str, ...]:
        """Say what dropout inside the layer acts on."""
        config = self.place.layer.config
        for key in ("layer", "cell"):
            config = terms.as_dict(terms.as_dict(config.get(key)).get("config")) or config
        return tuple(
            f"Layer {self.place.layer.config.get('name')} keeps its {key}, which now acts on what "
            "the smaller layer before it gives: it means something else in further training."
            for key in ("dropout", "dropout_W")
            if config.get(key)
        )

    def multiplications(self, size: int) -> int | None:
        """Return r (m + n) and the recurrent kernels at each step."""
        count = steps(self.place)
        return None if count is None else count * (size * sum(self._shape) + self._recurrent)

    def errors(self, arrays: Arrays, seen: Any) -> Array:
        """Return what is lost of the inputs' share of the gates."""
        return super().errors(arrays, seen and seen.inputs)

    def solve(self, arrays: Arrays, seen: Any, sizes: Sequence[int]) -> dict[int, Solution]:
        """Return the input kernel in factors."""
        return super().solve(arrays, seen and seen.inputs, sizes)

    def build(
        self, factors: tuple[Array, ...], arrays: tuple[Array, ...]
    ) -> tuple[Serialized, ...]:
        """Return both; the Dense takes over where the shape of the model's input is stated."""
        layer, (left, right) = self.place.layer, factors
        config = layer.config
        keras1 = any("units" not in cell for _, cell in cells(layer))
        dense = bare_dense(config, self.new_name, right.shape[0], keras1=keras1)
        dense |= {
            key: config[key]
            for key in ("batch_input_shape", "batch_shape", "input_dim")
            if config.get(key) is not None
        }
        own = with_input_kernel(layer, arrays, right, None)
        return (
            Serialized("Dense", dense, (left,)),
            Serialized(layer.class_name, terms.taking(config, right.shape[0]), own),
        )


def steps(place: Place) -> int | None:
    """Return how many steps a sample has, None where the file does not tell."""
    shape = place.input_shapes[0] if place.input_shapes else ()
    if len(shape) < 2 or None in shape[:-1] or place.layer.config.get("time_major"):
        return None
    return math.prod(axis or 0 for axis in shape[:-1])


def bare_factor(layer: Serialized) -> Array | None:
    """Return the kernel of a Dense that is nothing else: linear, without a bias; None of others."""
    alone = (
        len(layer.arrays) == 1 and len(layer.arrays[0].shape) == 2 and layer.class_name == "Dense"
    )
    linear = activation_name(layer.config.get("activation")) == "linear"
    kernel: Array | None = layer.arrays[0] if alone and linear else None
    return kernel
