"""What a layer kind is, from its config and arrays alone: no Keras, no files.

Every kind is in `lrcompress.kinds.registry`, which loads them and their mathematics; here are those that may
end a model.
"""

from __future__ import annotations

from typing import Any

from lrcompress.kinds.dense import DenseHead
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Batch,
    Form,
    HeadKind,
    Kind,
    LinearKind,
    Place,
    Serialized,
    Solution,
    View,
    folded,
    product,
)
from lrcompress.kinds.terms import as_dict, is_built_in

__all__ = [
    "CLASSES", "HEADS", "NAMES", "PER_STEP", "Array", "Arrays", "Batch", "Form", "HeadKind",
    "Kind", "LinearKind", "Place", "Serialized", "Solution", "View", "built_in_class", "folded",
    "is_wrapped", "kind_of", "peeled", "product", "serialized",
]  # fmt: skip

# Those that may end a model: without --layers the last of them is factorized.
HEADS: tuple[HeadKind, ...] = (DenseHead(),)
CLASSES = frozenset[str]().union(*(kind.classes for kind in HEADS))
PER_STEP = frozenset[str]().union(*(kind.per_step for kind in HEADS))
# For sentences.
NAMES = " or ".join(kind.name for kind in HEADS)
# The wrapper that applies a layer at each step of a sequence.
_WRAPPER = "TimeDistributed"


def is_wrapped(entry: dict[str, Any]) -> bool:
    """Return whether a serialized layer applies another one at each step."""
    return entry.get("class_name") == _WRAPPER and is_built_in(entry)


def peeled(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object of a layer, or of the one that it applies at each step."""
    return as_dict(as_dict(entry.get("config")).get("layer")) if is_wrapped(entry) else entry


def serialized(entry: dict[str, Any], arrays: tuple[Any, ...] = ()) -> Serialized:
    """Return the layer of a JSON object, or the one that it applies at each step, with its arrays."""
    entry = peeled(entry)
    return Serialized(str(entry.get("class_name")), as_dict(entry.get("config")), arrays)


def kind_of(entry: dict[str, Any]) -> HeadKind | None:
    """Return the kind of a serialized layer that may end a model, wrappers peeled; None of others."""
    name = built_in_class(entry)
    return next((kind for kind in HEADS if name in kind.classes), None)


def built_in_class(entry: dict[str, Any]) -> str | None:
    """Return the class of a serialized layer, wrappers peeled; None of a layer that is not Keras' own."""
    entry = peeled(entry)
    if not is_built_in(entry) or not isinstance(entry.get("config"), dict):
        return None
    return str(entry.get("class_name"))  # in a stranger's file it may be anything
