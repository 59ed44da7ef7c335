"""Layers of a model file become other stock layers: what that does to its architecture and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import KernelError, UnsupportedModelError
from lrcompress.kinds import Serialized, peeled
from lrcompress.modelfile.graph import Item, build, unused_name
from lrcompress.modelfile.hdf5 import cast
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.rewrite.layers import SUFFIX, Draft, merge_remarks
from lrcompress.modelfile.rewrite.plan import Changes, NewArray
from lrcompress.modelfile.rewrite.widths import restate

if TYPE_CHECKING:
    from lrcompress.modelfile.chains import Chain

# The stock layers that stand for a layer, by its path.
Edits = Mapping[str, tuple[Serialized, ...]]


class Edit:
    """Edits a copy of a model's architecture, and keeps what becomes of its weights."""

    def __init__(self, model: ModelFile) -> None:
        items = list(model.tree.walk()) if model.tree is not None else []
        self._model = model
        self._items = {"/".join(item.path): item for item in items}
        self._taken = {item.name for item in items}
        self.draft = Draft(model.config)
        self.changes = Changes(self.draft.config)

    def item(self, path: str) -> Item:
        """Return the layer of a path."""
        tree, item = self._model.tree, self._items.get(path)
        identity = None if item is None else item.entry.get("shared_object_id")
        if (
            tree is None
            or item is None
            or item.inner is not None
            or tree.paths[item.path] > 1
            or (isinstance(identity, int) and tree.identities[identity] > 1)
        ):
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
        stored = self._model.weights.arrays(item.path)
        dtype = stored[0].dtype if stored else self._dtype_near(item)
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
        self.change(chain.path, (replace(chain.whole, arrays=arrays),))
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

    def _dtype_near(self, item: Item) -> str:
        """Return the type of the weights in the container of a layer that has none."""
        for other in item.container.items:
            for stored in self._model.weights.arrays(other.path):
                return stored.dtype
        return "float32"

    def _rounded(self, path: str, dtype: str, values: NDArray[Any]) -> NewArray:
        """Return new values in the type that a layer stores."""
        kept = cast(values, dtype)
        if not (np.isfinite(values).all() and _finite(kept)):
            msg = (
                f"A new array for layer {path} of {self._model.path} holds NaN or infinity, "
                f"or overflows {dtype}; expected finite values."
            )
            raise KernelError(msg)
        return NewArray(kept, dtype)


def _finite(kept: NDArray[Any]) -> bool:
    """Return whether values in stored form are finite."""
    if kept.dtype.kind == "V":  # bfloat16, whose exponent is all ones otherwise
        return not bool(((kept.view(np.uint16) & 0x7F80) == 0x7F80).any())
    return bool(np.isfinite(kept).all())
