"""The shapes that a model's JSON states, where a layer gives another shape than it did."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from lrcompress.kinds import Serialized, any_kind_of, peeled
from lrcompress.kinds.terms import as_dict, as_list, own_input_shape, units
from lrcompress.modelfile.graph import Container, Item, Path

# Changes a serialized shape in place.
Change = Callable[[list[Any]], None]
# Where the shape of the input stands in a layer's own config, and in what it says of its building.
INPUT_KEYS = ("batch_input_shape", "batch_shape", "input_shape", "input_dtype")
BUILD_KEYS = ("input_shape", "shapes_dict")
_POOLED = ("GlobalAveragePooling", "GlobalMaxPooling")
# Layers behind which the channels stand elsewhere, or are others.
_OTHER_AXES = ("Reshape", "Permute", "RepeatVector", "Dot", "Cropping", "ZeroPadding1D")


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


def set_width(shape: object, width: int) -> None:
    """Set the last axis of a serialized shape in place."""
    dims = as_list(shape)
    if dims:
        dims[-1] = width


def channel_axis(layer: Serialized) -> int:
    """Return the axis of a layer's output, counted from the last, that its number of units is the size of."""
    spatial = next((n for n in (1, 2, 3) if f"{n}D" in layer.class_name), 0)
    first = layer.config.get("data_format", layer.config.get("dim_ordering"))
    return -spatial - 1 if first in ("channels_first", "th") else -1


def width(layer: Serialized) -> int | None:
    """Return the number of a layer's outputs along its channel axis, None where its config does not tell."""
    own = units(layer.config)
    if own is not None:
        return own
    for key in ("cell", "layer"):
        inner = as_dict(as_dict(layer.config.get(key)).get("config"))
        if inner:
            found = width(Serialized("", inner))
            both = (
                layer.class_name == "Bidirectional" and layer.config.get("merge_mode") == "concat"
            )
            return found if found is None or not both else 2 * found
    return None


def output_shape(layer: Serialized, shape: list[Any]) -> list[Any]:
    """Return the shape that a new layer gives for one that it takes; None for axes not worked out."""
    if layer.class_name == "Embedding":
        return [*shape, width(layer)]
    if layer.class_name == "EinsumDense":
        return _einsum(layer, shape)
    made, axis = list(shape), channel_axis(layer)
    made[axis] = width(layer)
    spatial = next((n for n in (1, 2, 3) if f"{n}D" in layer.class_name), 0)
    for number in range(spatial):
        place = number - spatial + (0 if axis != -1 else -1)
        made[place] = _steps(layer, shape[place], number)
    return made


def _steps(layer: Serialized, size: int | None, number: int) -> int | None:
    """Return the length of one spatial axis behind a convolution."""
    config = layer.config

    def of(key: str) -> int:
        value = config.get(key, 1)
        found = as_list(value)[number] if as_list(value) else value
        return int(found) if isinstance(found, (int, float)) else 1

    if size is None or "kernel_size" not in config:
        return None
    span = of("dilation_rate") * (of("kernel_size") - 1) + 1
    valid, stride = config.get("padding") == "valid", of("strides")
    if "Transpose" in layer.class_name:
        if config.get("output_padding") is not None:
            return None
        return size * stride + (max(span - stride, 0) if valid else 0)
    return -(-(size - valid * (span - 1)) // stride)


def _einsum(layer: Serialized, shape: list[Any]) -> list[Any]:
    """Return the shape that an EinsumDense gives, by its equation and kernel."""
    left, _, right = str(layer.config.get("equation")).partition("->")
    inputs, _, kernel = left.replace("...", "").partition(",")
    sizes = dict(zip(reversed(inputs), reversed(shape), strict=False))
    sizes |= dict(zip(kernel, layer.arrays[0].shape, strict=False))
    made = [sizes.get(label) for label in right.replace("...", "")]
    free = shape[: len(shape) - len(inputs)] if "..." in right else []
    return [*free, *made] if right.startswith("...") else [*made, *free]


def restate_behind(tree: Container, narrowed: dict[Path, tuple[Serialized, int]]) -> None:
    """Make the JSON behind layers that give another width state it, as far as that reaches.

    Args:
        tree: The new architecture, changed in place.
        narrowed: By path each such layer as it is now, and its width before.
    """
    items = {item.path: item for item in tree.walk()}
    left: list[tuple[Item, int, int, int]] = []
    for path, (layer, before) in narrowed.items():
        now = width(layer)
        if now is not None:
            left.append((items[path], channel_axis(layer), before, now))
    seen: set[tuple[Item, int]] = set()
    while left:
        item, axis, before, now = left.pop()
        if (item, axis) in seen:
            continue
        seen.add((item, axis))
        for user in item.container.users.get(item.name, []):
            behind = _handed_on(user, item, axis, before, now)
            _restate(user, item, axis, before, now)
            if behind is not None and user.path not in narrowed:
                left.append((user, *behind))


def _handed_on(
    user: Item, item: Item, axis: int, before: int, now: int
) -> tuple[int, int, int] | None:
    """Return the axis and width, before and now, of what a layer gives; None where they do not depend."""
    name = str(peeled(user.entry).get("class_name"))
    if any_kind_of(user.entry) is not None and name != "Flatten":
        return None
    if user.inner is not None or name.startswith(_OTHER_AXES):
        return None
    if name.startswith(_POOLED):
        return -1, before, now
    stated = stated_shapes(user)
    if name == "Flatten":
        known = [size for size in stated[0][1:] if size] if stated else []
        if not stated or len(known) < len(stated[0]) - 1:
            return None
        rest = math.prod(known) // stated[0][axis]
        return -1, rest * before, rest * now
    if name in ("Concatenate", "Merge"):
        if not stated or len(stated) != len(user.calls[0]):
            return None
        whole = sum(shape[axis] or 0 for shape in stated)
        times = sum(ref.layer == item.name for ref in user.calls[0])
        return axis, whole, whole + times * (now - before)
    return axis, before, now


def stated_shapes(user: Item) -> list[list[Any]]:
    """Return the shapes of the inputs of a layer's first call, where its JSON states them."""
    nodes = as_list(user.entry.get("inbound_nodes"))
    shapes = [as_list(t.get("shape")) for t in _tensors(nodes[:1])] if nodes else []
    if shapes and all(shapes):
        return shapes
    own = own_input_shape(user.entry)
    return built_shapes(user.entry) or ([own] if own else [])


def _tensors(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - JSON
    """Yield what calls in Keras 3's notation say of each tensor."""
    if isinstance(value, dict):
        config = as_dict(value.get("config"))
        if "keras_history" in config:
            yield config
            return
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        yield from _tensors(part)


def _restate(user: Item, item: Item, axis: int, before: int, now: int) -> None:
    """Change the width of what one layer gives another in the other's JSON."""

    def change(shape: object) -> None:
        dims = as_list(shape)
        if len(dims) >= -axis and dims[axis] == before:
            dims[axis] = now

    for tensor in _tensors(user.entry.get("inbound_nodes")):
        if as_list(tensor["keras_history"])[:1] == [item.name]:
            change(tensor.get("shape"))
    ours = [ref.layer == item.name for ref in user.calls[0]]
    for part in parts_of(user.entry):
        config = as_dict(part.get("config"))
        for key in INPUT_KEYS[:3]:
            change(config.get(key))
        if part.get("class_name") != "Embedding" and config.get("input_dim") == before:
            config["input_dim"] = now
        shapes = built_shapes(part)
        same = len(ours) == len(shapes)
        for dims, own in zip(shapes, ours if same else [True] * len(shapes), strict=True):
            if own:
                change(dims)
