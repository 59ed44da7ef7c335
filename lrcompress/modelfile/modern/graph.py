"""A serialized model of Keras 1 or 2, with all models nested in it, in the terms of Keras 3."""

from __future__ import annotations

from typing import Any, NamedTuple

from lrcompress.modelfile.decoding import as_dict
from lrcompress.modelfile.layers import is_built_in, own_input_shape
from lrcompress.modelfile.modern.calls import modern_calls
from lrcompress.modelfile.modern.layers import MODELS, modern_layer, wrapped_layers
from lrcompress.modelfile.modern.notes import Notes
from lrcompress.modelfile.topology import Container, Item, build

# Where Keras 3 finds a class; all layers are exported from one place.
_MODULES = {"Functional": "keras.src.models.functional", "Sequential": "keras"}


def modern_model(entry: dict[str, Any], era: int, notes: Notes, path: str = "") -> None:
    """Rewrite a serialized model in place.

    Args:
        entry: The JSON object of the whole model, or of a nested one.
        era: Major version of the Keras that wrote it.
        notes: Told of every change.
        path: Names of the models around it, each with a slash after it.
    """
    tree = build(entry)
    if tree is None:
        return
    if not tree.sequential:
        modern_calls(tree, notes, path)
    stated = _stated_input(tree) if tree.sequential else None
    for item in tree.items:
        _modern_item(item, era, notes, path)
    _modern_class(entry, notes, path)
    if tree.sequential:
        _modern_sequential(tree, stated, notes, path)


def _modern_item(item: Item, era: int, notes: Notes, path: str) -> None:
    """Rewrite one layer, and what is nested in it."""
    here = path + item.name
    if item.inner is not None:
        modern_model(item.entry, era, notes, here + "/")
        return
    _modern_entry(item.entry, here, era, notes)


def _modern_entry(entry: dict[str, Any], path: str, era: int, notes: Notes) -> None:
    """Rewrite a layer that is no model, with the layers that it wraps."""
    modern_layer(entry, path, era, notes)
    _modern_module(entry, notes, path)
    for _, inner in wrapped_layers(entry):
        inner_path = f"{path}/{as_dict(inner.get('config')).get('name', inner['class_name'])}"
        if build(inner) is not None:
            modern_model(inner, era, notes, inner_path + "/")
        else:
            _modern_entry(inner, inner_path, era, notes)
        if "module" not in inner and is_built_in(inner):
            # Inside a wrapper Keras 3 looks classes up by module only.
            inner["module"] = _MODULES.get(inner["class_name"], "keras.layers")
            inner["registered_name"] = None
            notes.changed("modules of wrapped layers named", path)


def _modern_module(entry: dict[str, Any], notes: Notes, path: str) -> None:
    """Name the module of a built-in class as Keras 3 does, where the file names one."""
    module, class_name = entry.get("module"), entry.get("class_name")
    if not isinstance(module, str) or not is_built_in(entry) or module.startswith("keras.src.ops"):
        return
    modern = _MODULES.get(str(class_name), "keras.layers")
    if module != modern and not module.startswith("keras.src.models"):
        entry["module"], entry["registered_name"] = modern, None
        notes.changed("modules named as in Keras 3", path)


def _modern_class(entry: dict[str, Any], notes: Notes, path: str) -> None:
    """Name a model's class as Keras 3 does."""
    if entry.get("class_name") == "Model" and is_built_in(entry):
        entry["class_name"] = "Functional"
        notes.changed("class Model became Functional", path.rstrip("/"))
    if entry.get("class_name") in MODELS:
        _modern_module(entry, notes, path.rstrip("/"))


def _modern_sequential(tree: Container, stated: _Stated | None, notes: Notes, path: str) -> None:
    """Give a Sequential model a name, a list of layers and an input of its own."""
    entry = tree.entry
    stated_name = entry.get("name")
    name = stated_name if isinstance(stated_name, str) else "sequential"
    if isinstance(entry.get("config"), list):
        # Keras up to 2.2.2 wrote the bare list of layers.
        entry["config"] = {"name": name, "layers": entry["config"]}
        notes.changed("bare list of layers put in a config of its own", path.rstrip("/"))
    elif "name" not in entry["config"]:
        entry["config"]["name"] = name
    if stated is None:
        return
    first = tree.items[0]
    input_name = _unused(f"{first.name}_input", {item.name for item in tree.items})
    config = {"batch_shape": stated.shape, "dtype": stated.dtype, "name": input_name}
    layer: dict[str, Any] = {"class_name": "InputLayer", "config": config}
    if isinstance(first.entry.get("module"), str):
        layer |= {"module": "keras.layers", "registered_name": None}
    tree.layer_entries.insert(0, layer)
    notes.changed("input shape given to an InputLayer", path + first.name)


class _Stated(NamedTuple):
    """The input that a Sequential model's first layer states."""

    shape: list[int | None]
    dtype: str


def _stated_input(tree: Container) -> _Stated | None:
    """Return the input that the first layer states in its own config, if that is no InputLayer."""
    first = tree.items[0] if tree.items else None
    if first is None or first.class_name == "InputLayer" or first.inner is not None:
        return None
    states = any(key in first.config for key in ("batch_input_shape", "batch_shape", "input_shape"))
    found = own_input_shape(first) if states else None
    if found is None:
        return None
    dtype = first.config.get("input_dtype") or first.config.get("dtype")
    # Token numbers have the type of the layer in old files; a policy is not the input's.
    if not isinstance(dtype, str) or not dtype.startswith(("float", "int", "uint", "bool")):
        dtype = "float32"
    return _Stated(found, dtype)


def _unused(name: str, taken: set[str]) -> str:
    """Return a name that no layer has."""
    number, candidate = 2, name
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate
