"""Check the factors given for a layer, and round them to the type the file stores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import KernelError, RankError
from lrcompress.modelfile.hdf5 import cast
from lrcompress.modelfile.model import ModelFile, Replacement, Site
from lrcompress.modelfile.rewrite.plan import NewArray


def stored_factors(model: ModelFile, replacement: Replacement) -> dict[str, NewArray]:
    """Check one replacement against its layer; return its arrays in the stored type.

    Args:
        model: The file, for messages.
        replacement: Factors (m, r) and (r, n), and perhaps a bias (n,), for a kernel (m, n).

    Returns:
        ``"first"``, ``"second"`` and, if given, ``"bias"``.

    Raises:
        RankError: If a shape does not fit.
        KernelError: If a value is not finite, or no longer is in the stored type.
    """
    layer = replacement.layer
    m, n = layer.kernel_shape
    first, second = np.asarray(replacement.first), np.asarray(replacement.second)
    rank = first.shape[1] if first.ndim == 2 else 0
    if first.shape != (m, rank) or second.shape != (rank, n) or rank < 1:
        msg = (
            f"Factors of shapes {first.shape} and {second.shape} do not fit the kernel {(m, n)} "
            f"of layer {layer.path}; expected ({m}, r) and (r, {n}) with r >= 1."
        )
        raise RankError(msg)
    given = {"first": first, "second": second}
    if replacement.bias is not None:
        given["bias"] = np.asarray(replacement.bias)
        if given["bias"].shape != (n,):
            msg = f"Bias of shape {given['bias'].shape} for layer {layer.path}; expected ({n},)."
            raise RankError(msg)
    return {name: rounded(model, layer, name, values) for name, values in given.items()}


def rounded(model: ModelFile, layer: Site, name: str, values: NDArray[Any]) -> NewArray:
    """Return new values for a layer in the type that it stores.

    Args:
        model: The file, for messages.
        layer: The layer.
        name: What the values are, for messages.
        values: Any real array.

    Raises:
        KernelError: If a value is not finite, or no longer is in the stored type.
    """
    kept = cast(values, layer.dtype)
    if not (np.isfinite(values).all() and _finite(kept)):
        msg = (
            f"The {name} array for layer {layer.path} of {model.path} holds NaN or infinity, "
            f"or overflows {layer.dtype}; expected finite values."
        )
        raise KernelError(msg)
    return NewArray(kept, layer.dtype)


def _finite(kept: NDArray[Any]) -> bool:
    """Return whether values in stored form are finite."""
    if kept.dtype.kind == "V":  # bfloat16, whose exponent is all ones otherwise
        return not bool(((kept.view(np.uint16) & 0x7F80) == 0x7F80).any())
    return bool(np.isfinite(kept).all())
