"""Which layers of a model file hold NaN or infinity; nothing of the model is run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.modelfile.container import OpenModel, opened
from lrcompress.modelfile.hdf5 import StoredArray
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.read import check_unchanged, stored_values
from lrcompress.modelfile.untrusted import decoding

# Numbers looked at in one go.
PIECE = 2**22
# Trained weights hardly compress: what claims more is not read, so that the file bounds the work.
MOST_TIMES = 4
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


def not_finite(model: ModelFile) -> dict[str, int]:
    """Return how many numbers of each layer are NaN or infinity, by its path; others are left out."""
    check_unchanged(model)
    arrays = model.weights.index.arrays
    found = {}
    with opened(model.path, index=model.weights.index) as file, decoding(model.path):
        for path, names in model.weights.of_layer.items():
            wrong = sum(_count(file, arrays[name]) for name in names if name in arrays)
            if wrong:
                found["/".join(path)] = wrong
    return found


def _count(file: OpenModel, stored: StoredArray) -> int:
    width = _BYTES.get(stored.dtype)
    if width is None or stored.size * width > MOST_TIMES * stored.stored:
        return 0
    wrong, values = 0, None
    for start in range(0, stored.size, PIECE):
        if values is None or isinstance(values, np.memmap):
            # Mapped anew for each piece: what was looked at need not stay in memory.
            values = stored_values(file, stored, PIECE)
        wrong += _wrong(values.reshape(-1)[start : start + PIECE])
    return wrong


def _wrong(values: NDArray[Any]) -> int:
    if values.dtype == np.float16:
        # Told by the exponent's bits: NumPy computes with halves one by one.
        return int(((values.view(np.uint16) & 0x7C00) == 0x7C00).sum())
    return int((~np.isfinite(values)).sum())
