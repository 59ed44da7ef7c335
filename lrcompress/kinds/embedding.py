"""Embedding: a table E (words, width) of which each word takes a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.protocol import Arrays, Batch, Form, Place, Refusal, Serialized
from lrcompress.kinds.recurrent import bare_factor
from lrcompress.kinds.table_forms import Absorbed, Widened, inputs_of, sized
from lrcompress.lowrank.forms.tables import TableUse


class Embedding:
    """A table, of Keras 1 to 3."""

    name = "Embedding"
    family = "embedding"
    linear = False
    classes = frozenset({"Embedding"})

    def refuse(self, layer: Serialized) -> Refusal | None:
        """Refuse a table that is quantized, or is not all there is to it."""
        return terms.refuse_kernel(layer)

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return a narrower table whose rows are widened, or that its consumers take in as they are."""
        shapes = [array.shape for array in place.layer.arrays]
        stated = (place.layer.config.get("input_dim"), place.layer.config.get("output_dim"))
        if place.per_step or shapes != [stated] or min(shapes[0]) < 2:
            return ()
        if place.after and all(inputs_of(other, shapes[0][1]) for other in place.after):
            return Widened(place), Absorbed(place)
        return Widened(place), Widened(place, alone=True)

    def gather(self, place: Place, arrays: Arrays, batch: Batch, seen: Any | None) -> Any:
        """Count how often each word comes, padding left out."""
        words = len(arrays[place.path][0])
        numbers = np.asarray(batch.inputs[0]).astype(np.int64).reshape(-1)
        masks = bool(place.layer.config.get("mask_zero"))
        numbers = numbers[(numbers >= masks) & (numbers < words)]
        found: TableUse = TableUse(np.zeros(words, np.int64)) if seen is None else seen
        found.counts += np.bincount(numbers, minlength=words)
        return found

    def merged(self, layers: tuple[Serialized, ...]) -> Serialized | None:
        """Return the table E C of a narrower one and the linear Dense behind it."""
        if len(layers) != 2 or layers[0].class_name not in self.classes:
            return None
        (table,), right = layers[0].arrays, bare_factor(layers[1])
        if (
            right is None
            or len(right) != table.shape[1]
            or len(right) > min(len(table), *right.shape)
        ):
            return None
        config = layers[0].config | {"name": layers[1].config.get("name")}
        return sized(Serialized("Embedding", config), table.astype(np.float64) @ right)
