"""LSTM, GRU, SimpleRNN: at each step x A + b, where A is the input kernels of all gates side by side."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.cells import GATES, cells, directions, input_kernel, with_input_kernel
from lrcompress.kinds.linear import LinearForm, LinearLayer, bare_dense, bare_factor, drawn_steps
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Batch,
    Form,
    Layers,
    Place,
    Refusal,
    Serialized,
    Tensors,
)
from lrcompress.kinds.recurrent_units import fewer_units, gather_states, gives_sequences
from lrcompress.lowrank.responses import RowMoments


class Recurrent(LinearLayer):
    """A layer of LSTM, GRU or simple cells, by itself, in `RNN` or in `Bidirectional`, of Keras 1 to 3."""

    name = "recurrent layer"
    family = "recurrent"
    classes = frozenset({*GATES, "RNN", "Bidirectional"})
    kernel = staticmethod(input_kernel)

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
        """Add a batch's inputs, and its states: at the end alone where others cannot be told."""
        found: RowMoments = super().gather(place, arrays, batch, seen)
        if found.outputs is None:
            found.outputs = RowMoments(np.zeros((batch.output.shape[-1], 1), np.float32))
        alone = not gives_sequences(place.layer) and fewer_units(self, place)
        if alone and gather_states(place, arrays[place.path], batch, found.outputs):
            return found
        backwards, mask = place.layer.config.get("go_backwards"), batch.mask
        given = mask[:, ::-1] if backwards and mask is not None else mask
        found.outputs.update(drawn_steps(batch._replace(inputs=(batch.output,), mask=given)))
        return found

    def inlets(self, layer: Serialized) -> tuple[tuple[int, int], ...]:
        """Return the input kernels' first axes."""
        return tuple((number, 0) for way in directions(layer) for number in way.kernels)

    def with_kernel(
        self, place: Place, arrays: Arrays, kernel: Array, shift: Array | None
    ) -> Arrays:
        """Return other input kernels and the rest."""
        return {place.path: with_input_kernel(place.layer, arrays[place.path], kernel, shift)}

    def merged(self, layers: Layers) -> Serialized | None:
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
        super().__init__(kind, place)
        self.touches = (place.path,)
        shapes = [array.shape for array in place.layer.arrays]
        found = directions(place.layer)
        self._recurrent: int = sum(math.prod(shapes[i]) for d in found for i in d.recurrent)
        self._gates: int = sum(shapes[i][1] for d in found for i in d.kernels)
        config = place.layer.config
        for key in ("layer", "cell"):
            config = terms.as_dict(terms.as_dict(config.get(key)).get("config")) or config
        self.remarks = tuple(
            f"Layer {place.layer.config.get('name')} keeps its {key}, which now acts on what "
            "the smaller layer before it gives: it means something else in further training."
            for key in ("dropout", "dropout_W")
            if config.get(key)
        )

    @property
    def _shape(self) -> tuple[int, int]:
        return self.place.layer.arrays[0].shape[0], self._gates

    def multiplications(self, size: int) -> int | None:
        """Return r (m + n) and the recurrent kernels at each step."""
        shape = self.place.input_shapes[0] if self.place.input_shapes else ()
        if len(shape) < 2 or None in shape[:-1] or self.place.layer.config.get("time_major"):
            return None
        steps = math.prod(axis or 0 for axis in shape[:-1])
        return steps * (size * sum(self._shape) + self._recurrent)

    def build(self, factors: Tensors, arrays: Tensors) -> Layers:
        """Return both; the Dense takes over where the shape of the model's input is stated."""
        layer, (left, right) = self.place.layer, factors
        config = layer.config
        keras1 = any("units" not in cell for _, cell in cells(layer))
        dense = bare_dense(config, self.new_name, right.shape[0], keras1=keras1)
        stated = ("batch_input_shape", "batch_shape", "input_dim")
        dense |= {key: config[key] for key in stated if config.get(key) is not None}
        own = with_input_kernel(layer, arrays, right, None)
        narrow = Serialized(layer.class_name, terms.taking(config, right.shape[0]), own)
        return Serialized("Dense", dense, (left,)), narrow
