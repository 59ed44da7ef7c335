"""Sites are given factors, given other factors, or made one layer again, in a copy of their file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import KernelError, RankError, UnsupportedModelError
from lrcompress.kinds import Serialized, peeled
from lrcompress.kinds.protocol import Edits
from lrcompress.modelfile.container import kept_open
from lrcompress.modelfile.end import tree_of
from lrcompress.modelfile.find import find_sites, why_fixed
from lrcompress.modelfile.graph import Item, build, unused_name
from lrcompress.modelfile.hdf5.arrays import cast
from lrcompress.modelfile.model import ModelFile, Replacement, Site, Written
from lrcompress.modelfile.read import read_bias
from lrcompress.modelfile.rewrite.layers import SUFFIX, Draft, merge_remarks, restate, split_remarks
from lrcompress.modelfile.rewrite.plan import Changes, NewArray
from lrcompress.modelfile.rewrite.write import check_place, rewrite
from lrcompress.modelfile.untrusted import decoding

if TYPE_CHECKING:
    from lrcompress.modelfile.chains import Chain


def write_replaced(
    model: ModelFile, replacements: Sequence[Replacement], output: Path, *, overwrite: bool = False
) -> Written:
    """Write a copy of a model file in which each given site is two layers.

    Layer `name` with kernel (m, n) becomes `name_lowrank` (r units, no bias, linear) followed by
    `name` with kernel (r, n) and everything else as it was. A site that is two layers already
    stays these two with new kernels; a bias of its first layer is folded into the second's. All
    other weights are copied bit by bit; optimizer state is left out, its settings stay.
    """

    def change(edit: _Edit) -> None:
        for replacement in replacements:
            _check_factors(replacement)
        _check_sites(model, [replacement.layer for replacement in replacements])
        for replacement in replacements:
            _replace(model, edit, replacement)

    # The width between two layers is another one.
    wider = any(replacement.layer.rank is not None for replacement in replacements)
    return _write(model, output, change, restated=wider, overwrite=overwrite)


def write_merged(
    model: ModelFile, chains: Sequence[Chain], output: Path, *, overwrite: bool = False
) -> Written:
    """Write a copy of a model file in which each given chain is one layer, under the last one's name."""

    def change(edit: _Edit) -> None:
        for chain in chains:
            edit.join(chain)

    return _write(model, output, change, restated=False, overwrite=overwrite)


def write_changed(
    model: ModelFile, edits: Edits, output: Path, *, overwrite: bool = False
) -> Written:
    """Write a copy in which other stock layers stand for some, of which the last keeps name and calls."""

    def change(edit: _Edit) -> None:
        for path, layers in edits.items():
            edit.change(path, layers)
            edit.changes.warnings += split_remarks(path, layers)

    return _write(model, output, change, restated=True, overwrite=overwrite)


def _write(
    model: ModelFile,
    output: Path,
    change: Callable[[_Edit], None],
    *,
    restated: bool,
    overwrite: bool,
) -> Written:
    """Write a copy of a model file as `change` edits it; equal input gives equal bytes."""
    output = check_place(model, output, overwrite=overwrite)
    with kept_open(model.path):
        with decoding(model.path):
            edit = _Edit(model)
            change(edit)
            edit.finish(restated=restated)
        return rewrite(model, edit.changes, output, overwrite=overwrite)


def _check_factors(replacement: Replacement) -> None:
    site, (m, n) = replacement.layer, replacement.layer.kernel_shape
    first, second = np.shape(replacement.first), np.shape(replacement.second)
    rank = first[1] if len(first) == 2 else 0
    if first != (m, rank) or second != (rank, n) or rank < 1:
        msg = (
            f"Factors of shapes {first} and {second} do not fit the kernel {(m, n)} "
            f"of layer {site.path}; expected ({m}, r) and (r, {n}) with r >= 1."
        )
        raise RankError(msg)
    if replacement.bias is not None and np.shape(replacement.bias) != (n,):
        shape = np.shape(replacement.bias)
        msg = f"Bias of shape {shape} for layer {site.path}; expected ({n},)."
        raise RankError(msg)


def _check_sites(model: ModelFile, sites: Sequence[Site]) -> None:
    """Refuse sites that are not the file's, or given twice."""
    seen: set[str] = set()
    found = find_sites(model, [site.path for site in sites])
    for site, there in zip(sites, found, strict=True):
        if there != site:
            msg = (
                f"Layer {site.path} was not read from {model.path}; "
                "expected one that find_head or find_sites gave for it."
            )
            raise UnsupportedModelError(msg, code="no_such_layer")
        if site.path in seen:
            msg = f"Layer {site.path} is to be replaced twice; expected once."
            raise RankError(msg)
        seen.add(site.path)


def _replace(model: ModelFile, edit: _Edit, replacement: Replacement) -> None:
    site, bias = replacement.layer, replacement.bias
    left, right = np.asarray(replacement.first), np.asarray(replacement.second)
    if bias is None and site.rank is not None and site.layers[0].view.bias:
        bias = read_bias(model, site, "float64")  # b1 C + b2
    if site.rank is None:
        layer = site.layers[0]
        name = f"{layer.serialized.config.get('name', 'dense')}{SUFFIX}"
        made = site.kind.split(layer.view, layer.serialized, (left, right, bias), name)
        edit.changes.warnings += split_remarks(site.name, made)
        edit.change(site.path, made)
        return
    first, second = site.layers
    bare = dataclasses.replace(first.view, bias=0)
    arrays = site.kind.arrays(bare, left, None), site.kind.arrays(second.view, right, bias)
    for layer, values in zip(site.layers, arrays, strict=True):
        edit.change(layer.path, (site.kind.refit(layer.serialized, values),))
    edit.changes.first_names[site.path] = (first.name,)


class _Edit:
    """Edits a copy of a model's architecture, and keeps what becomes of its weights."""

    def __init__(self, model: ModelFile) -> None:
        items = list(tree_of(model).walk())
        self._model = model
        self._items = {"/".join(item.path): item for item in items}
        self._taken = {item.name for item in items}
        self.draft = Draft(model.config)
        self.changes = Changes(self.draft.config)

    def item(self, path: str) -> Item:
        """Return the layer of a path."""
        item = self._items.get(path)
        fixed = item is None or item.inner is not None or why_fixed(tree_of(self._model), item)
        if item is None or fixed:
            msg = f"{self._model.path} has no layer {path} that can be changed; expected the path of one."
            raise UnsupportedModelError(msg, code="no_such_layer")
        return item

    def finish(self, *, restated: bool) -> None:
        """Finish the new architecture, on demand with the shapes that its layers now take in."""
        self.draft.finish()
        old, tree = self._model.tree, build(self.draft.config) if restated else None
        if old is not None and tree is not None:
            restate(old, tree, {*self.changes.arrays, *self.changes.firsts})

    def change(self, path: str, layers: tuple[Serialized, ...]) -> None:
        """Put stock layers in the place of one: the last keeps its name, those before it are new."""
        item, (*firsts, last) = self.item(path), layers
        arrays_of = self._model.weights.arrays
        stored = arrays_of(item.path)
        near = (array.dtype for other in item.container.items for array in arrays_of(other.path))
        dtype = stored[0].dtype if stored else next(near, "float32")
        names: list[str] = []
        for new in firsts:
            names.append(unused_name(self._name_for(item, new), self._taken))
            self._taken.add(names[-1])
            arrays = [self._rounded(path, dtype, values) for values in new.arrays]
            self.changes.arrays[(*item.path[:-1], names[-1])] = tuple(arrays)
        if firsts:
            self.changes.firsts[item.path] = tuple((*item.path[:-1], name) for name in names)
            self.changes.first_names[path] = tuple(names)
        other = peeled(item.entry).get("class_name") != last.class_name
        self.draft.replace(item, layers, names)
        if other:
            arrays = [self._rounded(path, dtype, values) for values in last.arrays]
            self.changes.arrays[item.path] = tuple(arrays)
            return
        for number, values in enumerate(last.arrays):
            if values is not None:
                kind = stored[number].dtype if number < len(stored) else dtype
                self.changes.values[item.path, number] = self._rounded(path, kind, values)
        for number in range(len(last.arrays), len(stored)):
            self.changes.values[item.path, number] = None

    def join(self, chain: Chain) -> None:
        """Put one layer in the place of several in a row: the last keeps its name, the others go."""
        row = [self.item(path) for path in chain.row]
        last, gone = row[-1], [item for item in row[:-1] if "/".join(item.path) in chain.gone]
        for item in gone:
            self.changes.warnings += merge_remarks(item, last)
        # What the last has already stays as it is stored.
        old = (*chain.parts[-1].arrays, *(None for _ in chain.whole.arrays))
        pairs = zip(chain.whole.arrays, old, strict=False)
        same = chain.whole.class_name == chain.parts[-1].class_name
        arrays = tuple(None if same and new is before else new for new, before in pairs)
        self.change(chain.path, (dataclasses.replace(chain.whole, arrays=arrays),))
        becomes_first = chain.whole.class_name == chain.parts[0].class_name
        for before, after in pairwise(row):
            if before in gone:
                self.draft.take_over(before, after, whole_calls=becomes_first or after is not last)
                self.changes.gone.add(before.path)
        self.changes.first_names[chain.path] = tuple(item.name for item in gone)

    def _name_for(self, item: Item, new: Serialized) -> str:
        """Return what a new layer is called if nothing else is: wrapped, the config names the inner one."""
        own = new.config.get("name")
        wrapped = peeled(item.entry) is not item.entry
        return own if isinstance(own, str) and own and not wrapped else item.name + SUFFIX

    def _rounded(self, path: str, dtype: str, values: NDArray[Any]) -> NewArray:
        kept = cast(values, dtype)
        if not (np.isfinite(values).all() and _finite(kept)):
            msg = (
                f"A new array for layer {path} of {self._model.path} holds NaN or infinity, "
                f"or overflows {dtype}; expected finite values."
            )
            raise KernelError(msg)
        return NewArray(kept, dtype)


def _finite(kept: NDArray[Any]) -> bool:
    if kept.dtype.kind == "V":  # bfloat16, whose exponent is all ones otherwise
        return not bool(((kept.view(np.uint16) & 0x7F80) == 0x7F80).any())
    return bool(np.isfinite(kept).all())
