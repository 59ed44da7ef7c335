"""Which stored arrays of a `.keras` archive Keras trains, in the order its optimizer counts them.

An optimizer's slots have no names: the third one belongs to the third trained variable of the
model that Keras rebuilds. What a layer trains is read from its config where that says so. Of all
others, custom ones too, every array of floats is counted; as none trains more than it stores, the
number of slots then shows whether that holds for each of them.
"""

from __future__ import annotations

from typing import Any

from lrcompress.kinds.terms import is_built_in, quantization
from lrcompress.modelfile.hdf5 import Index
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.topology import Container, Item
from lrcompress.modelfile.topology import Path as LayerPath
from lrcompress.modelfile.untrusted import as_dict
from lrcompress.printable import printable

_WRAPPERS = ("TimeDistributed", "Bidirectional")
_MODELS = ("Sequential", "Functional", "Model")


class UncertainError(Exception):
    """Says, in words that continue "because", what keeps the slots' owners from being known."""


def trained_arrays(model: ModelFile) -> dict[LayerPath, tuple[str, ...]]:
    """Return the trained arrays of each layer of an archive, layers in Keras' order.

    Args:
        model: The archive.

    Returns:
        Array paths in the order of storage by layer; nested models, whose layers stand for
        themselves, are left out. These are the trained ones if they are as many as there are
        slots of one kind. A layer's optimizer takes them in this order if they lie in one group,
        and in an order of the layer's own otherwise.

    Raises:
        UncertainError: If frozen parts, or weights that are not stored, leave the answer open.
    """
    tree, weights = model.tree, model.weights
    if tree is None:
        msg = "the model lists no layers"
        raise UncertainError(msg)
    _check_models(tree)
    items = {item.path: item for item in tree.walk()}
    layers = [path for path in weights.groups if items[path].inner is None]
    owned = {array for path in layers for array in weights.of_layer[path]}
    for root in (weights.numbering.prefix, "vars"):
        for array, _ in weights.index.under(root):
            if array not in owned and is_float(weights.index, array):
                msg = f"{printable(array)} belongs to no layer"
                raise UncertainError(msg)
    return {
        path: _trained(
            items[path].entry,
            tuple(a for a in weights.of_layer[path] if is_float(weights.index, a)),
            items[path],
        )
        for path in layers
    }


def is_float(index: Index, array: str) -> bool:
    """Return whether an array may be trained at all: states of random generators are integers."""
    return index.arrays[array].dtype.startswith(("float", "bfloat"))


def _check_models(tree: Container) -> None:
    """Refuse models of a custom class: they may hold more than their layers, in another order."""
    nested = [item.inner for item in tree.walk() if item.inner is not None]
    for container in (tree, *nested):
        entry = container.entry
        if entry.get("class_name") not in _MODELS or not is_built_in(entry):
            msg = f"{printable(str(entry.get('class_name')))} is a custom class of model"
            raise UncertainError(msg)


def _is_frozen(entry: dict[str, Any]) -> bool:
    """Return whether a serialized layer is not to be trained."""
    return as_dict(entry.get("config")).get("trainable", True) is False


def _trained(entry: dict[str, Any], floats: tuple[str, ...], item: Item) -> tuple[str, ...]:
    """Return those of a layer's arrays that are trained.

    Args:
        entry: The layer, or the one that it wraps.
        floats: Its arrays of floats.
        item: The layer, for messages.
    """
    if not floats:
        return ()
    config, class_name = as_dict(entry.get("config")), entry.get("class_name")
    built_in = is_built_in(entry)
    if quantization(config) or config.get("lora_rank"):
        msg = f"layer {printable(item.name)} trains other weights than it stores"
        raise UncertainError(msg)
    if built_in and class_name in _WRAPPERS:
        inner = as_dict(config.get("layer"))
        backward = as_dict(config.get("backward_layer")) or inner
        # A frozen layer inside one that is not, or the reverse, is not rebuilt as it was.
        if len({_is_frozen(part) for part in (entry, inner, backward)}) == 1:
            turned = tuple(array for array in floats if "/backward_layer/" in array)
            straight = tuple(array for array in floats if array not in turned)
            return _trained(inner, straight, item) + _trained(backward, turned, item)
    elif _is_frozen(entry):
        # Keras freezes a layer's own weights, but rebuilds layers inside it as they come.
        if built_in and len({array.rpartition("/")[0] for array in floats}) == 1:
            return ()
    elif built_in and class_name == "BatchNormalization":
        # Its moving statistics come last, and their number differs by version.
        return floats[: sum(config.get(key, True) is not False for key in ("scale", "center"))]
    elif built_in and class_name == "Normalization":
        return ()
    else:
        return floats
    msg = f"layer {printable(item.name)} may be frozen in part"
    raise UncertainError(msg)
