"""The order in which Keras holds the layers of a rebuilt model, and where a `.keras` archive keeps their weights.

Weights are stored and loaded by position in this order, not by name, so the place of a new layer
follows from it: depth to the outputs descending, ties in the order of a depth-first search from
the outputs. This computation from the config alone reproduced the saved order of 73 of 74
functional models found in the wild.

The paths of the layers' groups in an archive are made of class names and counters, never of the layer's name:
``layers/functional_1/layers/dense_2/vars/0`` is the third Dense, in Keras' order, of the second
nested functional model. One more layer renumbers every later one of its class and container.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import h5py

from lrcompress.errors import printable
from lrcompress.modelfile.graph import Container, Item, LayerPath, Ref
from lrcompress.modelfile.hdf5.arrays import Index, parents, text
from lrcompress.modelfile.model import NUMBERING, Numbering, Weights

_Call = tuple[Item, int]


def layer_order(container: Container) -> list[Item]:
    """Return the layers of a container in Keras' order, but for those that no output depends on."""
    return list(_of_container(container))


def computed(container: Container) -> list[Item]:
    """Return all layers in the order in which they are computed, those of nested models behind them."""
    found = []
    for item in layer_order(container):
        found.append(item)
        if item.inner is not None:
            found += computed(item.inner)
    return found


def call_order(container: Container) -> list[tuple[Item, int]]:
    """Return every call (layer, number) that an output depends on, those before it first."""
    if container.sequential:
        return [(item, 0) for item in container.items]
    return _search(container)[0]


def leads_to_output(item: Item) -> bool:
    """Return whether Keras holds a layer of the config in its rebuilt model at all."""
    return item in _of_container(item.container)


def feeder(item: Item) -> Item | None:
    """Return the layer that feeds a layer at each of its calls, and nothing else."""
    container = item.container
    refs = [call[0] if call else None for call in item.calls]
    first = container.by_name.get(refs[0].layer) if refs and refs[0] else None
    if first is None or first is item or len(first.calls) != len(refs):
        return None
    own = [Ref(first.name, number, 0) for number in range(len(refs))]
    return first if refs == own and all(container.uses[ref] == 1 for ref in own) else None


def _of_container(container: Container) -> dict[Item, None]:
    """Return the order, worked out on the first call only."""
    if container.order is None:
        work_out = (lambda c: c.items) if container.sequential else _by_depth
        container.order = dict.fromkeys(work_out(container))
    return container.order


def _by_depth(container: Container) -> list[Item]:
    """Return the layers of a functional model, the farthest from the outputs first."""
    finished, first_seen = _search(container)
    depth_of_call: dict[_Call, int] = {}
    depth_of: dict[Item, int] = {}
    for call in reversed(finished):
        item = call[0]
        # A layer used at several depths counts with the greatest.
        depth = max(depth_of_call.get(call, 0), depth_of.get(item, 0))
        depth_of[item] = depth_of_call[call] = depth
        for parent in _parents(container, call):
            depth_of_call[parent] = max(depth + 1, depth_of_call.get(parent, 0))
    for ref in container.inputs:
        item = container.by_name[ref.layer]
        if item not in depth_of:
            # An input that nothing uses stands first among the last.
            depth_of[item], first_seen[item] = 0, -1
    return sorted(depth_of, key=lambda item: (-depth_of[item], first_seen[item]))


def _parents(container: Container, call: _Call) -> list[_Call]:
    item, node = call
    return [resolve(container, ref) for ref in item.calls[node]] if item.calls else []


def resolve(container: Container, ref: Ref) -> _Call:
    """Return the call that produces a tensor."""
    item = container.by_name[ref.layer]
    # A number past the list occurs where a file counts calls made outside this model.
    return item, min(max(ref.node, 0), max(len(item.calls) - 1, 0))


def _search(container: Container) -> tuple[list[_Call], dict[Item, int]]:
    """Return the calls as a depth-first search from the outputs completes them, and layers as it sees them."""
    finished: list[_Call] = []
    done: set[_Call] = set()
    active: set[_Call] = set()
    first_seen: dict[Item, int] = {}
    for output in container.outputs:
        # A real graph can be deeper than Python's stack.
        stack: list[tuple[_Call, bool]] = [(resolve(container, output), False)]
        while stack:
            call, leaving = stack.pop()
            if leaving:
                active.discard(call)
                done.add(call)
                finished.append(call)
                continue
            if call in done:
                continue
            if call in active:
                msg = f"the graph has a cycle through layer {call[0].name}"
                raise ValueError(msg)
            first_seen.setdefault(call[0], len(first_seen))
            active.add(call)
            stack.append((call, True))
            stack.extend((parent, False) for parent in reversed(_parents(container, call)))
    return finished, first_seen


OPTIMIZER = "optimizer"
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
