"""Layers in a row that compute what one does: what a factorization has made, or a designer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lrcompress.kinds import Array, Serialized, is_wrapped, peeled, serialized
from lrcompress.kinds.registry import KINDS, any_kind_of
from lrcompress.kinds.terms import activation_name, as_dict, is_built_in, units
from lrcompress.modelfile.container import kept_open
from lrcompress.modelfile.end import tree_of
from lrcompress.modelfile.graph import Item
from lrcompress.modelfile.model import ModelFile, Site
from lrcompress.modelfile.order import computed, feeder
from lrcompress.modelfile.places import why_not
from lrcompress.modelfile.read import read_arrays
from lrcompress.modelfile.untrusted import decoding

# The most layers that one becomes in any form.
_LONGEST = 4
_FLATTEN = "Flatten"


@dataclass(frozen=True)
class Chain:
    """Layers in a row that are one."""

    path: str  # of the last, whose name and place the one keeps
    family: str  # of the one's kind, a word for --layers
    gone: tuple[str, ...]  # paths of the others, in their order
    row: tuple[str, ...]  # paths of all, also of a Flatten between them, which stays
    dtype: str  # of the arrays of the last
    parts: tuple[Serialized, ...] = field(repr=False)  # all, as in `row`
    whole: Serialized = field(repr=False)  # the one, with values

    @property
    def rank(self) -> int:
        """What the last takes in of the layer before it."""
        before = next(part for part in reversed(self.parts[:-1]) if part.arrays)
        return units(before.config) or int(before.arrays[0].shape[-1])

    @property
    def kernels(self) -> tuple[list[Array], Array]:
        """The kernels of the layers, outputs last, and of the one."""
        return [_kernel(part) for part in self.parts if part.arrays], _kernel(self.whole)

    def to_json(self) -> dict[str, Any]:
        """Return where they are, the shape of the one kernel, and the rank."""
        shape = list(self.kernels[1].shape)
        return {
            "path": self.path, "first_path": self.row[0], "kernel_shape": shape, "rank": self.rank,
        }  # fmt: skip

    def is_named(self, word: str) -> bool:
        """Return whether a word is the name or path of one of the layers."""
        return any(word in (path, path.rpartition("/")[2]) for path in self.row)

    def is_meant(self, words: Collection[str]) -> bool:
        """Return whether ``all``, the family, or a name or path of one of the layers is among some words."""
        return "all" in words or self.family in words or any(map(self.is_named, words))


def _kernel(layer: Serialized) -> Array:
    """Return the kernel of a layer, outputs last: of a separable convolution the one that makes them."""
    kernel: Array = layer.arrays[1 if layer.class_name.startswith("Separable") else 0]
    return kernel.swapaxes(-1, -2) if "Transpose" in layer.class_name else kernel


def find_chains(model: ModelFile) -> tuple[Chain, ...]:
    """Return the layers in a row that are one, as they are computed; of several ways the longest."""
    found: list[Chain] = []
    used: set[Item] = set()
    with kept_open(model.path), decoding(model.path):
        for item in reversed(computed(tree_of(model))):
            row = [] if item in used else _row(model, item, used)
            for start in range(len(row) - 1):
                chain = _chain(model, row[start:])
                if chain is not None:
                    found.append(chain)
                    used.update(row[start:])
                    break
    return tuple(reversed(found))


def pair_of(model: ModelFile, site: Site) -> Chain:
    """Return the two layers that a site is."""
    items = {"/".join(item.path): item for item in tree_of(model).walk()}
    with kept_open(model.path), decoding(model.path):
        chain = _chain(model, [items[layer.path] for layer in site.layers])
    if chain is None:
        raise AssertionError  # its kind has joined them
    return chain


def _row(model: ModelFile, item: Item, used: set[Item]) -> list[Item]:
    """Return a layer behind those that may be one with it."""
    if why_not(model, item) is not None:
        return []
    row = [item]
    while len(row) < _LONGEST:
        first = feeder(row[0])
        if first is None or first in used or is_wrapped(first.entry) != is_wrapped(item.entry):
            break
        if not _may_stand_before(model, first, item):
            break
        row.insert(0, first)
    return row[1:] if row[0].class_name == _FLATTEN else row


def _may_stand_before(model: ModelFile, first: Item, last: Item) -> bool:
    """Return whether a layer may be a factor, by its class and config alone."""
    if first.class_name == _FLATTEN and is_built_in(first.entry):
        return True
    kind = any_kind_of(first.entry)
    types = {a.dtype for item in (first, last) for a in model.weights.arrays(item.path)}
    activation = as_dict(peeled(first.entry).get("config")).get("activation")
    linear = kind is not None and activation_name(activation) == "linear"
    return linear and len(types) == 1 and why_not(model, first) is None


def _chain(model: ModelFile, row: Sequence[Item]) -> Chain | None:
    """Return layers in a row as the one that they are, by the first kind that knows it; None if they are none."""
    parts = tuple(_serialized(model, item) for item in row)
    whole = next((w for w in (kind.merged(parts) for kind in KINDS) if w is not None), None)
    if whole is None:
        return None
    paths = tuple("/".join(item.path) for item in row)
    each = zip(paths[:-1], parts, strict=False)
    # As wide as it is stored: a network of doubles would take twice the memory.
    dtype = str(model.weights.arrays(row[-1].path)[0].dtype)
    wide = "float64" if dtype == "float64" else "float32"
    return Chain(
        path=paths[-1],
        family=next(kind.family for kind in KINDS if whole.class_name in kind.classes),
        gone=tuple(path for path, part in each if part.class_name != _FLATTEN),
        row=paths,
        dtype=dtype,
        parts=parts,
        whole=replace(
            whole,
            config=whole.config | {"name": parts[-1].config.get("name")},
            arrays=tuple(
                array
                if any(array is one for one in parts[-1].arrays)
                else array.astype(wide, copy=False)
                for array in whole.arrays
            ),
        ),
    )


def _serialized(model: ModelFile, item: Item) -> Serialized:
    has_any = bool(model.weights.arrays(item.path))
    return serialized(item.entry, read_arrays(model, "/".join(item.path)) if has_any else ())
