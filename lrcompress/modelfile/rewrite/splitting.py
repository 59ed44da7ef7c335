"""Edit an architecture: one Dense becomes two, and every reference in the model stays valid.

The second layer keeps the old name, so output layers, loss and metric keys, and all later calls
still hold; only its own inputs change. The edits happen in place on a copy of the config.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from lrcompress.kinds.terms import compute_dtype, dense_entry
from lrcompress.modelfile.graph import Item, is_leaf
from lrcompress.modelfile.untrusted import as_dict, as_list

SUFFIX = "_lowrank"
# Where the shape of the input stands in a layer's own config: it stays with the first layer.
INPUT_KEYS = ("batch_input_shape", "batch_shape", "input_shape", "input_dtype")
# What a new first layer must not have; the right-hand spellings are those of Keras 1.
REGULARIZERS = (
    "kernel_regularizer", "bias_regularizer", "activity_regularizer",
    "kernel_constraint", "bias_constraint",
    "W_regularizer", "b_regularizer", "W_constraint", "b_constraint",
)  # fmt: skip
ON_KERNEL = ("kernel_regularizer", "kernel_constraint", "W_regularizer", "W_constraint")


def split(item: Item, first_name: str, rank: int, *, bias: bool) -> dict[str, Any]:
    """Make a Dense take in a new layer of `rank` units, in the JSON objects of its container.

    Args:
        item: The Dense, or a TimeDistributed around one, in a tree built on the config to edit.
        first_name: Name of the new layer.
        rank: Its number of units.
        bias: Whether the second layer has a bias.

    Returns:
        The new layer's JSON object, for `put_before`.

    Raises:
        ValueError: If the layer is called on nothing in a functional model.
    """
    first_entry = copy.deepcopy(item.entry)
    _strip_shared_ids(first_entry)
    _rename(first_entry, first_name)
    if item.entry is not dense_entry(item):
        _rename(as_dict(as_dict(first_entry["config"]).get("layer")), None)
    first_dense = _dense_part(first_entry, item)
    _make_first(as_dict(first_dense["config"]), rank)
    for entry in (item.entry, dense_entry(item)):
        if entry is not None:
            narrow_input(entry, rank)
    second = as_dict(_dense_part(item.entry, item)["config"])
    set_bias(second, has=bias)
    for initializer in ("kernel_initializer", "init"):
        make_shapeless(second, initializer)
    if not item.container.sequential:
        rewire(item, first_name, rank)
    return first_entry


def put_before(pairs: Sequence[tuple[Item, dict[str, Any]]]) -> None:
    """Put new layers, each right before another, into the lists of their containers."""
    new = {id(item.entry): [entry] for item, entry in pairs}
    for container in {item.container for item, _ in pairs}:
        entries = container.layer_entries
        entries[:] = [e for old in entries for e in (*new.get(id(old), ()), old)]


def take_out(items: Sequence[Item]) -> None:
    """Take layers out of the lists of their containers."""
    gone = {id(item.entry) for item in items}
    for container in {item.container for item in items}:
        entries = container.layer_entries
        entries[:] = [entry for entry in entries if id(entry) not in gone]


def _dense_part(entry: dict[str, Any], item: Item) -> dict[str, Any]:
    """Return the Dense of a layer's JSON object: itself, or what TimeDistributed wraps."""
    if item.class_name != "TimeDistributed":
        return entry
    inner: dict[str, Any] = entry["config"]["layer"]
    return inner


def _strip_shared_ids(entry: dict[str, Any]) -> None:
    """Make a copied layer an object of its own; a shared dtype policy may stay shared."""
    entry.pop("shared_object_id", None)
    for key, value in as_dict(entry.get("config")).items():
        if key != "dtype" and isinstance(value, dict):
            _strip_shared_ids(value)


def _rename(entry: dict[str, Any], name: str | None) -> None:
    """Give a layer a new name; None appends the suffix to the one it has."""
    config = as_dict(entry.get("config"))
    if name is None:
        name = f"{config.get('name', 'dense')}{SUFFIX}"
    config["name"] = name
    if "name" in entry:
        entry["name"] = name


def _make_first(config: dict[str, Any], rank: int) -> None:
    """Make a Dense config one of `rank` units: linear, no bias, nothing on its weights."""
    config["bias" if set_units(config, rank) else "use_bias"] = False
    config["activation"] = "linear"
    for key in REGULARIZERS:
        if key in config:
            config[key] = None
    for initializer in ("kernel_initializer", "init"):
        make_shapeless(config, initializer)


def set_units(config: dict[str, Any], rank: int) -> bool:
    """Make a Dense config one of `rank` units; return whether it spells that as Keras 1 does."""
    old_keras = "output_dim" in config and "units" not in config
    config["output_dim" if old_keras else "units"] = rank
    return old_keras


def make_shapeless(config: dict[str, Any], key: str) -> None:
    """Replace an initializer that holds an array: it would not fit, and is never used."""
    if _holds_array(as_dict(config.get(key)).get("config")):
        config[key] = "glorot_uniform"


def _holds_array(value: object) -> bool:
    """Return whether an initializer's config has a list or a serialized array among its values."""
    return any(isinstance(v, (list, dict)) for v in as_dict(value).values())


def narrow_input(entry: dict[str, Any], rank: int) -> None:
    """Make the second layer expect `rank` inputs, wherever its JSON says how many."""
    config = as_dict(entry.get("config"))
    for key in INPUT_KEYS:
        config.pop(key, None)
    if config.get("input_dim") is not None:
        config["input_dim"] = rank
    build = as_dict(entry.get("build_config"))
    for key in ("input_shape", "shapes_dict"):
        shape = build.get(key)
        for dims in as_dict(shape).values() if key == "shapes_dict" else [shape]:
            _set_last(dims, rank)


def _set_last(shape: object, rank: int) -> None:
    """Set the last axis of a serialized shape in place."""
    dims = as_list(shape)
    if dims:
        dims[-1] = rank


def rewire(item: Item, first_name: str, rank: int) -> None:
    """Make each call of the second layer take in the same call of the first."""
    nodes = as_list(item.entry.get("inbound_nodes"))
    if not nodes or not all(item.calls):
        msg = f"layer {item.name} is called on nothing"
        raise ValueError(msg)
    dtype = compute_dtype(as_dict(_dense_part(item.entry, item)["config"]))
    edit = _Rewiring(item, first_name, rank, dtype)
    item.entry["inbound_nodes"] = [edit.apply(node, call) for call, node in enumerate(nodes)]


class _Rewiring:
    """Replaces the tensors in a serialized call by the first layer's output of the same call."""

    def __init__(self, item: Item, first_name: str, rank: int, dtype: str | None) -> None:
        """Remember what the new tensors are."""
        self._known = item.container.by_name
        self._name, self._rank, self._dtype = first_name, rank, dtype

    def apply(self, value: Any, call: int) -> Any:  # noqa: ANN401 - JSON in, JSON out
        """Return a copy of `value` in which every tensor is the first layer's output."""
        if is_leaf(value, self._known):
            # Keyword arguments went to the first layer; a Dense has none worth repeating.
            return [self._name, call, 0, *([{}] if len(value) == 4 else [])]
        if isinstance(value, list):
            return [self.apply(part, call) for part in value]
        if not isinstance(value, dict):
            return value
        config = as_dict(value.get("config"))
        if is_leaf(config.get("keras_history"), self._known):
            tensor = copy.deepcopy(value)
            tensor["config"]["keras_history"] = [self._name, call, 0]
            _set_last(tensor["config"].get("shape"), self._rank)
            if self._dtype is not None and "dtype" in config:
                tensor["config"]["dtype"] = self._dtype
            return tensor
        return {key: self.apply(part, call) for key, part in value.items()}


def remarks(item: Item) -> list[str]:
    """Return sentences about what a Dense's settings mean once it is split."""
    config = as_dict(as_dict(dense_entry(item)).get("config"))
    found = [key for key in ON_KERNEL if config.get(key) is not None]
    if not found:
        return []
    names = " and ".join(found)
    return [
        f"Layer {item.name} keeps its {names}, which now acts on the smaller second kernel only: "
        "it means something else in further training."
    ]


def set_bias(config: dict[str, Any], *, has: bool) -> None:
    """Say whether a Dense has a bias, where its config does not say so already."""
    key = "bias" if "bias" in config and "use_bias" not in config else "use_bias"
    if bool(config.get(key, True)) != has:
        config[key] = has
