"""Edit an architecture: one layer becomes two, two other ones, or two one; all references stay valid.

The last layer keeps the old name, so only its own inputs change.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from lrcompress.kinds import Serialized, is_wrapped, peeled
from lrcompress.kinds.terms import ON_KERNEL, REGULARIZERS, as_dict, as_list, compute_dtype, units
from lrcompress.modelfile.graph import Container, Item, LayerPath, tensors, written

if TYPE_CHECKING:
    from lrcompress.kinds.shapes import Shape

SUFFIX = "_lowrank"
# Where the shape of the input stands in a layer's own config, and in what it says of its building.
_INPUT_KEYS = ("batch_input_shape", "batch_shape", "input_shape", "input_dtype")
_BUILD_KEYS = ("input_shape", "shapes_dict")


class Draft:
    """A copy of an architecture to edit, by the layers of the old one's tree."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._copies: dict[int, Any] = {}
        self.config: dict[str, Any] = copy.deepcopy(config, self._copies)
        self._new: dict[int, list[dict[str, Any]]] = {}
        self._gone: set[int] = set()
        self._touched: set[Container] = set()

    def _entry(self, item: Item) -> dict[str, Any]:
        """Return the copy of a layer's JSON object."""
        copied: dict[str, Any] = self._copies[id(item.entry)]
        return copied

    def replace(self, item: Item, layers: Sequence[Serialized], names: Sequence[str]) -> None:
        """Put layers in the place of one: the last keeps its name, each before it gets one of `names`."""
        kept = self._entry(item)
        new = [_new(kept, item, layer, name) for layer, name in zip(layers, names, strict=False)]
        _settle(kept, layers[-1])
        for before, feeder, fed in zip(names, layers, [*new[1:], kept], strict=False):
            _feed(fed, item, before, feeder)
        self._new[id(item.entry)] = new
        self._touched.add(item.container)

    def take_over(self, first: Item, second: Item, *, whole_calls: bool) -> None:
        """Give a layer the inputs of the one before it, which goes; with `whole_calls` masks and states too."""
        gone, kept = self._entry(first), self._entry(second)
        for part in _parts_of(kept):
            _state_width(part, None)
        # Of another class they may wrap other layers.
        for before, after in zip(_parts_of(gone), _parts_of(kept), strict=False):
            old, new = as_dict(before.get("config")), as_dict(after.get("config"))
            for key in (*_INPUT_KEYS, "input_dim"):
                if key in old:
                    new[key] = copy.deepcopy(old[key])
            old, new = as_dict(before.get("build_config")), as_dict(after.get("build_config"))
            for key in _BUILD_KEYS:
                if key in old and key in new:
                    new[key] = copy.deepcopy(old[key])
        if not second.container.sequential:
            nodes, known = copy.deepcopy(gone["inbound_nodes"]), first.container.by_name
            if whole_calls:
                kept["inbound_nodes"] = nodes
            else:
                for own, node in zip(as_list(kept["inbound_nodes"]), nodes, strict=True):
                    mine, theirs = _first(own, known), _first(node, known)
                    if isinstance(mine, list):
                        mine[:3] = theirs[:3]
                    else:
                        mine.update(theirs)
        self._gone.add(id(first.entry))
        self._touched.add(first.container)

    def finish(self) -> None:
        """Put all new layers into the lists of their containers, and take out what goes."""
        for container in self._touched:
            entries: list[Any] = self._copies[id(container.layer_entries)]
            entries[:] = [
                entry
                for old in container.layer_entries
                for entry in (*self._new.get(id(old), ()), self._copies.get(id(old), old))
                if id(old) not in self._gone
            ]


def _new(kept: dict[str, Any], item: Item, layer: Serialized, name: str) -> dict[str, Any]:
    """Return a new layer, wrapped and called as that of `item` in whose place it stands."""
    entry = copy.deepcopy(kept)
    other = peeled(entry).get("class_name") != layer.class_name
    _strip_shared_ids(entry)
    old = as_dict(peeled(entry).get("config"))
    _settle(entry, layer)
    own = as_dict(peeled(entry).get("config"))
    own.update({key: old[key] for key in _INPUT_KEYS if key in old and key not in own})
    if is_wrapped(entry):
        _rename(peeled(entry), layer.config.get("name", name))
    _rename(entry, name)
    if other:
        if "inbound_nodes" in entry:
            nodes, known = as_list(entry["inbound_nodes"]), item.container.by_name
            entry["inbound_nodes"] = [_first_only(node, known) for node in nodes]
        for part in _parts_of(entry):
            if "shapes_dict" in as_dict(part.get("build_config")):
                part["build_config"] = {"input_shape": (*_built_shapes(part), None)[0]}
    return entry


def _feed(entry: dict[str, Any], item: Item, before: str, feeder: Serialized) -> None:
    """Make the layer of an entry, which is or copies that of `item`, take in a new one."""
    first = feeder.config.get("data_format") == "channels_first"
    width = None if first else units(feeder.config)
    for part in _parts_of(entry):
        _state_width(part, width)
    if item.container.sequential:
        return
    nodes = as_list(entry.get("inbound_nodes"))
    if not nodes or not all(item.calls):
        msg = f"layer {item.name} is called on nothing"
        raise ValueError(msg)
    same = peeled(entry).get("class_name") == feeder.class_name
    dtype = compute_dtype(as_dict(peeled(entry).get("config")))
    known = item.container.by_name
    for call, node in enumerate(nodes):
        # The layer's input, and not a state or mask that it is given as well.
        first = next(tensors(node, known))
        for tensor in written(node, known):
            config = tensor["config"] if isinstance(tensor, dict) else {}
            history = config.get("keras_history", tensor)
            if tuple(history[:3]) != first:
                continue
            history[:3] = [before, call, 0]
            if same:
                # Of one class the first has the keyword arguments; the second has none worth repeating.
                history[3:] = [{} for _ in history[3:]]
            _set_width(config.get("shape"), width)
            if dtype is not None and "dtype" in config:
                config["dtype"] = dtype


def _first(node: Any, known: dict[str, Item]) -> Any:  # noqa: ANN401 - JSON in, JSON out
    """Return the first tensor of a call, as it is written."""
    first = next(written(node, known), None)
    if first is None:
        msg = "a layer is called on nothing"
        raise ValueError(msg)
    return first


def _first_only(node: Any, known: dict[str, Item]) -> Any:  # noqa: ANN401 - JSON in, JSON out
    first = _first(node, known)
    if isinstance(node, dict):
        return node | {"args": [first], "kwargs": {}}
    return [[*first[:3], *({} for _ in first[3:])]]


def _settle(entry: dict[str, Any], layer: Serialized) -> None:
    """Give the layer of an entry, wrappers peeled, another class and config."""
    part = peeled(entry)
    if part.get("class_name") != layer.class_name:
        part["class_name"] = layer.class_name
        if "module" in part:
            part["module"], part["registered_name"] = "keras.layers", None
    part["config"] = copy.deepcopy(layer.config)


def _strip_shared_ids(entry: dict[str, Any]) -> None:
    """Make a copied layer an object of its own; a shared dtype policy may stay shared."""
    entry.pop("shared_object_id", None)
    for key, value in as_dict(entry.get("config")).items():
        if key != "dtype" and isinstance(value, dict):
            _strip_shared_ids(value)


def _rename(entry: dict[str, Any], name: str) -> None:
    as_dict(entry.get("config"))["name"] = name
    if "name" in entry:
        entry["name"] = name


def _state_width(entry: dict[str, Any], width: int | None) -> None:
    """Make a layer that no longer takes in the model's input expect so many columns, wherever its JSON says."""
    config = as_dict(entry.get("config"))
    for key in _INPUT_KEYS:
        config.pop(key, None)
    if config.get("input_dim") is not None and entry.get("class_name") != "Embedding":
        config["input_dim"] = config["input_dim"] if width is None else width
    for dims in _built_shapes(entry)[:1]:
        _set_width(dims, width)


def split_remarks(name: str, layers: Sequence[Serialized]) -> list[str]:
    """Return sentences about what a layer's settings mean once it is split."""
    found = [key for key in ON_KERNEL if layers[-1].config.get(key) is not None]
    if not found or len(layers) < 2:
        return []
    return [
        f"Layer {name} keeps its {' and '.join(found)}, which now acts on the smaller second kernel "
        "only: it means something else in further training."
    ]


def merge_remarks(first: Item, second: Item) -> list[str]:
    """Return sentences about what the settings of two layers mean once they are one."""
    before, after = (as_dict(peeled(item.entry)["config"]) for item in (first, second))
    found = []
    lost = [key for key in REGULARIZERS if before.get(key) is not None]
    if lost:
        found.append(
            f"Layer {first.name} had {' and '.join(lost)}, which end with it: "
            "further training does without."
        )
    kept = [key for key in ON_KERNEL if after.get(key) is not None]
    if kept:
        found.append(
            f"Layer {second.name} keeps its {' and '.join(kept)}, which now acts on the whole "
            "kernel: it means something else in further training."
        )
    frozen = [item.config.get("trainable") is False for item in (first, second)]
    if frozen[0] != frozen[1]:
        found.append(
            f"Layer {first.name} is {'frozen' if frozen[0] else 'trained'}, but {second.name} is "
            f"not: as one they are {'frozen' if frozen[1] else 'trained'}."
        )
    return found


def _parts_of(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON objects of a layer: its own, and those of the layers which it wraps."""
    config = as_dict(entry.get("config"))
    inner = (config.get(key) for key in ("layer", "backward_layer"))
    return [entry, *(part for part in inner if isinstance(part, dict))]


def _built_shapes(entry: dict[str, Any]) -> list[list[Any]]:
    """Return the shapes of a layer's inputs with which its JSON says that it was built, in their order."""
    build = as_dict(entry.get("build_config"))
    return [dims for key in _BUILD_KEYS for dims in _shapes_in(build.get(key))]


def _shapes_in(value: object) -> list[list[Any]]:
    """Return the serialized shapes in a shape, or a list or dictionary of them."""
    listed = as_list(value)
    if listed and not any(isinstance(part, (list, dict)) for part in listed):
        return [listed]
    parts = listed or (list(value.values()) if isinstance(value, dict) else [])
    return [dims for part in parts for dims in _shapes_in(part)]


def _set_width(shape: object, width: int | None) -> None:
    """Set the last axis of a serialized shape in place, if it is known."""
    dims = as_list(shape)
    if dims and width is not None:
        dims[-1] = width


def restate(old: Container, tree: Container, fed: Collection[LayerPath]) -> None:
    """Make a new JSON state the shapes that layers now take in: of the `fed`, and where another flows now."""
    from lrcompress.modelfile.shapes import shapes_of

    before, after = shapes_of(old), shapes_of(tree)
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
    for part in _parts_of(item.entry):
        inside = is_wrapped(item.entry) and part is not item.entry  # at each step
        own = [shape[1:] for shape in shapes] if inside else shapes
        for dims, shape in zip(_built_shapes(part), own, strict=False):
            _put(dims, shape)
        config = as_dict(part.get("config"))
        for key in _INPUT_KEYS[:2]:
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
