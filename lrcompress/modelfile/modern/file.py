"""Write a copy of a model file in the terms of Keras 3."""

from __future__ import annotations

import copy
from pathlib import Path

import h5py
import numpy as np

from lrcompress.errors import UnsupportedModelError
from lrcompress.files import replacing
from lrcompress.modelfile import legacy, order
from lrcompress.modelfile.container import METADATA, OpenModel, opened
from lrcompress.modelfile.graph import Container, Item, LayerPath, build
from lrcompress.modelfile.hdf5.arrays import cast, read_array, text
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.modern.compiling import modern_compile_settings
from lrcompress.modelfile.modern.layouts import Arrays
from lrcompress.modelfile.modern.models import modern_model, rename
from lrcompress.modelfile.modern.notes import Notes
from lrcompress.modelfile.modern.weights import conversions, uses_hard_sigmoid_inside
from lrcompress.modelfile.read import changed, check_unchanged
from lrcompress.modelfile.rewrite.names import list_attributes
from lrcompress.modelfile.rewrite.plan import NewArray, Plan, json_attribute, plan_texts
from lrcompress.modelfile.rewrite.write import check_place, read_back, write_model
from lrcompress.modelfile.untrusted import decoding, dump_json, parse_json

# What a modernized file says of itself: the conventions of the first Keras 3, which all keep.
KERAS_VERSION = "3.0.0"
# Sub-layers that Keras 2 kept under a private name.
_PRIVATE = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")
_PARTS = ("kernel", "recurrent_kernel", "bias")
_WeightNames = dict[str, list[str]]  # by outer layer of an HDF5 file


def write_modernized(model: ModelFile, output: Path, *, overwrite: bool = False) -> Notes:
    """Write a copy of a model file that plain Keras 3 loads, as far as its layers allow."""
    if model.tree is None:
        msg = (
            f"{model.path} is a subclassed model ({model.class_name}), which lists no layers; "
            "expected a Sequential or functional model: only its own code can load it."
        )
        raise UnsupportedModelError(msg, code="subclassed")
    output = check_place(model, output, overwrite=overwrite)
    with opened(model.path) as source:
        with decoding(model.path):
            check_unchanged(model)
            notes, config = Notes(_era(model)), copy.deepcopy(model.config)
            modern_model(config, notes)
            tree = build(config)
            if tree is None:
                raise changed(model.path)
            plan = _plan(model, tree, source, notes)
            names = _convert_weights(model, plan, source, notes)
            compiled = model.compile_config
            settings = modern_compile_settings(compiled, notes) if compiled else None
            renamed = rename(config, settings, notes)
            _plan_names(plan, model, names, renamed, source)
            if model.format == "keras":
                config["compile_config"] = settings
                if settings is None:
                    del config["compile_config"]
            elif compiled:
                value = None if settings is None else json_attribute(settings)
                plan.attributes["", "training_config"] = value
            plan_texts(plan, model, source, config)
        with replacing(output, overwrite=overwrite, like=model.path) as temporary:
            write_model(source, model.weights.index, plan, temporary, model.path)
            read_back(source, model, plan, temporary, output, config)
    return notes


def _era(model: ModelFile) -> int:
    """Return the major version of the Keras that wrote a file; before 2.0 it did not say."""
    first = (model.keras_version or ("1" if model.format == "hdf5" else "3")).split(".")[0]
    # TensorFlow.js writes configs of Keras 2 under a version of its own.
    return int(first) if first in ("1", "2", "3") else 2


def _plan(model: ModelFile, tree: Container, source: OpenModel, notes: Notes) -> Plan:
    """Plan where the weights go, and what the file says of its Keras."""
    weights = model.weights
    if model.format == "hdf5":
        plan = Plan(dropped={legacy.OPTIMIZER})
        for group in ("", legacy.ROOT):
            for name, value in (("keras_version", KERAS_VERSION), ("backend", "tensorflow")):
                plan.attributes[group, name] = np.array(value, h5py.string_dtype("ascii"))
        return plan
    new = order.layer_groups(tree, lambda path, _: bool(weights.of_layer.get(path)))
    operations = {item.path for item in tree.walk() if item.is_operation}
    plan = Plan(
        dropped={order.OPTIMIZER, *(weights.groups[p] for p in operations & set(weights.groups))}
    )
    plan.moves = {group: new[path] for path, group in weights.groups.items() if path in new}
    for group in weights.index.groups:
        name = group.rpartition("/")[2]
        if name in _PRIVATE:
            plan.moves[group] = f"{str(plan.target(group)).rpartition('/')[0]}/{name[1:]}"
    if any(old != moved for old, moved in plan.moves.items()):
        notes.changed("weights put where Keras 3 looks for them")
    if source.archive is not None and METADATA in source.archive.namelist():
        metadata = parse_json(source.metadata or b"{}", model.path, METADATA)
        metadata["keras_version"] = KERAS_VERSION
        plan.members[METADATA] = dump_json(metadata).encode()
    return plan


def _convert_weights(model: ModelFile, plan: Plan, source: OpenModel, notes: Notes) -> _WeightNames:
    """Add the weights that have to be converted to a plan, and return the names of all weights."""
    names = {layer: list(listed) for layer, listed in model.weights.weight_names.items()}
    root = source.weights.get(legacy.ROOT, source.weights)
    backend = text(root.attrs.get("backend")) or text(source.weights.attrs.get("backend"))
    for item in model.tree.walk() if model.tree is not None else ():
        here = notes.inside("/".join(item.path))
        if notes.era < 3 and uses_hard_sigmoid_inside(item.entry):
            here.warn(
                "Keras 3 computes hard_sigmoid as x / 6 + 0.5, and Keras before it as 0.2 x + 0.5: "
                "the outputs differ."
            )
        paths = model.weights.of_layer.get(item.path, ())
        if item.inner is not None or not paths:
            continue
        steps = conversions(item.entry, notes.era, theano=backend == "theano")
        old = [read_array(source.weights, model.weights.index.arrays[p]) for p in paths if steps]
        new = old
        for what, step in steps:
            result = step(new)
            if result is not new:
                here.changed(what)
            new = result
        if new is not old:
            _put(model, plan, item, new, names)
    return names


def _put(model: ModelFile, plan: Plan, item: Item, new: Arrays, names: _WeightNames) -> None:
    """Add one layer's new arrays to a plan, and their names to those of its outer layer."""
    paths, outer = model.weights.of_layer[item.path], item.path[0]
    dtype = model.weights.index.arrays[paths[0]].dtype
    arrays = [NewArray(cast(array, dtype), dtype) for array in new]
    if len(new) == len(paths):
        plan.arrays |= {str(plan.target(path)): a for path, a in zip(paths, arrays, strict=True)}
        return
    # Keras 1 kept one array for each gate; in their place come those of the joined layer.
    place = [legacy.canonical(outer, name) for name in names[outer]].index(paths[0])
    # Six arrays are those of a Bidirectional: all of the forward layer, then the backward one's.
    sides = ("",) if len(new) <= len(_PARTS) else ("forward_", "backward_")
    fresh = [f"{item.name}/{side}{part}" for side in sides for part in _PARTS][: len(new)]
    names[outer][place : place + len(paths)] = fresh
    plan.dropped.update(paths)
    for name, array in zip(fresh, arrays, strict=False):
        plan.arrays[legacy.canonical(outer, name)] = array


def _plan_names(
    plan: Plan,
    model: ModelFile,
    names: _WeightNames,
    renamed: dict[LayerPath, str],
    source: OpenModel,
) -> None:
    """Give the groups of renamed layers of an HDF5 file, and all lists of names, their new ones."""
    weights, root = model.weights, source.weights.get(legacy.ROOT)
    outer = {path[0]: name for path, name in renamed.items() if len(path) == 1}
    inner = {path[-1]: name for path, name in renamed.items() if len(path) > 1}
    if model.format != "hdf5" or root is None:
        return
    plan.moves |= {legacy.canonical(old): legacy.canonical(new) for old, new in outer.items()}
    if renamed:
        listed = [outer.get(name, name) for name in weights.layer_names]
        plan.attributes |= list_attributes(legacy.ROOT, "layer_names", listed, root)
    for layer, old_names in weights.weight_names.items():
        here = outer.get(layer, layer)
        for old in old_names:
            new = _renamed(old, inner)
            if old != new:
                group, moved = legacy.canonical(layer, old), legacy.canonical(here, new)
                plan.moves[group.rpartition("/")[0]] = moved.rpartition("/")[0]
        fresh = [_renamed(name, inner) for name in names[layer]]
        if fresh != list(old_names):
            where = legacy.canonical(here)
            plan.attributes |= list_attributes(where, "weight_names", fresh, root[layer])
    plan.arrays = {plan.target(path) or path: array for path, array in plan.arrays.items()}
    plan.attributes = {
        (plan.target(group) or group, name): value
        for (group, name), value in plan.attributes.items()
    }


def _renamed(weight: str, inner: dict[str, str]) -> str:
    for old, new in inner.items():
        weight = f"/{weight}".replace(f"/{old}/", f"/{new}/")[1:]
    return weight
