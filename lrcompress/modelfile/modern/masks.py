"""The padding that goes along the calls of a functional model.

Keras 3 passes on the mask of a layer's only input; beside initial states none, where Keras 2 passed that
of the sequence: so one is made.
"""

from __future__ import annotations

from typing import Any

from lrcompress.kinds.terms import DROPOUTS, as_dict, as_list
from lrcompress.modelfile.graph import Container, Item, Ref, unused_name
from lrcompress.modelfile.modern.calls import RECURRENT, operation_entry, tensor
from lrcompress.modelfile.modern.notes import Notes

# Layers with one input whose output has the mask of the input.
_PASSING = DROPOUTS | {
    "Activation", "BatchNormalization", "Dense", "ELU", "LayerNormalization", "LeakyReLU", "PReLU",
    "ReLU", "Softmax", "ThresholdedReLU", "TimeDistributed", "ActivityRegularization",
}  # fmt: skip
# Layers whose output has none, whatever the input has.
_ENDING = {"InputLayer", "Flatten", "GlobalAveragePooling1D", "RepeatVector"}


def explicit_masks(tree: Container, notes: Notes) -> None:
    """Hand each recurrent layer of a functional model with initial states the mask of its sequence."""
    for item in tree.items:
        for call, node in zip(item.calls, as_list(item.entry.get("inbound_nodes")), strict=False):
            keywords = as_dict(as_dict(node).get("kwargs"))
            has_states = item.class_name in RECURRENT and "initial_state" in keywords and call
            if not has_states or keywords.get("mask") is not None:
                continue
            here = notes.inside(item.name)
            try:
                mask = _mask(call[0], tree, item.name)
            except _UnclearError:
                here.warn(
                    "Keras 3 does not pass padding on beside initial states, and where it comes from "
                    "could not be followed: compare the outputs on padded inputs."
                )
                continue
            if mask is not None:
                keywords["mask"] = mask
                here.changed("mask of the padding passed beside initial states")


class _UnclearError(Exception):
    """Where a mask comes from cannot be said: a layer on the way does something of its own with it."""


def _mask(ref: Ref, tree: Container, user: str) -> dict[str, Any] | None:
    """Return the mask that a tensor has in Keras 2 as a new tensor, None where it has none."""
    item = tree.by_name[ref.layer]
    sources = item.calls[ref.node] if ref.node < len(item.calls) else []
    embedded = item.class_name == "Embedding"
    if item.class_name in _ENDING or (embedded and not item.config.get("mask_zero")):
        return None
    if (embedded or item.class_name == "Masking") and len(sources) == 1:
        return _made(item, sources[0], tree, user)
    recurrent = as_dict(as_dict(item.config.get("layer")).get("config")) or item.config
    returns_steps = item.class_name in RECURRENT and recurrent.get("return_sequences")
    first_output = returns_steps and ref.tensor == 0 and sources
    if first_output or (item.class_name in _PASSING and len(sources) == 1):
        return _mask(sources[0], tree, user)
    if not any(i.class_name == "Masking" or i.config.get("mask_zero") for i in tree.walk()):
        return None
    raise _UnclearError


def _made(item: Item, source: Ref, tree: Container, user: str) -> dict[str, Any]:
    """Add the functions that make a mask to a model, and return their result."""
    padding = item.config.get("mask_value", 0.0) if item.class_name == "Masking" else 0
    taken = {str(as_dict(entry).get("name")) for entry in tree.layer_entries} | set(tree.by_name)
    name = unused_name(f"{user}_mask", taken)
    node = {"args": [tensor([*source]), padding], "kwargs": {}}
    tree.layer_entries.append(operation_entry("numpy.NotEqual", name, [node], {}))
    if item.class_name == "Masking":
        node = {"args": [tensor([name, 0, 0])], "kwargs": {}}
        name = unused_name(f"{name}_steps", taken)
        settings = {"axis": -1, "keepdims": False}
        tree.layer_entries.append(operation_entry("numpy.Any", name, [node], settings))
    return tensor([name, 0, 0])
