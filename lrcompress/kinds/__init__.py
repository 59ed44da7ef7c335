"""What a layer kind is, from its config and arrays alone: no Keras, no files.

A kind is one file: it implements `protocol.Kind` and stands in `KINDS`, and everything else follows.
"""

from __future__ import annotations

from typing import Any, TypeVar

from lrcompress.kinds.attention import Attention
from lrcompress.kinds.between import acts_on_each
from lrcompress.kinds.conv.convolution import Convolution, TransposedConvolution
from lrcompress.kinds.conv.separable import SeparableConvolution
from lrcompress.kinds.dense import Dense
from lrcompress.kinds.einsum import Einsum
from lrcompress.kinds.embedding import Embedding
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Batch,
    Form,
    Halves,
    HeadKind,
    Kind,
    LinearKind,
    Place,
    Refusal,
    Serialized,
    Solution,
    View,
    folded,
    product,
)
from lrcompress.kinds.recurrent import Recurrent
from lrcompress.kinds.shapes.multiplications import multiplications
from lrcompress.kinds.terms import as_dict, is_built_in

__all__ = [
    "CLASSES",
    "FAMILIES",
    "HEADS",
    "KINDS",
    "NAMES",
    "PER_STEP",
    "Array",
    "Arrays",
    "Batch",
    "Form",
    "Halves",
    "HeadKind",
    "Kind",
    "LinearKind",
    "Place",
    "Refusal",
    "Serialized",
    "Solution",
    "View",
    "acts_on_each",
    "any_kind_of",
    "folded",
    "is_wrapped",
    "kind_of",
    "multiplications",
    "peeled",
    "product",
]

# Of the first that fits.
KINDS: tuple[Kind, ...] = (
    Dense(),
    Convolution(),
    TransposedConvolution(),
    SeparableConvolution(),
    Recurrent(),
    Embedding(),
    Einsum(),
    Attention(),
)
FAMILIES = tuple(dict.fromkeys(kind.family for kind in KINDS))
# Those that may end a model: without --layers the last of them is factorized.
HEADS: tuple[HeadKind, ...] = (Dense(),)
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


def kind_of(entry: dict[str, Any]) -> HeadKind | None:
    """Return the kind of a serialized layer that may end a model, wrappers peeled; None of others."""
    return _of(HEADS, entry)


def any_kind_of(entry: dict[str, Any]) -> Kind | None:
    """Return the kind of a serialized layer, wrappers peeled; None of a layer of no known kind."""
    return _of(KINDS, entry)


_K = TypeVar("_K", bound=Kind)


def _of(kinds: tuple[_K, ...], entry: dict[str, Any]) -> _K | None:
    entry = peeled(entry)
    if not is_built_in(entry) or not isinstance(entry.get("config"), dict):
        return None
    class_name = str(entry.get("class_name"))  # in a stranger's file it may be anything
    return next((kind for kind in kinds if class_name in kind.classes), None)
