"""Attention of several heads: fewer dimensions for its queries and keys, and for its values.

Scores are products of queries and keys, outputs products of values and the output kernel: the layer
stays one and is built with a smaller `key_dim`, `value_dim` or `head_dim`.
"""

from __future__ import annotations

from typing import Any

from lrcompress.kinds import terms
from lrcompress.kinds.attention.attended import gather_attended, named, new_moments
from lrcompress.kinds.attention.forms import Dimensions
from lrcompress.kinds.protocol import Arrays, Batch, Form, Place, Refusal, Serialized


class Attention:
    """MultiHeadAttention, and GroupQueryAttention, whose query heads share keys and values."""

    name = "attention"
    family = "attention"
    linear = False
    classes = frozenset({"MultiHeadAttention", "GroupQueryAttention", "GroupedQueryAttention"})

    def refuse(self, layer: Serialized) -> Refusal | None:
        """Refuse kernels that are quantized, or not all there is to them."""
        return terms.refuse_kernel(layer)

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return fewer dimensions of scores, of values, and of both at once."""
        config, own = place.layer.config, named(place.layer.config, place.layer.arrays)
        if own is None:
            return ()
        if "head_dim" in config:
            # A gate acts on each dimension of the values by itself.
            names = ["head_dim"] * ("gate" not in own)
        else:
            names = ["key_dim", *["value_dim", "key_dim, value_dim"] * ("gate" not in own)]
        return tuple(f for name in names if (f := Dimensions(place, name)).largest > 1)

    def gather(self, place: Place, arrays: Arrays, batch: Batch, seen: Any | None) -> Any:
        """Add what makes queries and keys, and what the heads attend to, to their moments."""
        config = place.layer.config
        own = named(config, arrays[place.path])
        if own is None:
            return seen
        seen = new_moments(own) if seen is None else seen
        gather_attended(config, own, batch, seen)
        return seen

    def merged(self, layers: tuple[Serialized, ...]) -> None:
        """Return nothing: it stays one layer."""
