"""Embedding: a table E (words, width) of low rank, with a Dense behind it, or in what takes its rows in."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.cells import directions
from lrcompress.kinds.inlets import inputs_of, narrower, outlets
from lrcompress.kinds.linear import bare_dense, bare_factor
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Batch,
    Edits,
    Form,
    Layers,
    Place,
    Serialized,
    Solution,
)
from lrcompress.lowrank.forms.tables import TableUse, orthonormal, table_factors
from lrcompress.lowrank.responses import errors_by_size


class Embedding:
    """A table, of Keras 1 to 3."""

    name = "Embedding"
    family = "embedding"
    linear = False
    classes = frozenset({"Embedding"})
    refuse = staticmethod(terms.refuse_kernel)

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return a narrower table whose rows are widened, or that its consumers take in as they are."""
        shapes = [array.shape for array in place.layer.arrays]
        stated = (place.layer.config.get("input_dim"), place.layer.config.get("output_dim"))
        if place.per_step or shapes != [stated] or min(shapes[0]) < 2:
            return ()
        if place.after and all(inputs_of(other, shapes[0][1]) for other in place.after):
            return Widened(place), Absorbed(place)
        return (Widened(place),)

    def gather(self, place: Place, arrays: Arrays, batch: Batch, seen: Any | None) -> Any:
        """Count how often each word comes, padding left out."""
        words = len(arrays[place.path][0])
        numbers = np.asarray(batch.inputs[0]).astype(np.int64).reshape(-1)
        masks = bool(place.layer.config.get("mask_zero"))
        numbers = numbers[(numbers >= masks) & (numbers < words)]
        found: TableUse = TableUse(np.zeros(words, np.int64)) if seen is None else seen
        found.counts += np.bincount(numbers, minlength=words)
        return found

    def merged(self, layers: Layers) -> Serialized | None:
        """Return the table E C of a narrower one and the linear Dense behind it."""
        if len(layers) != 2 or layers[0].class_name not in self.classes:
            return None
        (table,), right = layers[0].arrays, bare_factor(layers[1])
        if (
            right is None
            or len(right) != table.shape[1]
            or len(right) > min(*right.shape, len(table))
        ):
            return None
        config = layers[0].config | {"name": layers[1].config.get("name")}
        return sized(Serialized("Embedding", config), table.astype(np.float64) @ right)


class Table:
    """Factors E P (words, r) and Q (r, width) of a table; a subclass says what takes Q in."""

    name = "rank"
    narrows = False

    def __init__(self, place: Place) -> None:
        self.place = place
        self.touches: tuple[str, ...] = (place.path,)
        words, width = place.layer.arrays[0].shape
        self._shape: tuple[int, int] = (words, width)
        self.largest: int = min(words, width)
        self.before: int = words * width

    def build(self, table: Array, right: Array, arrays: Arrays) -> Edits:
        """Return the stock layers of both factors."""
        raise NotImplementedError

    def consumer(self, arrays: Arrays) -> Array | None:
        """Return what the rows are multiplied with, side by side; None where that is not known."""
        width = self._shape[1]
        found: list[Array] = []
        for place in self.place.after:
            if not inputs_of(place, width) or place.path not in arrays:
                return None
            found += outlets(place, arrays, width)
        return np.concatenate(found, axis=1) if found else None

    def errors(self, arrays: Arrays, seen: TableUse | None) -> Array:
        """Return the share that is lost at each rank, of what is made of the rows as far as it is known."""
        return errors_by_size(self._factored(arrays, seen)[0])[: self.largest]

    def solve(
        self, arrays: Arrays, seen: TableUse | None, sizes: Sequence[int]
    ) -> dict[int, Solution]:
        """Return the table in factors of some sizes."""
        values, encode, decode = self._factored(arrays, seen)
        errors = errors_by_size(values)
        found = {}
        for size in sizes:
            factors = orthonormal(encode[:, :size], decode[:size])
            found[size] = self._solution(arrays, *factors, float(errors[size - 1]))
        return found

    def _factored(self, arrays: Arrays, seen: TableUse | None) -> tuple[Array, Array, Array]:
        return table_factors(arrays[self.place.path][0], self.consumer(arrays), seen)

    def _solution(self, arrays: Arrays, encode: Array, decode: Array, error: float) -> Solution:
        table = arrays[self.place.path][0]

        def in_place() -> Arrays:
            whole = table.astype(np.float64) @ (encode @ decode)
            return {path: arrays[path] for path in self.touches} | {self.place.path: (whole,)}

        def layers() -> Edits:
            return self.build(table.astype(np.float64) @ encode, decode, arrays)

        return Solution(error, layers, in_place)


class Widened(Table):
    """A narrower Embedding, and a linear Dense; a mask passes through it."""

    def parameters(self, size: int) -> int:
        """Return r (words + width)."""
        return size * sum(self._shape)

    def multiplications(self, size: int) -> int | None:
        """Return r width at each word."""
        shape = self.place.input_shapes[0] if self.place.input_shapes else (None,)
        if None in shape:
            return None
        return math.prod(axis or 1 for axis in shape) * size * self._shape[1]

    def build(self, table: Array, right: Array, arrays: Arrays) -> Edits:
        """Return both; the Dense has the old name."""
        layer, config = self.place.layer, self.place.layer.config
        name = str(config.get("name", "embedding"))
        narrow = Serialized(layer.class_name, config | {"name": f"{name}_lowrank"})
        dense = bare_dense(config, name, right.shape[1], keras1="init" in config)
        return {self.place.path: (sized(narrow, table), Serialized("Dense", dense, (right,)))}


class Absorbed(Table):
    """A narrower Embedding; Q goes into the kernels of what takes its rows in: no layer is new."""

    name = "absorbed"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.touches = (place.path, *(other.path for other in place.after))
        self._inputs = [inputs_of(other, self._shape[1]) for other in place.after]
        self._outputs: list[int] = [
            sum(other.layer.arrays[number].size for number, _ in inputs) // self._shape[1]
            for other, inputs in zip(place.after, self._inputs, strict=True)
        ]
        self.largest = min(self.largest, sum(self._outputs))
        self.before += sum(int(array.size) for other in place.after for array in other.layer.arrays)

    def parameters(self, size: int) -> int:
        """Return a table of r columns, and consumers that take r in."""
        words, width = self._shape
        return self.before - (width - size) * (words + sum(self._outputs))

    def multiplications(self, size: int) -> int | None:
        """Return the consumers': each weight of a kernel once at each position."""
        count = 0
        consumers = zip(self.place.after, self._inputs, self._outputs, strict=True)
        for other, inputs, outputs in consumers:
            # A window, whose axes come first, is moved to each position of the output.
            shape = other.output_shape
            if not inputs[0][1]:
                shape = other.input_shapes[0] if other.input_shapes else None
            if shape is None or None in shape[:-1]:
                return None
            own = [i for d in directions(other.layer) for i in d.recurrent]
            recurrent = sum(int(other.layer.arrays[i].size) for i in own)
            count += math.prod(axis or 1 for axis in shape[:-1]) * (size * outputs + recurrent)
        return count

    def build(self, table: Array, right: Array, arrays: Arrays) -> Edits:
        """Return the Embedding and its consumers."""
        none = np.zeros(right.shape[1])
        narrow = {o.path: (narrower(o, arrays, right, none),) for o in self.place.after}
        return {self.place.path: (sized(self.place.layer, table),)} | narrow


def sized(layer: Serialized, table: Array) -> Serialized:
    """Return an Embedding around another table."""
    config = copy.deepcopy(layer.config) | {"output_dim": table.shape[1]}
    terms.drop_arrays(config, ("embeddings_initializer", "init"), "uniform")
    return Serialized(layer.class_name, config, (table,))
