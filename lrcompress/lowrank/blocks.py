"""Passing over a large matrix piece by piece, at a scale where squares are safe."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 64 * 2**20


def row_blocks(matrix: NDArray[Any]) -> list[slice]:
    """Return slices of rows that are small in float64, so that no second copy of A is needed."""
    step = max(1, BLOCK_BYTES // (8 * max(1, matrix.shape[1])))
    return [slice(start, start + step) for start in range(0, matrix.shape[0], step)]


def magnitude(matrix: NDArray[Any]) -> int | None:
    """Return e with ``2^(e-1) <= max |a_ij| < 2^e``, or None for a matrix of zeros.

    Squares of entries near 1e160 overflow and near 1e-170 vanish in float64 (1e20 and 1e-25 in
    float32). Scaling by a power of two avoids both and rounds nothing.
    """
    largest = max(float(matrix.max()), -float(matrix.min()))
    return int(np.frexp(largest)[1]) if largest > 0 else None


def norm_squared(matrix: NDArray[Any], unit: int = 0) -> float:
    """Return ``||2^-unit A||_F^2``, summed in float64."""
    return sum(
        float(np.square(np.ldexp(matrix[rows].astype(np.float64), -unit)).sum())
        for rows in row_blocks(matrix)
    )
