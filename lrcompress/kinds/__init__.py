"""What a layer kind is, from its config and arrays alone: no Keras, no files.

A kind is one file: it implements `protocol.Kind` and stands in `KINDS`, and everything else follows.
"""

from __future__ import annotations

from typing import Any

from lrcompress.kinds.dense import Dense
from lrcompress.kinds.protocol import (
    Array,
    Halves,
    Kind,
    Refusal,
    Serialized,
    View,
    folded,
    product,
)
from lrcompress.kinds.terms import as_dict, is_built_in

__all__ = [
    "CLASSES",
    "KINDS",
    "NAMES",
    "PER_STEP",
    "Array",
    "Halves",
    "Kind",
    "Refusal",
    "Serialized",
    "View",
    "folded",
    "is_wrapped",
    "kind_of",
    "peeled",
    "product",
]

KINDS: tuple[Kind, ...] = (Dense(),)
CLASSES = frozenset[str]().union(*(kind.classes for kind in KINDS))
PER_STEP = frozenset[str]().union(*(kind.per_step for kind in KINDS))
# For sentences.
NAMES = " or ".join(kind.name for kind in KINDS)
# The wrapper that applies a layer at each step of a sequence.
_WRAPPER = "TimeDistributed"


def is_wrapped(entry: dict[str, Any]) -> bool:
    """Return whether a serialized layer applies another one at each step."""
    return entry.get("class_name") == _WRAPPER and is_built_in(entry)


def peeled(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object of a layer, or of the one that it applies at each step."""
    return as_dict(as_dict(entry.get("config")).get("layer")) if is_wrapped(entry) else entry


def kind_of(entry: dict[str, Any]) -> Kind | None:
    """Return the kind of a serialized layer, wrappers peeled; None of a layer of no known kind."""
    entry = peeled(entry)
    if not is_built_in(entry) or not isinstance(entry.get("config"), dict):
        return None
    class_name = str(entry.get("class_name"))  # in a stranger's file it may be anything
    return next((kind for kind in KINDS if class_name in kind.classes), None)
