"""What a row holds of a measured classifier: its errors, and which test samples are wrong."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError
from lrcompress.measure import Evaluation


def figures(found: Evaluation) -> dict[str, Any]:
    """Return the figures of a classifier with one output, the packed predictions as ``wrong``."""
    if found.wrong is None:
        what = "weighted samples" if found.measure == "error_rate" else found.measure
        msg = (
            f"The model is measured by its {what}; expected a classifier with one output and samples "
            "that weigh alike: networks are compared by which samples each gets wrong."
        )
        raise DatasetError(msg, code="not_a_classifier")
    return {**found.to_json(), "wrong": pack(found.wrong)}


def pack(wrong: NDArray[np.bool_]) -> str:
    """Return the bits of `wrong`, (samples,), as base64 of zlib of one bit a sample, first bit high."""
    return base64.b64encode(zlib.compress(np.packbits(wrong).tobytes(), 9)).decode("ascii")


def unpack(text: str, samples: int) -> NDArray[np.bool_]:
    """Return what `pack` was given, (samples,)."""
    reason: Exception | None = None
    try:
        # One byte more than asked for shows what is too long.
        compressed = base64.b64decode(text, validate=True)
        data = zlib.decompressobj().decompress(compressed, samples // 8 + 2)
    except (ValueError, TypeError, zlib.error) as error:
        data, reason = b"", error
    if len(data) != -(-samples // 8):
        msg = f"The wrong predictions of a row are not those of {samples} samples; work the row out again."
        raise DatasetError(msg, code="results_unreadable") from reason
    return np.unpackbits(np.frombuffer(data, np.uint8), count=samples).astype(np.bool_)
