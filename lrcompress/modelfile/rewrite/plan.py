"""What becomes of a model's layers, and what its new weights file holds, for both formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lrcompress.kinds import is_wrapped, peeled
from lrcompress.kinds.terms import as_dict
from lrcompress.modelfile import legacy, order
from lrcompress.modelfile.container import CONFIG, METADATA, OpenModel
from lrcompress.modelfile.graph import Container, Item, LayerPath
from lrcompress.modelfile.hdf5.arrays import Index, parents
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.order import computed
from lrcompress.modelfile.untrusted import dump_json, parse_json
from lrcompress.records import provenance


@dataclass(frozen=True, eq=False)
class NewArray:
    """An array to write: values in stored form, as from `hdf5.cast`, and ``"bfloat16"`` or NumPy's name."""

    values: NDArray[Any]
    dtype: str


@dataclass
class Changes:
    """A new architecture and its weights, in terms of the old ones; with sentences for the user."""

    config: dict[str, Any]
    # New layers by the one that they stand before and were split from.
    firsts: dict[LayerPath, tuple[LayerPath, ...]] = field(default_factory=dict)
    # Of each layer that is new, or of another class than before.
    arrays: dict[LayerPath, tuple[NewArray, ...]] = field(default_factory=dict)
    gone: set[LayerPath] = field(default_factory=set)
    # By the number of an array; None: it is no more. New ones stand behind those that are there.
    values: dict[tuple[LayerPath, int], NewArray | None] = field(default_factory=dict)
    # Names of the layers before a changed one that make it up with it, by its path.
    first_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """How to make the new HDF5 file from the old one, by canonical paths."""

    dropped: set[str] = field(default_factory=set)  # groups, with all below them
    moves: dict[str, str] = field(
        default_factory=dict
    )  # new by old path of a group, and so of all below
    groups: set[str] = field(default_factory=set)  # new ones beside the copied
    arrays: dict[str, NewArray] = field(
        default_factory=dict
    )  # new, or in the place of the copied one
    # By new group and name; None removes one.
    attributes: dict[tuple[str, str], Any] = field(default_factory=dict)
    # New content of an archive's members; all others are copied.
    members: dict[str, bytes] = field(default_factory=dict)

    def target(self, path: str) -> str | None:
        """Return where the object at `path` goes, None if it is left out."""
        above = (path, *parents(path))
        if not self.dropped.isdisjoint(above):
            return None
        moved = next((group for group in above if group in self.moves), None)
        return path if moved is None else self.moves[moved] + path[len(moved) :]

    def member(self, name: str) -> str:
        """Return the name of an archive's member: assets lie by the same paths as weights."""
        root, _, path = name.partition("/")
        return f"{root}/{self.target(path) or path}" if root == "assets" and path else name

    def targets(self, index: Index) -> tuple[dict[str, str], dict[str, str]]:
        """Return the new paths of all groups and of all copied arrays, each to its old path."""
        groups: dict[str, str] = {}
        arrays: dict[str, str] = {}
        for old, taken in [(i, groups) for i in index.groups] + [(i, arrays) for i in index.arrays]:
            new = self.target(old)
            if new is None or (taken is arrays and new in self.arrays):
                continue
            if new in groups or new in arrays:
                msg = f"{old} and another object would both become {new}"
                raise ValueError(msg)
            taken[new] = old
        return groups, arrays


def plan_texts(plan: Plan, model: ModelFile, source: OpenModel, config: dict[str, Any]) -> None:
    """Add the new architecture, and leave out what the old file says of its data and may not."""
    if model.format == "keras":
        plan.members[CONFIG] = dump_json(config).encode()
    else:
        plan.attributes["", "model_config"] = json_attribute(config)
    if not model.origin.altered:
        return
    kept = model.origin.kept
    if model.format == "hdf5":
        text_of = np.array(provenance.pack(kept), dtype=h5py.string_dtype("utf-8"))
        plan.attributes["", provenance.KEY] = text_of if kept else None
        return
    metadata = parse_json(
        plan.members.get(METADATA, source.metadata or b"{}"), model.path, METADATA
    )
    metadata.pop(provenance.KEY, None)
    if kept:
        metadata[provenance.KEY] = kept
    plan.members[METADATA] = dump_json(metadata).encode()


def json_attribute(value: dict[str, Any]) -> NDArray[Any]:
    """Return JSON of variable length, as fixed ends at 64 kB, in ASCII, as Keras up to 2.3 reads no UTF-8."""
    return np.array(dump_json(value), dtype=h5py.string_dtype("ascii"))


def plan_weights(model: ModelFile, tree: Container, source: h5py.File, changes: Changes) -> Plan:
    """Return a plan of the new weights file; optimizer state, which fits other variables, stays behind."""
    plan = _plan_archive if model.format == "keras" else _plan_legacy
    return plan(model, tree, source, changes)


def _plan_archive(model: ModelFile, tree: Container, source: h5py.File, changes: Changes) -> Plan:
    """Plan the weights of an archive: paths count layers by class, so whole groups move."""
    weights = model.weights
    new = order.layer_groups(
        tree,
        lambda path, _: path in changes.arrays or bool(weights.of_layer.get(path)),
        weights.numbering,
    )
    plan = Plan(dropped={order.OPTIMIZER, *(weights.groups[path] for path in changes.gone)})
    plan.moves = {group: new[path] for path, group in weights.groups.items() if path in new}
    items = {item.path: item for item in tree.walk()}
    groups = weights.index.groups.items()
    named = any("name" in source[g].attrs for c, g in groups if c.rpartition("/")[2] == "vars")
    for path, arrays in changes.arrays.items():
        if path in weights.groups:
            plan.dropped.update(weights.paths(path))
        else:
            _plan_groups(plan, items[path], new[path], named=named)
        where = new[path] + _within(items[path])
        plan.arrays |= {f"{where}/{number}": array for number, array in enumerate(arrays)}
    for (path, number), array in changes.values.items():
        old = weights.paths(path)
        if array is None:
            plan.dropped.add(old[number])
        elif number < len(old):
            plan.arrays[plan.target(old[number]) or old[number]] = array
        else:
            last = (
                plan.target(old[-1]) or old[-1] if old else f"{new[path]}{_within(items[path])}/-1"
            )
            where, _, at = last.rpartition("/")
            plan.arrays[f"{where}/{int(at) + number + 1 - len(old)}"] = array
    return plan


def _within(item: Item) -> str:
    """Return where below a new layer's group its arrays stand."""
    return "/layer/vars" if is_wrapped(item.entry) else "/vars"


def _plan_groups(plan: Plan, item: Item, group: str, *, named: bool) -> None:
    """Plan the groups of a new layer, named from Keras 3.6 on; 2.14 and 2.15 ask for each ``vars``, empty or not."""
    for place, entry in {
        f"{group}{_within(item)}": peeled(item.entry),
        f"{group}/vars": item.entry,
    }.items():
        plan.groups |= {place, *(above for above in parents(place) if above.startswith(group))}
        if named:
            plan.attributes[place, "name"] = as_dict(entry.get("config")).get("name", item.name)


def _plan_legacy(model: ModelFile, tree: Container, source: h5py.File, changes: Changes) -> Plan:
    """Plan the weights of an HDF5 file: nothing moves, new names stand in the right places."""
    from lrcompress.modelfile.rewrite.names import Names

    plan = Plan(dropped={legacy.OPTIMIZER})
    split = {path: old for old, paths in changes.firsts.items() for path in paths}
    new_names = Names(model, tree, split)
    for path in sorted(changes.gone):
        plan.dropped.update(new_names.remove(path))
    for (path, number), array in changes.values.items():
        old = model.weights.paths(path)
        if array is None:
            plan.dropped.add(old[number])
            new_names.remove_array(path, old[number])
        elif number < len(old):
            plan.arrays[old[number]] = array
        else:
            plan.arrays[new_names.add_bias(path)] = array
    # In Keras' order: several new layers may stand before one place of a nested model's list.
    for path in (item.path for item in computed(tree) if item.path in changes.arrays):
        arrays = changes.arrays[path]
        if path in split:
            names = new_names.add(split[path], path, len(arrays))
        else:
            plan.dropped.update(model.weights.paths(path))
            names = new_names.exchange(path, len(arrays))
        plan.arrays.update(zip(names, arrays, strict=True))
    plan.attributes.update(new_names.attributes(source))
    changes.warnings += new_names.warnings
    return plan


def write_plan(
    plan: Plan, source: h5py.File, index: Index, target: h5py.File, go_on: Callable[[], None]
) -> None:
    """Fill an HDF5 file in sorted order, so that equal input gives equal bytes; `go_on` raises what stops it."""
    groups, arrays = plan.targets(index)
    _copy_attributes(source, target, "", plan)
    for new in sorted({*groups, *plan.groups, *(path for path, _ in plan.attributes if path)}):
        group = target.require_group(new)
        if new in groups:
            _copy_attributes(source[index.groups[groups[new]]], group, new, plan)
    for new in sorted({*arrays, *plan.arrays}):
        go_on()
        parent, _, name = new.rpartition("/")
        group = target.require_group(parent) if parent else target
        if new in plan.arrays:
            _create(group, name, plan.arrays[new])
        else:
            source.copy(source[index.arrays[arrays[new]].source], group, name=name)
    for (path, name), value in sorted(plan.attributes.items(), key=lambda entry: entry[0]):
        if value is not None:
            (target[path] if path else target).attrs[name] = value


def _copy_attributes(source: h5py.Group, target: h5py.Group, path: str, plan: Plan) -> None:
    """Copy a group's attributes with their exact types, but for those the plan overrides."""
    for name in sorted(source.attrs):
        if (path, name) in plan.attributes:
            continue
        identity = source.attrs.get_id(name)
        value = source.attrs[name]
        if isinstance(value, h5py.Empty):
            target.attrs[name] = value
        else:
            target.attrs.create(name, value, shape=identity.shape, dtype=identity.dtype)


def _create(group: h5py.Group, name: str, array: NewArray) -> None:
    """Store an array as Keras does: contiguous, no time stamp, bfloat16 marked by an attribute."""
    dataset = group.create_dataset(name, data=array.values, track_times=False)
    if array.dtype == "bfloat16":
        dataset.attrs["dtype"] = "bfloat16"
