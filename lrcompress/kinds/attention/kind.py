"""Attention of several heads: fewer dimensions for its queries and keys, and for its values.

Scores are products of queries and keys, outputs products of values and the output kernel: the layer
stays one and is built with a smaller `key_dim`, `value_dim` or `head_dim`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lrcompress.kinds.attention.attended import (
    Seen,
    array_names,
    flat,
    gather_attended,
    named,
    new_moments,
)
from lrcompress.kinds.linear import normalized, with_constant
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Batch,
    Form,
    Layers,
    Place,
    Serialized,
    Solution,
)
from lrcompress.kinds.shapes import multiplications
from lrcompress.kinds.terms import refuse_kernel
from lrcompress.lowrank.forms.attention import ValueBasis, score_basis, value_basis


class Attention:
    """MultiHeadAttention, and GroupQueryAttention, whose query heads share keys and values."""

    name = "attention"
    family = "attention"
    linear = False
    classes = frozenset({"MultiHeadAttention", "GroupQueryAttention", "GroupedQueryAttention"})
    refuse = staticmethod(refuse_kernel)

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

    def merged(self, layers: Layers) -> None:
        """Return nothing: it stays one layer."""


class Dimensions:
    """Fewer dimensions of the scores, of the values, or of both."""

    narrows = True

    def __init__(self, place: Place, name: str) -> None:
        """Of a layer; `name` tells which of its settings get smaller."""
        self.place, self.name = place, name
        self._scores, self._values = name != "value_dim", name != "key_dim"
        own = self._named(place.layer.arrays)
        k, v = self._whole = own["query"].shape[2], own["value"].shape[2]
        self.largest: int = max(k * self._scores, v * self._values)
        self.before: int = sum(array.size for array in place.layer.arrays)
        # Without a bias the normalization behind it can take a constant.
        shift = place.shift if self._values and "output_bias" not in own else None
        self._shift = shift if len(own["output"].shape) == 3 else None
        self.touches = (place.path, *((self._shift.path,) if self._shift else ()))

    def _named(self, arrays: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(array_names(self.place.layer.config), arrays, strict=True))

    def _sizes(self, size: int) -> tuple[int, int]:
        """Return the dimensions of the scores and of the values: of both the same share."""
        k, v = self._whole
        share = size / self.largest
        return (
            math.ceil(share * k - 1e-9) if self._scores else k,
            math.ceil(share * v - 1e-9) if self._values else v,
        )

    def _shapes(self, size: int) -> dict[str, tuple[int, ...]]:
        shapes = {n: tuple(a.shape) for n, a in self._named(self.place.layer.arrays).items()}
        k, v = self._sizes(size)
        for name, width in (("query", k), ("key", k), ("value", v)):
            for array in {name, f"{name}_bias"} & set(shapes):
                shapes[array] = (*shapes[array][:-1], width)
        shapes["output"] = (shapes["output"][0], v, *shapes["output"][2:])
        return shapes

    def parameters(self, size: int) -> int:
        """Return the weights of the narrower layer."""
        return sum(math.prod(shape) for shape in self._shapes(size).values())

    def multiplications(self, size: int) -> int | None:
        """Return those of the four kernels at each step, and of each step with each."""
        inputs, output = self.place.input_shapes, self.place.output_shape
        if inputs is None or output is None:
            return None
        shapes = self._shapes(size).values()
        arrays = tuple(np.broadcast_to(np.float32(0), shape) for shape in shapes)
        return multiplications(replace(self.place.layer, arrays=arrays), inputs, output)

    def errors(self, arrays: Arrays, seen: Seen) -> Array:
        """Return the share of the scores' energy, or of the heads' responses, that is lost at each size."""
        own = self._wide(arrays)
        sizes = np.array([self._sizes(size) for size in range(1, self.largest + 1)]) - 1
        lost = np.zeros(self.largest)
        if self._scores:
            energy = np.stack([values**2 for values, _, _ in self._score_bases(own, seen)])
            lost = np.maximum(lost, _lost(energy)[sizes[:, 0]])
        if self._values:
            energy = self._value_basis(own, seen).energy
            lost = np.maximum(lost, _lost(energy)[sizes[:, 1]])
        return lost

    def solve(self, arrays: Arrays, seen: Seen, sizes: Sequence[int]) -> dict[int, Solution]:
        """Return the layer with fewer dimensions, of some sizes."""
        own = self._wide(arrays)
        scores = self._score_bases(own, seen) if self._scores else []
        values = self._value_basis(own, seen) if self._values else None
        found = {}
        for size in sizes:
            narrow, shift, lost = dict(own), None, 0.0
            k, v = self._sizes(size)
            if scores:
                lost = _narrow_scores(narrow, scores, k)
            if values is not None:
                shift, share = self._narrow_values(narrow, values, seen, v)
                lost = max(lost, share)
            found[size] = self._solution(arrays, narrow, shift, lost)
        return found

    def _wide(self, arrays: Arrays) -> dict[str, Array]:
        return self._named([a.astype(np.float64) for a in arrays[self.place.path]])

    def _score_bases(self, own: dict[str, Array], seen: Seen) -> list[tuple[Array, Array, Array]]:
        """Return the dimensions of the scores of each head of keys."""
        heads, shared, k = own["query"].shape[1], own["key"].shape[1], own["query"].shape[2]
        query, key = flat(own["query"]), flat(own["key"])
        of_query = query.T @ query if seen is None else seen.query.responses(query)
        of_key = key.T @ key if seen is None else seen.key.responses(key)
        constant = np.zeros(heads * k) if seen is None else seen.query.mean @ query
        if "query_bias" in own:
            constant = constant + own["query_bias"].ravel()
        of_query = (of_query + np.outer(constant, constant)).reshape(heads, k, heads, k)
        of_key = of_key.reshape(shared, k, shared, k)
        each = heads // shared
        found = []
        for g in range(shared):
            queries = [of_query[h, :, h] for h in range(g * each, (g + 1) * each)]
            found.append(score_basis(np.sum(queries, axis=0), of_key[g, :, g]))
        return found

    def _value_basis(self, own: dict[str, Array], seen: Seen) -> ValueBasis:
        """Return the dimensions of the values of each head of values."""
        heads, v, *_ = own["output"].shape
        shared = own["value"].shape[1]
        if seen is not None and seen.value is not None:
            moment = seen.value.covariance
            if not self._takes_constant(own):
                moment = moment + np.outer(seen.value.mean, seen.value.mean)
        else:
            moment = np.zeros((heads, v, heads, v))
            for head in range(heads):
                value = own["value"][:, head * shared // heads]
                moment[head, :, head] = value.T @ value
        outputs = own["output"].reshape(shared, heads // shared, v, -1)
        return value_basis(outputs, moment.reshape(heads * v, heads * v))

    def _takes_constant(self, own: dict[str, Array]) -> bool:
        return "output_bias" in own or self._shift is not None

    def _narrow_values(
        self, own: dict[str, Array], basis: ValueBasis, seen: Seen, size: int
    ) -> tuple[Array | None, float]:
        """Put narrower values and their output kernel in place; return the constant and the share lost."""
        output, lost = basis.narrowed(size)
        share = basis.energy_of(lost) / max(basis.energy_of(basis.outputs), 1e-300)
        own["value"] = np.einsum("dgv,gvr->dgr", own["value"], basis.basis[:, :, :size])
        whole, shape = own["output"], own["output"].shape
        own["output"] = output.reshape(shape[0], size, *shape[2:])
        if not self._takes_constant(own):
            return None, share
        shift = np.zeros(math.prod(shape[2:]))
        if seen is not None and seen.value is not None:
            shift += seen.value.mean @ lost.reshape(-1, len(shift))
        if "value_bias" in own:
            # It reaches the output as it is: the shares that a step attends to add up to 1.
            shared = np.repeat(own["value_bias"], shape[0] // len(own["value_bias"]), axis=0)
            shift += shared.ravel() @ whole.reshape(-1, len(shift))
            own["value_bias"] = np.zeros((len(own["value_bias"]), size))
        return shift, share

    def _solution(
        self, arrays: Arrays, own: dict[str, Array], shift: Array | None, lost: float
    ) -> Solution:
        path, layer = self.place.path, self.place.layer
        originals = self._named(arrays[path])
        bias = list(own).index("output_bias") if "output_bias" in own else None

        def placed(found: dict[str, Array]) -> Arrays:
            made = with_constant(self.place, arrays, tuple(found.values()), bias, shift)
            typed = [a.astype(o.dtype) for a, o in zip(made[path], originals.values(), strict=True)]
            return {**made, path: tuple(typed)}

        def in_place() -> Arrays:
            padded = {}
            for name, array in own.items():
                padded[name] = np.zeros(originals[name].shape)
                padded[name][tuple(slice(s) for s in array.shape)] = array
            return placed(padded)

        def layers() -> dict[str, Layers]:
            found, config = dict(own), copy.deepcopy(layer.config)
            if self._scores:
                # The layer divides by the root of what is fewer now.
                scale = math.sqrt(found["query"].shape[2] / originals["query"].shape[2])
                for name in {"query", "query_bias"} & set(found):
                    found[name] = found[name] * scale
            if "head_dim" in config:
                config["head_dim"] = found["query"].shape[2]
            else:
                # Where only one is stated the other would follow it.
                config["key_dim"] = found["query"].shape[2]
                config["value_dim"] = found["value"].shape[2]
            made = placed(found)
            narrow = Serialized(layer.class_name, config, made[path])
            return {path: (narrow,)} | normalized(self.place, made)

        return Solution(lost, layers, in_place)


def _narrow_scores(
    own: dict[str, Array], bases: Sequence[tuple[Array, Array, Array]], size: int
) -> float:
    """Put narrower queries and keys in place; return the share of the scores' energy that is lost."""
    each = own["query"].shape[1] // len(bases)
    down = np.stack([query[:, :size] for _, query, _ in bases])
    own["key"] = np.einsum(
        "dgk,gkr->dgr", own["key"], np.stack([key[:, :size] for *_, key in bases])
    )
    down = np.repeat(down, each, axis=0)
    own["query"] = np.einsum("dhk,hkr->dhr", own["query"], down)
    if "query_bias" in own:
        own["query_bias"] = np.einsum("hk,hkr->hr", own["query_bias"], down)
        # The same for all keys, it drops out under softmax.
        own["key_bias"] = np.zeros((len(bases), size))
    return float(_lost(np.stack([values**2 for values, _, _ in bases]))[size - 1])


def _lost(energy: Array) -> Array:
    """Return the share of energy (heads, k) that is lost at each size."""
    total = energy.sum()
    kept = np.cumsum(energy.sum(axis=0))
    return np.maximum(1 - kept / total, 0) if total > 0 else np.zeros(energy.shape[1])
