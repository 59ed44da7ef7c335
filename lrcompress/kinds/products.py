"""The matrix that two Dense layers make up: B C, and the bias b1 C + b2."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Doubles at a time: of a head with a million outputs the product alone fills gigabytes.
_BLOCK = 2**22


def product(first: NDArray[Any], second: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return B C, computed in float64 and rounded once.

    Args:
        first: B, (m, r).
        second: C, (r, n).
        dtype: NumPy's name of the result's type.

    Returns:
        (m, n) array; infinite where the type cannot hold a value.
    """
    made = np.empty((first.shape[0], second.shape[1]), dtype)
    right = second.astype(np.float64)
    rows = max(1, _BLOCK // max(1, second.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks, with a sentence
        for start in range(0, len(made), rows):
            made[start : start + rows] = first[start : start + rows].astype(np.float64) @ right
    return made


def folded_bias(
    first: NDArray[Any] | None, kernel: NDArray[Any], second: NDArray[Any] | None, dtype: str
) -> NDArray[Any] | None:
    """Return b1 C + b2, the bias of the whole, computed in float64 and rounded once.

    Args:
        first: b1, (r,), or None.
        kernel: C, (r, n).
        second: b2, (n,), or None.
        dtype: NumPy's name of the result's type.

    Returns:
        (n,) array, or None where neither layer has a bias.
    """
    if first is None:
        return None if second is None else second.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        made = first.astype(np.float64) @ kernel.astype(np.float64)
        return (made if second is None else made + second).astype(dtype)
