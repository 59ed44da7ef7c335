"""Where a `.keras` archive keeps the weights of each layer, and whether that is so."""

from __future__ import annotations

import h5py

from lrcompress.errors import printable
from lrcompress.modelfile.graph import Container, Item
from lrcompress.modelfile.graph import Path as LayerPath
from lrcompress.modelfile.hdf5 import Index, text
from lrcompress.modelfile.model import Weights
from lrcompress.modelfile.numbering import DOUBLING, PREFIXES, Numbering

OPTIMIZER = "optimizer"


def locate(tree: Container | None, index: Index, file: h5py.File, version: str | None) -> Weights:
    """Return where each layer's weights stand in the open weights file of an archive.

    Args:
        tree: The architecture; None gives an answer without layers.
        index: All objects of `file`.
        file: The open ``model.weights.h5``.
        version: The Keras version that wrote it, where known.
    """
    # The first part of a path: archives from Windows have no group of just that name.
    roots = {group.split("/")[0] for group in index.groups}
    numbering = Numbering(
        prefix=next((p for p in PREFIXES if p in roots), PREFIXES[0]),
        doubled=(version or "").startswith(DOUBLING),
    )
    if tree is None:
        return Weights(index, {}, numbering=numbering)
    above = {parent for array in index.arrays for parent in _parents(array)}
    groups = numbering.groups(tree, lambda _, group: group in above)
    owners = {group: path for path, group in groups.items()}
    below: dict[LayerPath, list[str]] = {path: [] for path in groups}
    for array in sorted(index.arrays, key=_numeric):
        # A nested model counts the arrays of all layers below it.
        for parent in _parents(array):
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


def _parents(path: str) -> list[str]:
    """Return all groups above an array, the nearest first."""
    found = []
    while path := path.rpartition("/")[0]:
        found.append(path)
    return found


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
    return isinstance(identity, int) and tree.identities[identity] > 1
