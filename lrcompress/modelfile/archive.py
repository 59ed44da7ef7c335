"""Where a `.keras` archive keeps the weights of each layer.

The path is made of class names and counters, never of the layer's name:
``layers/functional_1/layers/dense_2/vars/0`` is the third Dense, in Keras' order, of the second
nested functional model. One more Dense renumbers every later one of its container.
"""

from __future__ import annotations

import re

import h5py

from lrcompress.modelfile.hdf5 import Index, text
from lrcompress.modelfile.layers import is_input
from lrcompress.modelfile.model import Weights
from lrcompress.modelfile.order import layer_order
from lrcompress.modelfile.topology import Container, Item
from lrcompress.modelfile.topology import Path as LayerPath

OPTIMIZER = "optimizer"
# Keras up to 2.14 named the groups of layers after an internal attribute.
_PREFIXES = ("layers", "_layer_checkpoint_dependencies")


def locate(tree: Container | None, index: Index, file: h5py.File) -> Weights:
    """Return where each layer's weights stand in the open weights file of an archive.

    Args:
        tree: The architecture; None gives an answer without layers.
        index: All objects of `file`.
        file: The open ``model.weights.h5``.
    """
    prefix = next((p for p in _PREFIXES if p in index.groups), _PREFIXES[0])
    if tree is None:
        return Weights(index, {}, prefix=prefix)
    groups = layer_groups(tree, prefix)
    owners = {group: path for path, group in groups.items()}
    below: dict[LayerPath, list[str]] = {path: [] for path in groups}
    for array in sorted(index.arrays, key=_numeric):
        parent = array.rpartition("/")[0]
        while parent:
            # A nested model counts the arrays of all layers below it.
            if parent in owners:
                below[owners[parent]].append(array)
            parent = parent.rpartition("/")[0]
    of_layer = {path: tuple(arrays) for path, arrays in below.items()}
    problem = next(
        (p for path, group in groups.items() if (p := _misplaced(path, group, index, file))),
        _stray(tree, prefix, groups, index),
    )
    return Weights(index, of_layer, groups, prefix, problem=problem)


def layer_groups(tree: Container, prefix: str) -> dict[LayerPath, str]:
    """Return the group of every layer of a model, nested ones included.

    Args:
        tree: The architecture.
        prefix: ``"layers"``, or its older name.
    """
    groups: dict[LayerPath, str] = {}
    _fill_groups(tree, f"{prefix}", prefix, groups, set())
    return groups


def _fill_groups(
    container: Container,
    where: str,
    prefix: str,
    groups: dict[LayerPath, str],
    visited: set[object],
) -> None:
    """Name the groups of one container, then of those inside it."""
    used: dict[str, int] = {}
    order = [item for item in layer_order(container) if not item.is_operation]
    if container.sequential and order and is_input(order[0]):
        order = order[1:]
    for item in order:
        name = _snake_case(item.class_name)
        used[name] = used.get(name, -1) + 1
        # An object met before is stored at its first place only.
        identity = item.entry.get("shared_object_id")
        if isinstance(identity, int):
            if identity in visited:
                continue
            visited.add(identity)
        group = f"{where}/{name}_{used[name]}" if used[name] else f"{where}/{name}"
        groups[item.path] = group
        if item.inner is not None:
            _fill_groups(item.inner, f"{group}/{prefix}", prefix, groups, visited)


def _snake_case(class_name: str) -> str:
    """Return a class name as Keras spells it in paths: Conv2DTranspose -> conv2d_transpose."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _numeric(path: str) -> list[tuple[int, str]]:
    """Sort ``vars/10`` after ``vars/9``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in path.split("/")]


def _misplaced(path: LayerPath, group: str, index: Index, file: h5py.File) -> str | None:
    """Return a sentence if the group says it belongs to another layer.

    Since Keras 3.6 each ``vars`` group carries its layer's name: the check that the derived paths
    are the ones Keras used.
    """
    source = index.groups.get(f"{group}/vars")
    name = text(file[source].attrs.get("name")) if source is not None else None
    if name is None or name == path[-1]:
        return None
    return f"{group} holds the weights of {name}, not of {path[-1]}"


def _stray(tree: Container, prefix: str, groups: dict[LayerPath, str], index: Index) -> str | None:
    """Return a sentence if a container holds a group that no layer accounts for.

    It would mean that this version of Keras counts otherwise, and moving groups would mix them up.
    """
    nested = (item.path for item in tree.walk() if item.inner is not None)
    parents = {prefix} | {f"{groups[path]}/{prefix}" for path in nested if path in groups}
    known = set(groups.values())
    for group in index.groups:
        if group.rpartition("/")[0] in parents and group not in known:
            return f"{group} belongs to no layer"
    return None


def is_shared(tree: Container, item: Item) -> bool:
    """Return whether the same layer object stands in more than one place of the model."""
    identity = item.entry.get("shared_object_id")
    if not isinstance(identity, int):
        return False
    identities = [other.entry.get("shared_object_id") for other in tree.walk()]
    return identities.count(identity) > 1
