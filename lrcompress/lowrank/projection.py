"""Factors from an orthonormal basis of the leading singular vectors of the short side.

With V, (k, r), such a basis, ``A V`` is the other factor: ``A ~ (A V) V^T`` for a tall A and
``A ~ V (V^T A)`` for a wide one is the nearest matrix with that row or column space.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.matrix import KernelSource, panels

# Rows of the long factor whose products are summed in its own precision before float64.
RUN = 2**15
# Relative error of a singular value from which the scales of its column and row are made equal.
UNBALANCED = 1e-6


class Projection(NamedTuple):
    """Balanced factors of ``2^-unit A`` and what was measured on the way.

    Attributes:
        B: (m, r), in the dtype of A, of ``2^-unit A`` like the rest.
        C: (r, n).
        sigma: ``||A v||`` for each column v of the basis, float64.
        captured: ``<A, B C>``, to the rounding of the products.
        product: ``||B C||_F^2``.
    """

    B: NDArray[Any]
    C: NDArray[Any]
    sigma: NDArray[np.float64]
    captured: float
    product: float


def project(
    kernel: KernelSource, basis: NDArray[Any], sigma: NDArray[np.float64], unit: int
) -> Projection:
    """Return ``B = U sqrt(S)`` and ``C = sqrt(S) V^T`` for a basis V (of U for a wide kernel).

    The dtype of the basis, (k, r), is that of the products; of the singular values only the scales
    count.
    """
    (m, n), rank = kernel.shape, basis.shape[1]
    dtype, tall = basis.dtype.type, m >= n
    short = (basis * np.sqrt(sigma)).astype(kernel.dtype)
    # From the factor as it is stored: what its rounding costs is then measured, not lost.
    # Directions without energy are left to zeros.
    inverse = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=sigma > 0)
    inner = (short * inverse).astype(dtype)
    long = np.empty((m, rank) if tall else (rank, n), kernel.dtype)
    gram, squares, crossed = np.zeros((rank, rank)), np.zeros(rank), np.zeros(rank)
    for where, panel in panels(kernel, dtype, unit):
        out = long[where] if tall else long[:, where]
        left, right = (panel, inner) if tall else (inner.T, panel.T)
        if out.dtype == panel.dtype:
            np.matmul(left, right, out=out)
        else:
            exact = left @ right
            out[...] = exact
            pair = exact if tall else exact.T, out if tall else out.T
            squares += np.einsum("ij,ij->j", pair[0], pair[0], dtype=np.float64)
            crossed += np.einsum("ij,ij->j", *pair, dtype=np.float64)
            # What is stored, in the precision of the products and in memory that is at hand.
            exact[...] = out
            out = exact
        rows = out if tall else out.T
        for start in range(0, len(rows), RUN):
            run = rows[start : start + RUN]
            gram += run.T @ run
    if kernel.dtype == dtype:
        squares = crossed = np.diag(gram)
    # The long factor is A v / sqrt(s): <A, B C> sums s times its columns with themselves.
    captured = float((crossed * sigma).sum())
    wide = short.astype(np.float64)
    product = float(((wide.T @ wide) * gram).sum())
    lengths = np.sqrt(np.einsum("ij,ij->j", inner, inner, dtype=np.float64))
    measured = np.divide(np.sqrt(squares), lengths, out=np.zeros_like(lengths), where=lengths > 0)
    _balance(long if tall else long.T, short, sigma, measured)
    B, C = (np.ascontiguousarray(part) for part in ((long, short.T) if tall else (short, long)))
    # The entry of largest magnitude in each column of B is positive.
    negative = -B.min(axis=0) > B.max(axis=0)
    B *= np.where(negative, -1, 1).astype(B.dtype)
    for row in np.flatnonzero(negative):
        np.negative(C[row], out=C[row])
    return Projection(B, C, measured, captured, product)


def _balance(
    long: NDArray[Any],
    short: NDArray[Any],
    sigma: NDArray[np.float64],
    measured: NDArray[np.float64],
) -> None:
    """Give the columns of both factors one norm, where a singular value was off."""
    for column in np.flatnonzero(np.abs(measured - sigma) > UNBALANCED * measured):
        if measured[column] == 0:
            long[:, column] = short[:, column] = 0
            continue
        ratio = float(np.sqrt(measured[column] / sigma[column]))
        long[:, column] /= ratio
        short[:, column] *= ratio
