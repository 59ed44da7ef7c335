"""The lists of names that order the weights of an HDF5 file, with the new layers in their places.

Keras loads these weights by position, so a wrong place is a shape error or, worse, a silent swap.
All weights inside a nested model stand in one flat list: all trainable ones first, all frozen ones
after them, each part in Keras' order of layers.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from lrcompress.errors import UnsupportedModelError
from lrcompress.kinds import peeled
from lrcompress.modelfile import legacy
from lrcompress.modelfile.end import tree_of
from lrcompress.modelfile.graph import Container, Item, LayerPath
from lrcompress.modelfile.hdf5.arrays import Index, name_parts
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.order import computed, layer_order
from lrcompress.modelfile.rewrite.styles import array_names, bias_name

# An attribute above this does not fit a group's header; Keras splits its lists there too.
ATTRIBUTE_LIMIT = 64_512
# What one variable-length string takes in the attribute itself.
_REFERENCE_BYTES = 16
# Beside the known kinds, layers without frozen weights of their own, unless they are frozen as a whole.
_ALL_TRAINABLE = {
    "DepthwiseConv1D", "DepthwiseConv2D", "GroupNormalization", "LayerNormalization", "PReLU",
    "RMSNormalization", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "RNN",
}  # fmt: skip


class Names:
    """Collects what is new and what goes in an HDF5 file, and says which attributes change."""

    def __init__(
        self, model: ModelFile, tree: Container, split: dict[LayerPath, LayerPath]
    ) -> None:
        """Start from the saved lists; `split` has new layers and what each was split from."""
        self.warnings: list[str] = []
        self._model, self._tree, self._split = model, tree, split
        self._old = tree_of(model)
        saved = model.weights.weight_names
        # Every saved name of an outer layer by its canonical path.
        self._saved = {n: {legacy.canonical(n, w): w for w in names} for n, names in saved.items()}
        self._added: dict[str, set[str]] = {}  # canonical paths of new names by outer layer
        # New names by the canonical path before or after which they stand; by that of the outer
        # layer where it is new itself.
        self._before: dict[str, list[str]] = {}
        self._after: dict[str, list[str]] = {}
        self._dropped: set[str] = set()
        self._old_classes, self._new_classes = _classes(self._old), _classes(tree)
        self._like: dict[str, str] = {}  # a changed layer's list is written as this one's was
        self._gone: set[str] = set()
        # The layers inside each nested model as its weights are listed, and their places there.
        self._flat: dict[str, list[Item]] = {}
        self._places: dict[LayerPath, int] = {}

    def add(self, old: LayerPath, first: LayerPath, count: int) -> list[str]:
        """Name the arrays of a new layer split from an old one; return their paths."""
        outer, target = first[0], legacy.canonical(first[0])
        names = self._fresh(old, first, count)
        if len(first) > 1:
            target = self._model.weights.of_layer[self._follower(old, first)][0]
        self._before.setdefault(target, []).extend(names)
        self._like[outer] = old[0]
        return [legacy.canonical(outer, name) for name in names]

    def exchange(self, path: LayerPath, count: int) -> list[str]:
        """Name the arrays of a layer of another class now, where its old ones were; return their paths."""
        old = self._model.weights.paths(path)
        for array in old:
            self.remove_array(path, array)
        names = self._fresh(path, path, count)
        self._before.setdefault(old[0], []).extend(names)
        return [legacy.canonical(path[0], name) for name in names]

    def _fresh(self, old: LayerPath, new: LayerPath, count: int) -> list[str]:
        """Return names of the arrays of a new layer, in the style of those of an old one."""
        outer, theirs = new[0], self._model.weights.paths(old)
        before, now = self._old_classes[old], self._new_classes[new]
        stem = legacy.canonical(old[0]) + "/"
        style = theirs[0].removeprefix(stem) if theirs else None
        names = array_names(now, count, style, (old[-1], new[-1]), same=before == now)
        known = self._added.setdefault(outer, set())
        taken = known | (self._saved.get(outer, {}).keys() - self._dropped)
        if any(legacy.canonical(outer, name) in taken for name in names):
            names = [f"{new[-1]}/{name.rpartition('/')[2]}" for name in names]
        known.update(legacy.canonical(outer, name) for name in names)
        return names

    def remove(self, path: LayerPath) -> tuple[str, ...]:
        """Take a layer out; return the groups and arrays that go with it."""
        outer = path[0]
        if len(path) == 1:
            self._gone.add(outer)
            return (legacy.canonical(outer),)
        arrays = self._model.weights.of_layer[path]
        for array in arrays:
            self.remove_array(path, array)
        return _with_empty_groups(arrays, legacy.canonical(outer), self._model.weights.index)

    def remove_array(self, path: LayerPath, array: str) -> None:
        """Take one array of a layer out."""
        self._dropped.add(array)
        self._like[path[0]] = path[0]

    def add_bias(self, path: LayerPath) -> str:
        """Name the new bias of a layer, right after its other arrays; return its path."""
        outer, kernel = path[0], self._model.weights.paths(path)[-1]
        name = bias_name(self._saved[outer][kernel])
        self._after.setdefault(kernel, []).append(name)
        self._like[outer] = outer
        return legacy.canonical(outer, name)

    def _follower(self, old: LayerPath, first: LayerPath) -> LayerPath:
        """Return the layer inside a nested model before whose first weight a new layer's kernel stands.

        The new layer is frozen where the split one is, so that is the next layer in the same part:
        mostly the split layer itself, but the graph may put others between the two.
        """
        outer = first[0]
        if outer not in self._flat:
            self._flat[outer] = _flat(self._tree.by_name[outer])
            self._places |= {item.path: place for place, item in enumerate(self._flat[outer])}
        order, start, end = self._flat[outer], self._places[first] + 1, self._places[old]
        frozen, weights = _is_frozen(order[start - 1]), self._model.weights
        bare = not weights.of_layer.get(old)
        for item in order[start:] if bare else order[start:end]:
            if not weights.of_layer.get(item.path):
                continue
            if _is_frozen(item) == frozen and (frozen or _starts_trainable(item)):
                return item.path
            if frozen and not _is_all_trainable(item):
                bare = True
                break
        if bare:
            msg = (
                f"A layer in nested model {outer} of {self._model.path} may mix frozen and trainable "
                f"weights, so the place next to {old[-1]} is not certain; "
                "save the model as .keras, which keeps layers apart, and use that."
            )
            raise UnsupportedModelError(msg, code="nested_order")
        return old

    def _check_order(self, outer: str) -> None:
        """Refuse a change that makes Keras order the untouched layers of a nested model anew."""
        before, after = (
            [
                item.path
                for outermost in tree.items
                if outermost.name == outer
                for item in _flat(outermost)
                if self._model.weights.of_layer.get(item.path)
            ]
            for tree in (self._old, self._tree)
        )
        kept = set(before) & set(after)
        if [path for path in before if path in kept] != [path for path in after if path in kept]:
            msg = (
                f"With a layer more or less, Keras would order the layers inside nested model {outer} "
                f"of {self._model.path} otherwise than their weights are saved; expected the same order: "
                "save the model as .keras, which keeps layers apart, and use that."
            )
            raise UnsupportedModelError(msg, code="nested_order")

    def _weight_names(self, outer: str) -> list[str]:
        """Return the names of an outer layer's weights, the new ones in their places."""
        found = list(self._before.get(legacy.canonical(outer), []))
        for name in self._model.weights.weight_names.get(outer, ()):
            path = legacy.canonical(outer, name)
            kept = [] if path in self._dropped else [name]
            # Taken out, so that a name that is listed twice gets its new neighbours once.
            found += [*self._before.pop(path, []), *kept, *self._after.pop(path, [])]
        return found

    def attributes(self, source: h5py.File) -> dict[tuple[str, str], Any]:
        """Return all attributes that change, by group and name; None for those to remove."""
        changed: dict[tuple[str, str], Any] = {}
        root = source[legacy.ROOT]
        for layer, like in self._like.items():
            self._check_order(layer)
            group, names = root[like], self._weight_names(layer)
            changed.update(list_attributes(legacy.canonical(layer), "weight_names", names, group))
        new_layers = {path[0] for path in self._split if len(path) == 1}
        if new_layers or self._gone:
            names = self._layer_names(new_layers)
            changed.update(list_attributes(legacy.ROOT, "layer_names", names, root))
        return changed

    def _layer_names(self, new: set[str]) -> list[str]:
        """Return the order of all outer layers, the new ones in their places."""
        weights = self._model.weights
        saved = [name for name in weights.layer_names if name not in self._gone]
        order = [item.name for item in layer_order(self._old)]
        ours = [name for name in order if weights.weight_names.get(name)]
        if ours == [name for name in weights.layer_names if weights.weight_names.get(name)]:
            known = new | set(saved)
            listed = [item.name for item in layer_order(self._tree) if item.name in known]
            # Once each, also where a config has two layers of one name.
            return list(dict.fromkeys([*listed, *saved]))
        if not self._old.sequential:
            self.warnings.append(
                "The layers are not saved in the order Keras would rebuild them; the new "
                "layer stands right before the old one: compare the outputs of both files."
            )
        for path, old in self._split.items():
            if len(path) == 1:
                saved.insert(saved.index(old[0]), path[0])
        return saved


def _classes(tree: Container) -> dict[LayerPath, str]:
    """Return the class of each layer of a tree, wrappers peeled."""
    return {item.path: str(peeled(item.entry).get("class_name")) for item in tree.walk()}


def _flat(outer: Item) -> list[Item]:
    """Return the layers inside a nested model in the order its weights are listed."""
    if outer.inner is None:
        return [outer]
    return [item for item in computed(outer.inner) if item.inner is None]


def _is_frozen(item: Item) -> bool:
    """Return whether a layer is frozen; freezing a model freezes each of its layers in the file."""
    return item.config.get("trainable") is False


def _starts_trainable(item: Item) -> bool:
    """Return whether an unfrozen layer's first weight is trainable, as all but a few have it."""
    if item.class_name == "Normalization":
        return False
    moving = item.class_name.startswith("BatchNormalization")
    return not moving or any(item.config.get(key, True) for key in ("scale", "center"))


def _with_empty_groups(arrays: tuple[str, ...], root: str, index: Index) -> tuple[str, ...]:
    """Return arrays, or the largest groups below `root` that hold nothing but some of them."""
    found = set()
    for array in arrays:
        top, parent = array, array.rpartition("/")[0]
        while parent != root and all(path in arrays for path, _ in index.under(parent)):
            top, parent = parent, parent.rpartition("/")[0]
        found.add(top)
    return tuple(sorted(found))


def list_attributes(
    path: str, attribute: str, names: list[str], like: h5py.Group
) -> dict[tuple[str, str], Any]:
    """Return a list of names as attributes, in the string type of an existing one; stale parts are None."""
    stale = {(path, part): None for part in (attribute, *name_parts(like, attribute))}
    kind = next((like.attrs.get_id(part).dtype for part in name_parts(like, attribute)), None)
    encoded = [name.encode("utf-8") for name in names]
    if kind is None or kind.kind == "S":
        # As wide as the longest new name: written into the old type it would be cut silently.
        values = np.array(encoded, dtype=f"S{max(map(len, encoded))}")
        width = values.dtype.itemsize
    else:
        # The character set too: old Keras on old h5py decodes ASCII and trips over UTF-8.
        info = h5py.check_string_dtype(kind)
        ascii_only = info is not None and info.encoding == "ascii" and "".join(names).isascii()
        values = np.array(names, dtype=h5py.string_dtype("ascii" if ascii_only else "utf-8"))
        width = _REFERENCE_BYTES
    pieces = -(-len(names) * width // ATTRIBUTE_LIMIT)
    if pieces == 1:
        return stale | {(path, attribute): values}
    split = np.array_split(values, pieces)
    while any(len(piece) * width > ATTRIBUTE_LIMIT for piece in split):
        pieces += 1
        split = np.array_split(values, pieces)
    return stale | {(path, f"{attribute}{i}"): piece for i, piece in enumerate(split)}


def _is_all_trainable(item: Item) -> bool:
    """Return whether a layer has no frozen weights of its own."""
    from lrcompress.kinds.registry import KINDS

    name = str(peeled(item.entry).get("class_name"))
    return name in _ALL_TRAINABLE or any(name in kind.classes for kind in KINDS)
