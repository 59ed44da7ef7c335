"""Edit an architecture: one layer becomes two, two other ones, or two one; all references stay valid.

The last layer keeps the old name, so output layers, loss and metric keys, and all later calls
still hold; only its own inputs change. The edits happen in a copy of the config.
"""

from __future__ import annotations

import copy
from typing import Any

from lrcompress.kinds import Serialized, is_wrapped, peeled
from lrcompress.kinds.terms import ON_KERNEL, REGULARIZERS, as_dict, as_list, compute_dtype
from lrcompress.modelfile.graph import Container, Item, is_leaf

SUFFIX = "_lowrank"
# Where the shape of the input stands in a layer's own config: it stays with the first layer.
_INPUT_KEYS = ("batch_input_shape", "batch_shape", "input_shape", "input_dtype")
_BUILD_KEYS = ("input_shape", "shapes_dict")


class Draft:
    """A copy of an architecture to edit, by the layers of the old one's tree.

    Attributes:
        config: The copy.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        """Copy an architecture."""
        self._copies: dict[int, Any] = {}
        self.config: dict[str, Any] = copy.deepcopy(config, self._copies)
        self._new: dict[int, list[dict[str, Any]]] = {}
        self._gone: set[int] = set()
        self._touched: set[Container] = set()

    def entry(self, item: Item) -> dict[str, Any]:
        """Return the copy of a layer's JSON object."""
        copied: dict[str, Any] = self._copies[id(item.entry)]
        return copied

    def put_before(
        self, item: Item, layer: Serialized, name: str, before: str = "", width: int = 0
    ) -> None:
        """Put a new layer before one that is not edited yet, wrapped as that is.

        It takes the other one's inputs, or is fed by the new layer `before` it, of so many units.
        """
        entry = copy.deepcopy(self.entry(item))
        _strip_shared_ids(entry)
        _settle(entry, layer)
        _rename(peeled(entry), layer.config["name"])
        _rename(entry, name)
        if before:
            _feed(entry, item, before, width)
        self._new.setdefault(id(item.entry), []).append(entry)
        self._touched.add(item.container)

    def settle(self, item: Item, layer: Serialized) -> None:
        """Give a layer another config."""
        _settle(self.entry(item), layer)

    def feed(self, item: Item, before: str, width: int) -> None:
        """Make a layer take in another one, of so many units, at each of its calls."""
        _feed(self.entry(item), item, before, width)

    def take_over(self, first: Item, second: Item, width: int) -> None:
        """Give a layer the inputs, `width` wide, of the one before it, which goes."""
        gone, kept = self.entry(first), self.entry(second)
        for before, after in zip(_parts(gone), _parts(kept), strict=True):
            _state_width(after, width)
            old, new = as_dict(before.get("config")), as_dict(after.get("config"))
            for key in (*_INPUT_KEYS, "input_dim"):
                if key in old:
                    new[key] = copy.deepcopy(old[key])
            old, new = as_dict(before.get("build_config")), as_dict(after.get("build_config"))
            for key in _BUILD_KEYS:
                if key in old and key in new:
                    new[key] = copy.deepcopy(old[key])
        if not second.container.sequential:
            kept["inbound_nodes"] = copy.deepcopy(gone["inbound_nodes"])
        self._gone.add(id(first.entry))
        self._touched.add(first.container)

    def finish(self) -> dict[str, Any]:
        """Put all new layers into the lists of their containers, take out what goes; return the config."""
        for container in self._touched:
            entries: list[Any] = self._copies[id(container.layer_entries)]
            entries[:] = [
                entry
                for old in container.layer_entries
                for entry in (*self._new.get(id(old), ()), self._copies.get(id(old), old))
                if id(old) not in self._gone
            ]
        return self.config


def _feed(entry: dict[str, Any], item: Item, before: str, width: int) -> None:
    """Make the layer of an entry, which is or copies that of `item`, take in another one."""
    for part in _parts(entry):
        _state_width(part, width)
    if item.container.sequential:
        return
    nodes = as_list(entry.get("inbound_nodes"))
    if not nodes or not all(item.calls):
        msg = f"layer {item.name} is called on nothing"
        raise ValueError(msg)
    dtype = compute_dtype(as_dict(peeled(entry).get("config")))
    edit = _Rewiring(item, before, width, dtype)
    entry["inbound_nodes"] = [edit.apply(node, call) for call, node in enumerate(nodes)]


def _parts(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON objects of a layer: its own, and that of the layer which it wraps."""
    return [entry, peeled(entry)] if is_wrapped(entry) else [entry]


def _settle(entry: dict[str, Any], layer: Serialized) -> None:
    """Give the layer of an entry, wrappers peeled, another class and config."""
    part = peeled(entry)
    part["class_name"], part["config"] = layer.class_name, layer.config


def _strip_shared_ids(entry: dict[str, Any]) -> None:
    """Make a copied layer an object of its own; a shared dtype policy may stay shared."""
    entry.pop("shared_object_id", None)
    for key, value in as_dict(entry.get("config")).items():
        if key != "dtype" and isinstance(value, dict):
            _strip_shared_ids(value)


def _rename(entry: dict[str, Any], name: str) -> None:
    """Give a layer a new name."""
    as_dict(entry.get("config"))["name"] = name
    if "name" in entry:
        entry["name"] = name


def _state_width(entry: dict[str, Any], width: int) -> None:
    """Make a layer expect so many inputs, wherever its JSON says how many."""
    config = as_dict(entry.get("config"))
    for key in _INPUT_KEYS:
        config.pop(key, None)
    if config.get("input_dim") is not None:
        config["input_dim"] = width
    build = as_dict(entry.get("build_config"))
    for key in _BUILD_KEYS:
        shape = build.get(key)
        for dims in as_dict(shape).values() if key == "shapes_dict" else [shape]:
            _set_last(dims, width)


def _set_last(shape: object, width: int) -> None:
    """Set the last axis of a serialized shape in place."""
    dims = as_list(shape)
    if dims:
        dims[-1] = width


class _Rewiring:
    """Replaces the tensors in a serialized call by another layer's output of the same call."""

    def __init__(self, item: Item, name: str, width: int, dtype: str | None) -> None:
        """Remember what the new tensors are."""
        self._known = item.container.by_name
        self._name, self._width, self._dtype = name, width, dtype

    def apply(self, value: Any, call: int) -> Any:  # noqa: ANN401 - JSON in, JSON out
        """Return a copy of `value` in which every tensor is the other layer's output."""
        if is_leaf(value, self._known):
            # Keyword arguments went to the first layer; the second has none worth repeating.
            return [self._name, call, 0, *([{}] if len(value) == 4 else [])]
        if isinstance(value, list):
            return [self.apply(part, call) for part in value]
        if not isinstance(value, dict):
            return value
        config = as_dict(value.get("config"))
        if is_leaf(config.get("keras_history"), self._known):
            tensor = copy.deepcopy(value)
            tensor["config"]["keras_history"] = [self._name, call, 0]
            _set_last(tensor["config"].get("shape"), self._width)
            if self._dtype is not None and "dtype" in config:
                tensor["config"]["dtype"] = self._dtype
            return tensor
        return {key: self.apply(part, call) for key, part in value.items()}


def split_remarks(name: str, layer: Serialized) -> list[str]:
    """Return sentences about what a layer's settings mean once it is split."""
    found = [key for key in ON_KERNEL if layer.config.get(key) is not None]
    if not found:
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
