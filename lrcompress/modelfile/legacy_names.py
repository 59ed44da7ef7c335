"""The lists of names that order the weights of an HDF5 file, with the new layers in their places.

Keras loads these weights by position, so a wrong place is a shape error or, worse, a silent swap.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from lrcompress.errors import UnsupportedModelError
from lrcompress.modelfile import legacy
from lrcompress.modelfile.hdf5 import name_parts
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.order import layer_order
from lrcompress.modelfile.topology import Container, Item
from lrcompress.modelfile.topology import Path as LayerPath

# An attribute above this does not fit a group's header; Keras splits its lists there too.
ATTRIBUTE_LIMIT = 64_512
# Layers without frozen weights of their own, unless they are frozen as a whole.
_ALL_TRAINABLE = (
    "Dense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "DepthwiseConv2D",
    "SeparableConv2D", "Embedding", "LayerNormalization", "PReLU", "LSTM", "GRU", "SimpleRNN",
)  # fmt: skip
# What one variable-length string takes in the attribute itself.
_REFERENCE_BYTES = 16


class NewNames:
    """Collects the new layers of an HDF5 file and says which attributes change.

    Args:
        model: The old file.
        tree: The new architecture.
        firsts: Path of each new first layer by the path of the layer it was split from.
    """

    def __init__(
        self, model: ModelFile, tree: Container, firsts: dict[LayerPath, LayerPath]
    ) -> None:
        """Start from the saved lists."""
        self.warnings: list[str] = []
        self._model, self._tree, self._firsts = model, tree, firsts
        self._weight_names = {n: list(w) for n, w in model.weights.weight_names.items()}
        self._like: dict[str, str] = {}  # a changed layer's list is written as this one's was

    def add(self, old: LayerPath, first: LayerPath) -> str:
        """Name the kernel of a new layer.

        Args:
            old: Path of the layer it was split from.
            first: Its own path.

        Returns:
            The canonical path of its kernel.

        Raises:
            UnsupportedModelError: If its place among a nested model's weights is not certain.
        """
        stem = legacy.canonical(old[0]) + "/"
        kernel = self._model.weights.of_layer[old][0].removeprefix(stem)
        outer = first[0]
        taken = self._weight_names.setdefault(outer, [])
        name = _renamed(kernel, old[-1], first[-1])
        if legacy.canonical(outer, name) in [legacy.canonical(outer, n) for n in taken]:
            name = f"{first[-1]}/{name.rpartition('/')[2]}"
        if len(first) == 1:
            taken.append(name)
        else:
            taken.insert(self._place(old, first), name)
        self._like[outer] = old[0]
        return legacy.canonical(outer, name)

    def _place(self, old: LayerPath, first: LayerPath) -> int:
        """Return where a nested model's flat list takes the new kernel.

        All trainable weights stand first in that list, all frozen ones after them, each part in
        Keras' order of layers. The new layer is frozen where the split one is, so its kernel goes
        before the first weight of the next layer in the same part: mostly the split layer itself,
        but the graph may put others between the two.
        """
        weights = self._model.weights
        outer = next(item for item in self._tree.items if item.name == first[0])
        order = _flat(outer)
        paths = [item.path for item in order]
        start, end = paths.index(first) + 1, paths.index(old)
        frozen = _is_frozen(order[end])
        follower = old
        for item in order[start:end]:
            if not weights.of_layer.get(item.path):
                continue
            if _is_frozen(item) == frozen and (frozen or _starts_trainable(item)):
                follower = item.path
                break
            if frozen and item.class_name not in _ALL_TRAINABLE:
                msg = (
                    f"Layer {item.name} in nested model {first[0]} of {self._model.path} may mix "
                    f"frozen and trainable weights, so the place next to {old[-1]} is not certain; "
                    "save the model as .keras, which keeps layers apart, and factorize that."
                )
                raise UnsupportedModelError(msg, code="nested_order")
        target = weights.of_layer[follower][0]
        names = self._weight_names[first[0]]
        return [legacy.canonical(first[0], name) for name in names].index(target)

    def attributes(self, source: h5py.File) -> dict[tuple[str, str], Any]:
        """Return all attributes that change, by group and name; None for those to remove."""
        changed: dict[tuple[str, str], Any] = {}
        root = source[legacy.ROOT]
        for layer, like in self._like.items():
            group, names = root[like], self._weight_names[layer]
            changed.update(list_attributes(legacy.canonical(layer), "weight_names", names, group))
        new_layers = {path[0] for old, path in self._firsts.items() if len(path) == 1}
        if new_layers:
            names = self._layer_names(new_layers)
            changed.update(list_attributes(legacy.ROOT, "layer_names", names, root))
        return changed

    def _layer_names(self, new: set[str]) -> list[str]:
        """Return the order of all outer layers, the new ones in their places."""
        weights, old_tree = self._model.weights, self._model.tree
        saved = list(weights.layer_names)
        if old_tree is not None:
            computed = [item.name for item in layer_order(old_tree)]
            ours = [name for name in computed if weights.weight_names.get(name)]
            if ours == [name for name in saved if weights.weight_names.get(name)]:
                order = [item.name for item in layer_order(self._tree)]
                listed = [name for name in order if name in new or name in saved]
                return listed + [name for name in saved if name not in order]
            if not old_tree.sequential:
                self.warnings.append(
                    "The layers are not saved in the order Keras would rebuild them; the new "
                    "layer stands right before the old one: compare the outputs of both files."
                )
        for old, path in self._firsts.items():
            if len(path) == 1:
                saved.insert(saved.index(old[0]), path[0])
        return saved


def _flat(outer: Item) -> list[Item]:
    """Return the layers inside a nested model in the order its weights are listed."""
    if outer.inner is None:
        return [outer]
    return [leaf for item in layer_order(outer.inner) for leaf in _flat(item)]


def _is_frozen(item: Item) -> bool:
    """Return whether a layer is frozen; freezing a model freezes each of its layers in the file."""
    return item.config.get("trainable") is False


def _starts_trainable(item: Item) -> bool:
    """Return whether an unfrozen layer's first weight is trainable, as all but a few have it."""
    if item.class_name == "Normalization":
        return False
    moving = item.class_name.startswith("BatchNormalization")
    return not moving or any(item.config.get(key, True) for key in ("scale", "center"))


def _renamed(kernel: str, old: str, new: str) -> str:
    """Return a kernel's name in the style of the split layer's: its name replaced where it stands.

    Keras has written `N/kernel:0`, `N/N/kernel:0`, `N/model/N/kernel`, `N_W` and more; names that
    do not contain the layer's own get a plain one.
    """
    parts = [part for part in kernel.split("/") if part]
    replaced = [new if part == old else part for part in parts]
    if replaced[-1].startswith(f"{old}_"):
        replaced[-1] = new + replaced[-1][len(old) :]
    return f"{new}/{parts[-1]}" if replaced == parts else "/".join(replaced)


def _like_type(kind: np.dtype[Any], names: list[str]) -> np.dtype[Any]:
    """Return a variable-length string type, ASCII only where it was and still can be."""
    info = h5py.check_string_dtype(kind)
    ascii_only = info is not None and info.encoding == "ascii" and "".join(names).isascii()
    found: np.dtype[Any] = h5py.string_dtype("ascii" if ascii_only else "utf-8")
    return found


def list_attributes(
    path: str, attribute: str, names: list[str], like: h5py.Group
) -> dict[tuple[str, str], Any]:
    """Return a list of names as attributes, in the string type of an existing list.

    A fixed-width list gets the width of its longest new name: written into the old type it would
    be cut silently. Parts that are no longer needed come back as None.
    """
    stale = {(path, part): None for part in (attribute, *name_parts(like, attribute))}
    kind = next((like.attrs.get_id(part).dtype for part in name_parts(like, attribute)), None)
    encoded = [name.encode("utf-8") for name in names]
    if kind is None or kind.kind == "S":
        values = np.array(encoded, dtype=f"S{max(map(len, encoded))}")
        width = values.dtype.itemsize
    else:
        # The character set too: old Keras on old h5py decodes ASCII and trips over UTF-8.
        values = np.array(names, dtype=_like_type(kind, names))
        width = _REFERENCE_BYTES
    pieces = -(-len(names) * width // ATTRIBUTE_LIMIT)
    if pieces == 1:
        return stale | {(path, attribute): values}
    split = np.array_split(values, pieces)
    while any(len(piece) * width > ATTRIBUTE_LIMIT for piece in split):
        pieces += 1
        split = np.array_split(values, pieces)
    return stale | {(path, f"{attribute}{i}"): piece for i, piece in enumerate(split)}
