"""Where a `.keras` archive keeps the weights of each layer.

The paths of their groups are made of class names and counters, never of the layer's name:
``layers/functional_1/layers/dense_2/vars/0`` is the third Dense, in Keras' order, of the second
nested functional model. One more layer renumbers every later one of its class and container.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import h5py

from lrcompress.errors import printable
from lrcompress.modelfile.graph import Container, LayerPath
from lrcompress.modelfile.hdf5.arrays import Index, parents, text
from lrcompress.modelfile.model import NUMBERING, Numbering, Weights
from lrcompress.modelfile.order import layer_order

# Keras up to 2.14 named the groups of layers after an internal attribute.
PREFIXES = (NUMBERING.prefix, "_layer_checkpoint_dependencies")
# Keras that listed layers with weights twice, and so gave each of them two numbers.
_DOUBLING = ("2.12.", "2.13.")

# Layers inside a layer, as attributes of it. A file sorts them by name; this is the order of Keras.
_INNER = (
    "forward_layer", "backward_layer",
    "query_dense", "key_dense", "gate_dense", "value_dense", "output_dense",
)  # fmt: skip
# Classes whose groups are not named as their configs name them.
_RENAMED = {"GroupQueryAttention": "GroupedQueryAttention"}


def layer_groups(
    tree: Container, weighted: Callable[[LayerPath, str], bool], numbering: Numbering = NUMBERING
) -> dict[LayerPath, str]:
    """Return the group of every layer of a model, of which `weighted` says whether it has weights."""
    found: dict[LayerPath, str] = {}
    visited: set[int] = set()

    def fill(container: Container, where: str) -> None:
        used: dict[str, int] = {}
        stored = [item for item in layer_order(container) if not item.is_operation]
        if container.sequential and stored and stored[0].is_input:
            del stored[0]
        for item in stored:
            name = snake_case(_RENAMED.get(item.class_name, item.class_name))
            number = used.setdefault(name, 0)
            group = f"{where}/{name}_{number}" if number else f"{where}/{name}"
            used[name] += 2 if numbering.doubled and weighted(item.path, group) else 1
            # An object met before is stored at its first place only.
            identity = item.entry.get("shared_object_id")
            if isinstance(identity, int):
                if identity in visited:
                    continue
                visited.add(identity)
            found[item.path] = group
            if item.inner is not None:
                fill(item.inner, f"{group}/{numbering.prefix}")

    fill(tree, numbering.prefix)
    return found


def snake_case(class_name: str) -> str:
    """Return a class name as Keras spells it in paths: Conv2DTranspose -> conv2d_transpose."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


OPTIMIZER = "optimizer"


def locate(tree: Container | None, index: Index, file: h5py.File, version: str | None) -> Weights:
    """Return where each layer's weights stand in the open weights file of an archive."""
    # The first part of a path: archives from Windows have no group of just that name.
    roots = {group.split("/")[0] for group in index.groups}
    numbering = Numbering(
        prefix=next((p for p in PREFIXES if p in roots), NUMBERING.prefix),
        doubled=(version or "").startswith(_DOUBLING),
    )
    if tree is None:
        return Weights(index, {}, numbering=numbering)
    above = {parent for array in index.arrays for parent in parents(array)}
    groups = layer_groups(tree, lambda _, group: group in above, numbering)
    owners = {group: path for path, group in groups.items()}
    below: dict[LayerPath, list[str]] = {path: [] for path in groups}
    for array in sorted(index.arrays, key=_order):
        # A nested model counts the arrays of all layers below it.
        for parent in parents(array):
            if parent in owners:
                below[owners[parent]].append(array)
    of_layer = {path: tuple(arrays) for path, arrays in below.items()}
    problem = next(
        (p for path, group in groups.items() if (p := _misplaced(path, group, index, file))),
        _stray(tree, numbering.prefix, groups, index),
    )
    # It names what the file names, and ends up in a message.
    problem = None if problem is None else printable(problem)
    return Weights(index, of_layer, groups, numbering, problem=problem)


def _order(path: str) -> list[tuple[int, str]]:
    """Sort as Keras orders a layer's weights: ``vars/10`` after ``vars/9``, a query before its key."""
    return [
        (int(part), "") if part.isdecimal()
        else (_INNER.index(inner) - len(_INNER) - 1, "") if (inner := part.lstrip("_")) in _INNER
        else (-1, part)
        for part in path.split("/")
    ]  # fmt: skip


def _misplaced(path: LayerPath, group: str, index: Index, file: h5py.File) -> str | None:
    """Return a sentence if the name that Keras since 3.6 gives a ``vars`` group is another layer's."""
    source = index.groups.get(f"{group}/vars")
    name = text(file[source].attrs.get("name")) if source is not None else None
    if name is None or name == path[-1]:
        return None
    return f"{group} holds the weights of {name}, not of {path[-1]}"


def _stray(tree: Container, prefix: str, groups: dict[LayerPath, str], index: Index) -> str | None:
    """Return a sentence if a group belongs to no layer: then this Keras counts otherwise."""
    nested = (item.path for item in tree.walk() if item.inner is not None)
    parents = {prefix} | {f"{groups[path]}/{prefix}" for path in nested if path in groups}
    known = set(groups.values())
    for group in index.groups:
        if group.rpartition("/")[0] in parents and group not in known:
            return f"{group} belongs to no layer"
    return None
