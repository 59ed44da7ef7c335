"""Where the weights of the new model stand: what moves, what is new, and where Keras will look for it."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from lrcompress.kinds.terms import as_dict
from lrcompress.modelfile import archive, legacy
from lrcompress.modelfile.container import CONFIG, METADATA, OpenModel
from lrcompress.modelfile.graph import Container, Item
from lrcompress.modelfile.graph import Path as LayerPath
from lrcompress.modelfile.hdf5 import Index, text
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.rewrite.names import Names
from lrcompress.modelfile.rewrite.plan import Changes, NewArray, Plan
from lrcompress.modelfile.untrusted import dump_json, parse_json
from lrcompress.records import provenance


def plan_config(plan: Plan, kind: str, config: dict[str, Any]) -> None:
    """Add the new architecture to a plan for ``"hdf5"`` or ``"keras"``."""
    if kind == "keras":
        plan.members[CONFIG] = dump_json(config).encode()
    else:
        plan.attributes["", "model_config"] = json_attribute(config)


def plan_origin(plan: Plan, model: ModelFile, source: OpenModel) -> None:
    """Leave out of a plan what the old file says of its data and may not: it is not handed on."""
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
    """Return a JSON object as an attribute that every Keras reads.

    Of variable length, because fixed-length attributes end at 64 kB; ASCII, which JSON text is,
    because Keras up to 2.3 cannot read it as UTF-8.
    """
    return np.array(dump_json(value), dtype=h5py.string_dtype("ascii"))


def plan_weights(
    model: ModelFile, tree: Container, source: h5py.File, changes: Changes
) -> tuple[Plan, list[str]]:
    """Return a plan of the new weights file, of either format, and sentences for the user.

    `tree` is the new architecture, `source` the old weights.
    """
    if model.format == "keras":
        return _plan_archive(model, tree, source, changes)
    return _plan_legacy(model, tree, source, changes)


def _put(plan: Plan, model: ModelFile, path: LayerPath, number: int, array: NewArray) -> bool:
    """Plan new values in the place of a layer's array; return whether there is one."""
    old = model.weights.of_layer[path]
    if number < len(old):
        plan.arrays[plan.target(old[number]) or old[number]] = array
    return number < len(old)


def _plan_archive(
    model: ModelFile, tree: Container, source: h5py.File, changes: Changes
) -> tuple[Plan, list[str]]:
    """Plan the weights of a `.keras` archive.

    The paths count layers by class, so all are derived anew and whole groups move. Each new layer
    gets the groups of the one it was split from: Keras 2.14 and 2.15 ask for a ``vars`` group in
    every layer, empty or not. Optimizer state, which fits other variables, stays behind.
    """
    weights, firsts = model.weights, changes.firsts
    new = archive.layer_groups(
        tree,
        lambda path, _: path in changes.arrays or bool(weights.of_layer.get(path)),
        weights.numbering,
    )
    plan = Plan(dropped={archive.OPTIMIZER, *(weights.groups[path] for path in changes.gone)})
    plan.moves = {group: new[path] for path, group in weights.groups.items() if path in new}
    items = {item.path: item for item in tree.walk()}
    below = _groups_below(weights.index, {weights.groups[path] for path in firsts})
    for old_path, path in _pairs(changes):
        old_group = weights.groups[old_path]
        kernel = new[path] + weights.of_layer[old_path][0][len(old_group) :]
        for number, values in enumerate(changes.arrays[path]):
            plan.arrays[f"{kernel.rpartition('/')[0]}/{number}" if number else kernel] = values
        for group in below[old_group]:
            twin = new[path] + group[len(old_group) :]
            plan.groups.add(twin)
            name = text(source[weights.index.groups[group]].attrs.get("name"))
            if name is not None:
                plan.attributes[twin, "name"] = _name_of(items[path], group == old_group + "/vars")
    for (path, number), array in changes.values.items():
        if array is None:
            plan.dropped.add(weights.of_layer[path][number])
        elif not _put(plan, model, path, number, array):
            kernel = weights.of_layer[path][0]
            place = plan.target(kernel) or kernel
            plan.arrays[f"{place.rpartition('/')[0]}/{number}"] = array
    return plan, []


def _pairs(changes: Changes) -> list[tuple[LayerPath, LayerPath]]:
    """Return every new layer behind the one that it was split from."""
    return [(old, path) for old, paths in changes.firsts.items() for path in paths]


def _groups_below(index: Index, roots: set[str]) -> dict[str, list[str]]:
    """Return each of some groups with all groups below it."""
    found: dict[str, list[str]] = {root: [] for root in roots}
    for group in index.groups:
        parent = group
        while parent:
            if parent in found:
                found[parent].append(group)
            parent = parent.rpartition("/")[0]
    return found


def _name_of(item: Item, itself: bool) -> str:
    """Return the name that a new layer's ``vars`` group carries: its own, or the wrapped one's."""
    wrapped = as_dict(as_dict(item.config.get("layer")).get("config")).get("name")
    return item.name if itself or not isinstance(wrapped, str) else wrapped


def _plan_legacy(
    model: ModelFile, tree: Container, source: h5py.File, changes: Changes
) -> tuple[Plan, list[str]]:
    """Plan the weights of an HDF5 file: nothing moves, new names stand in the right places."""
    plan = Plan(dropped={legacy.OPTIMIZER})
    new_names = Names(model, tree, _pairs(changes))
    for path in sorted(changes.gone):
        plan.dropped.update(new_names.remove(path))
    for (path, number), array in changes.values.items():
        if array is None:
            name = model.weights.of_layer[path][number]
            plan.dropped.add(name)
            new_names.remove_array(path, name)
        elif not _put(plan, model, path, number, array):
            plan.arrays[new_names.add_bias(path)] = array
    for old_path, path in _pairs(changes):
        arrays = changes.arrays[path]
        plan.arrays.update(zip(new_names.add(old_path, path, len(arrays)), arrays, strict=True))
    plan.attributes.update(new_names.attributes(source))
    return plan, new_names.warnings
