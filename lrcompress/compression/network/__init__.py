"""Several layers of a network under one budget: forms and sizes are chosen together, and the file is written once."""

from __future__ import annotations

from lrcompress.compression.network.request import (
    Compressed,
    CurvePoint,
    LayerChange,
    NetworkRequest,
    Observe,
    Observed,
    Visit,
)
from lrcompress.compression.network.whole import compress

__all__ = [
    "Compressed",
    "CurvePoint",
    "LayerChange",
    "NetworkRequest",
    "Observe",
    "Observed",
    "Visit",
    "compress",
]
