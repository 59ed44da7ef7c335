"""Several layers of a network under one budget: forms and sizes are chosen together, and the file is written once."""

from __future__ import annotations

from lrcompress.compression.network.request import BudgetName, NetworkRequest, Observe, Visit
from lrcompress.compression.network.whole import Compressed, compress, look, undone

__all__ = [
    "BudgetName",
    "Compressed",
    "NetworkRequest",
    "Observe",
    "Visit",
    "compress",
    "look",
    "undone",
]
