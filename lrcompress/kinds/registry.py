"""Every layer kind there is: one file each, and one entry here, from which everything else follows."""

from __future__ import annotations

from typing import Any

from lrcompress.kinds import built_in_class
from lrcompress.kinds.attention.kind import Attention
from lrcompress.kinds.conv.convolution import Convolution
from lrcompress.kinds.conv.separable import SeparableConvolution
from lrcompress.kinds.conv.transposed import TransposedConvolution
from lrcompress.kinds.dense.kind import Dense
from lrcompress.kinds.einsum import Einsum
from lrcompress.kinds.embedding import Embedding
from lrcompress.kinds.protocol import Kind
from lrcompress.kinds.recurrent import Recurrent

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


def any_kind_of(entry: dict[str, Any]) -> Kind | None:
    """Return the kind of a serialized layer, wrappers peeled; None of a layer of no known kind."""
    name = built_in_class(entry)
    return next((kind for kind in KINDS if name in kind.classes), None)
