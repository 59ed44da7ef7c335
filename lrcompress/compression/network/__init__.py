"""Several layers of a network under one budget: forms and sizes are chosen together, and the file is written once."""

from __future__ import annotations

from lrcompress.compression.network.request import (
    BudgetName,
    Compressed,
    CurvePoint,
    NetworkRequest,
    Observe,
    Visit,
)
from lrcompress.compression.network.undone import undone
from lrcompress.compression.network.whole import compress, look

__all__ = [
    "BudgetName",
    "Compressed",
    "CurvePoint",
    "NetworkRequest",
    "Observe",
    "Visit",
    "compress",
    "look",
    "undone",
]
