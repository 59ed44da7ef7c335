"""A serialized model of Keras 1 or 2, with all models nested in it, in the terms of Keras 3."""

from __future__ import annotations

from typing import Any

from lrcompress.kinds.terms import as_dict, is_built_in, own_input_shape, shape
from lrcompress.modelfile.graph import (
    OPERATIONS,
    Container,
    Item,
    LayerPath,
    build,
    container_kind,
    is_leaf,
    unused_name,
)
from lrcompress.modelfile.modern.calls import Reference, modern_calls, replaced
from lrcompress.modelfile.modern.layers import MODELS, modern_layer, wrapped_layers
from lrcompress.modelfile.modern.masks import explicit_masks
from lrcompress.modelfile.modern.notes import Notes
from lrcompress.modelfile.modern.operations import modern_operations

# Where Keras 3 finds a class; all layers are exported from one place.
_MODULES = {"Functional": "keras.src.models.functional", "Sequential": "keras"}
_Json = dict[str, Any]
_Input = tuple[list[int | None], str]  # shape and type of the numbers


def modern_model(entry: _Json, notes: Notes) -> None:
    """Rewrite a serialized model, the whole one or a nested one, in place."""
    tree = build(entry)
    if tree is None:
        return
    if not tree.sequential:
        modern_operations(tree, notes)
        modern_calls(tree, notes)
        explicit_masks(tree, notes)
        if notes.era < 3 or notes.layer:
            _single_ends(tree, notes)
    stated = _stated_input(tree) if tree.sequential else None
    for item in tree.items:
        _modern_entry(item.entry, notes.inside(item.name))
    if entry.get("class_name") == "Model" and is_built_in(entry):
        entry["class_name"] = "Functional"
        notes.changed("class Model became Functional")
    if entry.get("class_name") in MODELS:
        _modern_module(entry, notes)
    if tree.sequential:
        _modern_sequential(tree, stated, notes)


def _single_ends(tree: Container, notes: Notes) -> None:
    """Take the one input or output of a model out of its list, which Keras 3 would give back."""
    config = as_dict(tree.entry.get("config"))
    for key in ("input_layers", "output_layers"):
        ends = config.get(key)
        if isinstance(ends, list) and len(ends) == 1 and is_leaf(ends[0], tree.by_name):
            config[key] = ends[0]
            notes.changed("one input or output taken out of its list")


def _modern_entry(entry: _Json, notes: Notes) -> None:
    """Rewrite a model, or a layer with the layers that it wraps."""
    if container_kind(entry) is not None:
        modern_model(entry, notes)
        return
    modern_layer(entry, notes)
    _modern_module(entry, notes)
    build_config = as_dict(entry.get("build_config"))
    several = shape(build_config.get("input_shape")) is None
    if build_config and notes.era < 3 and (several or entry["class_name"] == "MultiHeadAttention"):
        # Keras 2 noted one list of shapes; Keras 3 finds them by the calls.
        del entry["build_config"]
        notes.changed("shapes of several inputs left to Keras 3")
    for inner in wrapped_layers(entry):
        name = as_dict(inner.get("config")).get("name", inner["class_name"])
        _modern_entry(inner, notes.inside(str(name)))
        if "module" not in inner and is_built_in(inner):
            # Inside a wrapper Keras 3 looks classes up by module only.
            inner["module"], inner["registered_name"] = _module_of(inner), None
            notes.changed("modules of wrapped layers named")


def _modern_module(entry: _Json, notes: Notes) -> None:
    """Name the module of a built-in class as Keras 3 does, where the file names one."""
    module, modern = entry.get("module"), _module_of(entry)
    if not isinstance(module, str) or not is_built_in(entry):
        return
    if not module.startswith((*OPERATIONS, "keras.src.models")) and module != modern:
        entry["module"], entry["registered_name"] = modern, None
        notes.changed("modules named as in Keras 3")


def _module_of(entry: _Json) -> str:
    return _MODULES.get(str(entry.get("class_name")), "keras.layers")


def _modern_sequential(tree: Container, stated: _Input | None, notes: Notes) -> None:
    """Give a Sequential model a name, a list of layers and an input of its own."""
    entry, first = tree.entry, tree.items[0] if tree.items else None
    name = entry["name"] if isinstance(entry.get("name"), str) else "sequential"
    if isinstance(entry.get("config"), list):
        # Keras up to 2.2.2 wrote the bare list of layers.
        entry["config"] = {"name": name, "layers": entry["config"]}
        notes.changed("bare list of layers put in a config of its own")
    elif "name" not in entry["config"]:
        entry["config"]["name"] = name
    if first is None or stated is None:
        built = shape(as_dict(entry.get("build_config")).get("input_shape"))
        starts = first is None or first.class_name == "InputLayer"
        if not (notes.layer or built or starts):
            notes.warn(
                "The file does not say what shape the inputs have, and Keras 3 loads no weights before "
                "it knows: build the model with an Input of that shape and save it again."
            )
        return
    name = unused_name(f"{first.name}_input", tree.by_name)
    config = {"batch_shape": stated[0], "dtype": stated[1], "name": name}
    layer: _Json = {"class_name": "InputLayer", "config": config}
    if isinstance(first.entry.get("module"), str):
        layer |= {"module": "keras.layers", "registered_name": None}
    tree.layer_entries.insert(0, layer)
    notes.inside(first.name).changed("input shape given to an InputLayer")


def _stated_input(tree: Container) -> _Input | None:
    """Return the input that the first layer states in its own config, if that is no InputLayer."""
    first = tree.items[0] if tree.items else None
    if first is None or first.class_name == "InputLayer":
        return None
    if first.inner is not None:
        # Keras 3 builds a Sequential by an input of its own, not by that of a model inside it.
        return None if "build_config" in tree.entry else _input_of(first.inner)
    states = any(key in first.config for key in ("batch_input_shape", "batch_shape", "input_shape"))
    found = own_input_shape(first.entry) if states else None
    if found is None:
        # TensorFlow 2.2 and later note what the model was built with.
        found = shape(as_dict(tree.entry.get("config")).get("build_input_shape"))
    return None if found is None else (found, _input_dtype(first))


def _input_of(tree: Container) -> _Input | None:
    """Return the one input of a nested model, None where it does not say, or has several."""
    first = tree.items[0] if tree.items else None
    if not tree.sequential:
        first = tree.by_name[tree.inputs[0].layer] if len(tree.inputs) == 1 else None
    if first is None or first.class_name != "InputLayer":
        return _stated_input(tree) if tree.sequential else None
    found = own_input_shape(first.entry)
    return None if found is None else (found, _input_dtype(first))


def _input_dtype(first: Item) -> str:
    dtype = first.config.get("input_dtype") or first.config.get("dtype")
    # Token numbers have the type of the layer in old files; a policy is not the input's.
    if not isinstance(dtype, str) or not dtype.startswith(("float", "int", "uint", "bool")):
        return "float32"
    return dtype


def rename(
    entry: dict[str, Any], compiled: dict[str, Any] | None, notes: Notes
) -> dict[LayerPath, str]:
    """Put underscores for slashes, which Keras 3 refuses, in names of layers; return the new ones by old path."""
    tree = build(entry)
    renamed: dict[LayerPath, str] = {}
    if tree is None:
        return renamed
    _rename_in(tree, renamed)
    outer = {path[0]: name for path, name in renamed.items() if len(path) == 1}
    for settings in compiled.values() if compiled else ():
        for old, name in outer.items():
            if isinstance(settings, dict) and old in settings:
                settings[name] = settings.pop(old)
    _rename_model(entry)
    for path in renamed:
        notes.inside("/".join(path)).changed("slashes in names became underscores")
    return renamed


def _rename_in(tree: Container, renamed: dict[LayerPath, str]) -> None:
    taken = {item.name for item in tree.items}
    new: dict[str, str] = {}
    for item in tree.items:
        if item.inner is not None:
            _rename_in(item.inner, renamed)
        _rename_wrapped(item.entry, item.path, renamed)
        if "/" in item.name:
            new[item.name] = renamed[item.path] = unused_name(item.name.replace("/", "_"), taken)
            taken.add(new[item.name])

    def refer(leaf: Reference) -> Reference:
        return [new.get(leaf[0], leaf[0]), *leaf[1:]]

    for item in tree.items:
        for holder in (item.entry, item.config):
            if item.name in new and holder.get("name") == item.name:
                holder["name"] = new[item.name]
        if "inbound_nodes" in item.entry:
            item.entry["inbound_nodes"] = replaced(item.entry["inbound_nodes"], tree, refer)
    config = as_dict(tree.entry.get("config"))
    for key in ("input_layers", "output_layers"):
        if key in config:
            config[key] = replaced(config[key], tree, refer)


def _rename_wrapped(entry: dict[str, Any], path: LayerPath, renamed: dict[LayerPath, str]) -> None:
    """Rename what a wrapper holds; the weights of a model in it are listed like a nested model's."""
    for wrapped in wrapped_layers(entry):
        inside = build(wrapped, path)
        if inside is not None:
            _rename_in(inside, renamed)
        _rename_wrapped(wrapped, path, renamed)
        _rename_model(wrapped)


def _rename_model(entry: dict[str, Any]) -> None:
    """Rename a layer or model that nothing refers to by name."""
    for holder in (entry, as_dict(entry.get("config"))):
        if isinstance(holder.get("name"), str):
            holder["name"] = holder["name"].replace("/", "_")
