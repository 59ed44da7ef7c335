"""Edit an architecture where two Dense layers are one matrix: make them one, or narrow the two.

The second layer keeps its name, so everything after it still holds. The edits happen in place on a
copy of the config, as in `splitting`.
"""

from __future__ import annotations

import copy
from typing import Any

from lrcompress.kinds.terms import dense_entry
from lrcompress.modelfile.graph import Item
from lrcompress.modelfile.rewrite.splitting import (
    INPUT_KEYS,
    ON_KERNEL,
    REGULARIZERS,
    make_shapeless,
    narrow_input,
    rewire,
    set_bias,
    set_units,
)
from lrcompress.modelfile.untrusted import as_dict


def merge(first: Item, second: Item, inputs: int, *, bias: bool) -> None:
    """Make one Dense of a pair, in the JSON objects of its container.

    Args:
        first: The layer that goes, still to be taken out of the list.
        second: The layer that stays, with the inputs of the first.
        inputs: m, the number of inputs of the first.
        bias: Whether the one has a bias.
    """
    for gone, kept in zip(_entries(first), _entries(second), strict=True):
        _take_input(gone, kept, inputs)
    _settle(second, bias=bias)
    if not second.container.sequential:
        second.entry["inbound_nodes"] = copy.deepcopy(first.entry["inbound_nodes"])


def narrow(first: Item, second: Item, rank: int, *, bias: bool) -> None:
    """Give the two layers of a pair another rank; only the second may have a bias.

    Args:
        first: The first layer.
        second: The second layer.
        rank: The number of units of the first.
        bias: Whether the second has a bias.
    """
    config = _config(first)
    set_units(config, rank)
    set_bias(config, has=False)
    for initializer in ("kernel_initializer", "init"):
        make_shapeless(config, initializer)
    for entry in _entries(second):
        narrow_input(entry, rank)
    _settle(second, bias=bias)
    if not second.container.sequential:
        rewire(second, first.name, rank)


def remarks(first: Item, second: Item) -> list[str]:
    """Return sentences about what the settings of a pair mean once it is one layer."""
    found = []
    lost = [key for key in REGULARIZERS if _config(first).get(key) is not None]
    if lost:
        found.append(
            f"Layer {first.name} had {' and '.join(lost)}, which end with it: "
            "further training does without."
        )
    kept = [key for key in ON_KERNEL if _config(second).get(key) is not None]
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


def _entries(item: Item) -> list[dict[str, Any]]:
    """Return the JSON objects of a layer: its own, and that of the Dense if it wraps one."""
    return [item.entry, *([] if item.entry is dense_entry(item) else [as_dict(dense_entry(item))])]


def _config(item: Item) -> dict[str, Any]:
    """Return the config of a Dense."""
    return as_dict(as_dict(dense_entry(item))["config"])


def _take_input(gone: dict[str, Any], kept: dict[str, Any], inputs: int) -> None:
    """Make the kept layer state the input of the one that goes, wherever its JSON states one."""
    narrow_input(kept, inputs)
    before, after = as_dict(gone.get("config")), as_dict(kept.get("config"))
    for key in (*INPUT_KEYS, "input_dim"):
        if key in before:
            after[key] = copy.deepcopy(before[key])
    before, after = as_dict(gone.get("build_config")), as_dict(kept.get("build_config"))
    for key in ("input_shape", "shapes_dict"):
        if key in before and key in after:
            after[key] = copy.deepcopy(before[key])


def _settle(second: Item, *, bias: bool) -> None:
    """Make the second layer's config fit its new arrays."""
    config = _config(second)
    set_bias(config, has=bias)
    for initializer in ("kernel_initializer", "init"):
        make_shapeless(config, initializer)
