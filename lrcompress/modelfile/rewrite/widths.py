"""The shapes that a model's JSON states of what its layers take in."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from lrcompress.kinds import is_wrapped
from lrcompress.kinds.terms import as_dict, as_list
from lrcompress.modelfile.graph import Container, Item, written
from lrcompress.modelfile.graph import Path as LayerPath

if TYPE_CHECKING:
    from lrcompress.kinds.shapes import Shape

# Where the shape of the input stands in a layer's own config, and in what it says of its building.
INPUT_KEYS = ("batch_input_shape", "batch_shape", "input_shape", "input_dtype")
BUILD_KEYS = ("input_shape", "shapes_dict")


def parts_of(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON objects of a layer: its own, and those of the layers which it wraps."""
    config = as_dict(entry.get("config"))
    inner = (config.get(key) for key in ("layer", "backward_layer"))
    return [entry, *(part for part in inner if isinstance(part, dict))]


def built_shapes(entry: dict[str, Any]) -> list[list[Any]]:
    """Return the shapes of a layer's inputs with which its JSON says that it was built, in their order."""
    build = as_dict(entry.get("build_config"))
    return [dims for key in BUILD_KEYS for dims in _shapes_in(build.get(key))]


def _shapes_in(value: object) -> list[list[Any]]:
    """Return the serialized shapes in a shape, or a list or dictionary of them."""
    listed = as_list(value)
    if listed and not any(isinstance(part, (list, dict)) for part in listed):
        return [listed]
    parts = listed or (list(value.values()) if isinstance(value, dict) else [])
    return [dims for part in parts for dims in _shapes_in(part)]


def set_width(shape: object, width: int | None) -> None:
    """Set the last axis of a serialized shape in place, if it is known."""
    dims = as_list(shape)
    if dims and width is not None:
        dims[-1] = width


def restate(old: Container, tree: Container, fed: Collection[LayerPath]) -> None:
    """Make a new JSON state the shapes that layers now take in: of the `fed`, and where another flows now."""
    from lrcompress.modelfile.shapes import shapes_in

    before, after = shapes_in(old), shapes_in(tree)
    for item in tree.walk():
        path = "/".join(item.path)
        was, now = before.get(path, (None, None))[0], after.get(path, (None, None))[0]
        if item.inner is None and now is not None and (item.path in fed or was != now):
            _state(item, now)


def _state(item: Item, shapes: tuple[Shape, ...]) -> None:
    """State the shapes of a layer's inputs."""
    for node in as_list(item.entry.get("inbound_nodes")):
        tensors = written(node, item.container.by_name)
        for tensor, shape in zip(tensors, shapes, strict=False):
            if isinstance(tensor, dict):
                _put(tensor["config"].get("shape"), shape)
    for part in parts_of(item.entry):
        inside = is_wrapped(item.entry) and part is not item.entry  # at each step
        own = [shape[1:] for shape in shapes] if inside else shapes
        for dims, shape in zip(built_shapes(part), own, strict=False):
            _put(dims, shape)
        config = as_dict(part.get("config"))
        for key in INPUT_KEYS[:2]:
            _put(config.get(key), own[0])
        if part.get("class_name") != "Embedding" and config.get("input_dim") is not None:
            config["input_dim"] = own[0][-1] or config["input_dim"]


def _put(value: object, shape: Shape) -> None:
    """Put a shape into a serialized one, whose axes stay free where they are."""
    dims = as_list(value)
    if not dims:
        return
    if len(dims) != len(shape) + 1:
        dims[1:] = shape
    for number, size in enumerate(shape, start=1):
        dims[number] = size if dims[number] is not None and size is not None else dims[number]
