"""Write a copy of a model file in the terms of Keras 3."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lrcompress.errors import UnsupportedModelError, VerificationError
from lrcompress.files import replacing
from lrcompress.modelfile import archive, legacy
from lrcompress.modelfile.container import METADATA, OpenModel, opened
from lrcompress.modelfile.graph import Container, Item, build
from lrcompress.modelfile.graph import Path as LayerPath
from lrcompress.modelfile.hdf5 import StoredArray, cast, read_array, text
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.modern.compiling import modern_compile_settings
from lrcompress.modelfile.modern.graph import modern_model
from lrcompress.modelfile.modern.names import rename
from lrcompress.modelfile.modern.notes import Notes
from lrcompress.modelfile.modern.weights import Origin, conversions, uses_hard_sigmoid_inside
from lrcompress.modelfile.read import changed, describe
from lrcompress.modelfile.rewrite.names import list_attributes
from lrcompress.modelfile.rewrite.place import json_attribute, plan_config, plan_origin
from lrcompress.modelfile.rewrite.plan import NewArray, Plan
from lrcompress.modelfile.rewrite.verify import read_back
from lrcompress.modelfile.rewrite.write import check_place, write_model
from lrcompress.modelfile.untrusted import decoding, dump_json, parse_json

# What a modernized file says of itself: the conventions of the first Keras 3, which all keep.
KERAS_VERSION = "3.0.0"
# Sub-layers that Keras 2 kept under a private name.
_PRIVATE = ("_query_dense", "_key_dense", "_value_dense", "_output_dense")


@dataclass(frozen=True)
class Modernized:
    """What `write_modernized` has put in place.

    Attributes:
        path: The new file.
        size: Its bytes.
        changes: What was rewritten, a line each; the model computes the same.
        warnings: Sentences about what may differ, or what Keras 3 cannot load by itself.
        optimizer_bytes: Bytes of optimizer state in the old file, which the new one does without.
    """

    path: Path
    size: int
    changes: tuple[str, ...]
    warnings: tuple[str, ...]
    optimizer_bytes: int


def write_modernized(model: ModelFile, output: Path, *, overwrite: bool = False) -> Modernized:
    """Write a copy of a model file that plain Keras 3 loads, as far as its layers allow.

    The format stays. Weights are copied bit by bit but for those that Keras 3 holds or computes
    with otherwise, which are named in `changes`. The file is read back and compared before it
    takes its place.

    Args:
        model: The file to start from; it is not touched.
        output: Where to write.
        overwrite: Whether an existing `output` may be replaced.

    Raises:
        UnsupportedModelError: If it lists no layers, or its weights do not follow its architecture.
        OutputError: If the output cannot be written.
        ModelFileError: If the input cannot be read or has changed since `model` was read.
        VerificationError: If the written file is not what was meant; it is then not put in place.
    """
    if model.tree is None:
        msg = (
            f"{model.path} is a subclassed model ({model.class_name}), which lists no layers; "
            "expected a Sequential or functional model: only its own code can load it."
        )
        raise UnsupportedModelError(msg, code="subclassed")
    output = check_place(model, output, overwrite=overwrite)
    notes = Notes()
    with opened(model.path) as source:
        with decoding(model.path):
            if describe(model.path, source).stamp != model.stamp:
                raise changed(model.path)
            origin = _origin(model, source)
            config = copy.deepcopy(model.config)
            modern_model(config, origin.era, notes)
            tree = build(config)
            if tree is None:
                raise changed(model.path)
            plan = _plan(model, tree, source, notes)
            _convert_weights(model, plan, source, origin, notes)
            compiled = model.compile_config
            settings = modern_compile_settings(compiled, notes) if compiled else None
            renamed = rename(config, settings, notes)
            if model.format == "hdf5":
                _rename_groups(plan, model, renamed, source)
            _plan_texts(plan, model, source, config, settings)
        with replacing(output, overwrite=overwrite, like=model.path) as temporary:
            write_model(source, model.weights.index, plan, temporary, model.path)
            written = read_back(source, model, plan, temporary, output)
            if written.config != config or written.weights.problem is not None:
                msg = (
                    f"{output} was not written: its architecture does not read back; "
                    "please report this."
                )
                raise VerificationError(msg)
    return Modernized(output, written.size, notes.changes, notes.warnings, model.optimizer_bytes)


def _origin(model: ModelFile, source: OpenModel) -> Origin:
    """Return which Keras, on what, wrote a file; before 2.0 it did not say."""
    version = model.keras_version or ("1" if model.format == "hdf5" else "3")
    first = version.split(".")[0]
    # TensorFlow.js writes configs of Keras 2 under a version of its own.
    era = int(first) if first in ("1", "2", "3") else 2
    root = source.weights.get(legacy.ROOT, source.weights)
    backend = text(root.attrs.get("backend")) or text(source.weights.attrs.get("backend"))
    return Origin(era, backend == "theano")


def _plan(model: ModelFile, tree: Container, source: OpenModel, notes: Notes) -> Plan:
    """Plan where the weights go."""
    weights = model.weights
    if model.format == "keras":
        plan = Plan(dropped={archive.OPTIMIZER})
        new = archive.layer_groups(tree, lambda path, _: bool(weights.of_layer.get(path)))
        plan.moves = {group: new[path] for path, group in weights.groups.items() if path in new}
        operations = {item.path for item in tree.walk() if item.is_operation}
        plan.dropped |= {group for path, group in weights.groups.items() if path in operations}
        for group in weights.index.groups:
            name = group.rpartition("/")[2]
            if name in _PRIVATE:
                moved = plan.target(group)
                plan.moves[group] = f"{str(moved).rpartition('/')[0]}/{name[1:]}"
        if plan.moves != {group: group for group in plan.moves}:
            notes.changed("weights put where Keras 3 looks for them")
        if source.archive is not None and METADATA in source.archive.namelist():
            metadata = parse_json(source.metadata or b"{}", model.path, METADATA)
            metadata["keras_version"] = KERAS_VERSION
            plan.members[METADATA] = dump_json(metadata).encode()
        return plan
    plan = Plan(dropped={legacy.OPTIMIZER})
    version = h5py.string_dtype("ascii")
    for group in ("", legacy.ROOT):
        plan.attributes[group, "keras_version"] = np.array(KERAS_VERSION, dtype=version)
        plan.attributes[group, "backend"] = np.array("tensorflow", dtype=version)
    return plan


def _plan_texts(
    plan: Plan,
    model: ModelFile,
    source: OpenModel,
    config: dict[str, Any],
    settings: dict[str, Any] | None,
) -> None:
    """Add the architecture and the compile settings to a plan."""
    if model.format == "keras":
        config["compile_config"] = settings
        if settings is None:
            del config["compile_config"]
    elif model.compile_config:
        value = None if settings is None else json_attribute(settings)
        plan.attributes["", "training_config"] = value
    plan_config(plan, model.format, config)
    plan_origin(plan, model, source)


def _rename_groups(
    plan: Plan, model: ModelFile, renamed: dict[LayerPath, str], source: OpenModel
) -> None:
    """Give the groups of renamed layers, and the lists of them, their new names."""
    weights = model.weights
    outer = {path[0]: name for path, name in renamed.items() if len(path) == 1}
    inner = {path[-1]: name for path, name in renamed.items() if len(path) > 1}
    root = source.weights.get(legacy.ROOT)
    if not renamed or root is None:
        return
    plan.moves |= {legacy.canonical(old): legacy.canonical(new) for old, new in outer.items()}
    listed = [outer.get(name, name) for name in weights.layer_names]
    plan.attributes.update(list_attributes(legacy.ROOT, "layer_names", listed, root))
    for layer, names in weights.weight_names.items():
        fresh = [_renamed_parts(name, inner) for name in names]
        here = outer.get(layer, layer)
        for old, new in zip(names, fresh, strict=True):
            if old != new:
                group, moved = legacy.canonical(layer, old), legacy.canonical(here, new)
                plan.moves[group.rpartition("/")[0]] = moved.rpartition("/")[0]
        if list(names) != fresh:
            like = root[layer]
            where = legacy.canonical(here)
            plan.attributes.update(list_attributes(where, "weight_names", fresh, like))
    plan.arrays = {plan.target(path) or path: array for path, array in plan.arrays.items()}
    plan.attributes = {
        (plan.target(group) or group, name): value
        for (group, name), value in plan.attributes.items()
    }


def _renamed_parts(weight: str, inner: dict[str, str]) -> str:
    """Return the path of a weight with the new names of the layers in it."""
    for old, new in inner.items():
        weight = f"/{weight}".replace(f"/{old}/", f"/{new}/")[1:]
    return weight


def _convert_weights(
    model: ModelFile, plan: Plan, source: OpenModel, origin: Origin, notes: Notes
) -> None:
    """Add the weights that have to be converted to a plan."""
    weight_names = {name: list(names) for name, names in model.weights.weight_names.items()}
    touched: set[str] = set()
    for item in model.tree.walk() if model.tree is not None else ():
        path = "/".join(item.path)
        if origin.era < 3 and uses_hard_sigmoid_inside(item.entry):
            notes.warn(
                "Keras 3 computes hard_sigmoid as x / 6 + 0.5, and Keras before it as 0.2 x + 0.5: "
                "the outputs differ.", path,
            )  # fmt: skip
        steps = conversions(item.entry, origin) if item.inner is None else []
        stored = [model.weights.index.arrays[p] for p in model.weights.of_layer.get(item.path, ())]
        if not steps or not stored:
            continue
        old = [read_array(source.weights, array) for array in stored]
        new = old
        for what, step in steps:
            result = step(new)
            if result is not new:
                notes.changed(what, path)
            new = result
        if new is not old:
            outer = _put(model, plan, item, stored, new, weight_names)
            touched |= outer
    for outer_name in touched:
        like = source.weights[legacy.ROOT][outer_name]
        names = weight_names[outer_name]
        plan.attributes.update(
            list_attributes(legacy.canonical(outer_name), "weight_names", names, like)
        )


def _put(
    model: ModelFile,
    plan: Plan,
    item: Item,
    stored: list[StoredArray],
    new: list[Any],
    weight_names: dict[str, list[str]],
) -> set[str]:
    """Add one layer's new arrays; return the outer layer whose list of names changed, if any."""
    paths = model.weights.of_layer[item.path]
    arrays = [NewArray(cast(a, stored[0].dtype), stored[0].dtype) for a in new]
    if len(new) == len(stored):
        for path, array in zip(paths, arrays, strict=True):
            plan.arrays[str(plan.target(path))] = array
        return set()
    # Keras 1 kept one array for each gate; in their place come those of the joined layer.
    outer = item.path[0]
    names = weight_names[outer]
    place = [legacy.canonical(outer, name) for name in names].index(paths[0])
    parts = ("kernel", "recurrent_kernel", "bias")
    # Six arrays are those of a Bidirectional: all of the forward layer, then the backward one's.
    sides = ("",) if len(new) <= len(parts) else ("forward_", "backward_")
    fresh = [f"{item.name}/{side}{part}" for side in sides for part in parts]
    weight_names[outer] = names[:place] + fresh[: len(new)] + names[place + len(stored) :]
    plan.dropped.update(paths)
    for name, array in zip(fresh, arrays, strict=False):
        plan.arrays[legacy.canonical(outer, name)] = array
    return {outer}
