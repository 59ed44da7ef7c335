"""Orthonormal columns at the speed of matrix products: Cholesky QR."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Entries of the inverse factor above which one pass leaves more than rounding: its columns are
# orthonormal to eps times the square of such an entry.
NEARLY_PARALLEL = 8.0


def orthonormal(block: NDArray[Any]) -> NDArray[Any]:
    """Return an orthonormal basis of the columns of Y, (k, w).

    ``Y = Q R`` with ``Y^T Y = R^T R`` (Cholesky QR), again where the columns were nearly parallel,
    and by Householder's QR where they are so to the precision of a Gram matrix.
    """
    for _ in range(2):
        factor, spread = _inverse_root(block)
        if factor is None:
            return np.linalg.qr(block)[0]
        block = block @ factor
        if spread < NEARLY_PARALLEL:
            break
    return block


def orthonormal_pair(block: NDArray[Any], other: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return ``Y R^-1`` and ``X R^-1`` for ``Y = Q R``: a recurrence goes on in the new basis."""
    factor, _ = _inverse_root(block)
    if factor is None:
        basis, R = np.linalg.qr(block)
        return basis, other @ np.linalg.pinv(R)
    return block @ factor, other @ factor


def _inverse_root(block: NDArray[Any]) -> tuple[NDArray[Any] | None, float]:
    """Return ``R^-1`` with ``Y^T Y = R^T R``, None where that is out of reach, and its spread."""
    from scipy.linalg.lapack import dtrtri

    gram = (block.T @ block).astype(np.float64)
    norms = np.sqrt(np.diag(gram))
    if not norms.all() or not np.isfinite(norms).all():
        return None, np.inf
    # Columns of length one: then only their angles make the factorization hard.
    gram /= norms
    gram /= norms[:, None]
    try:
        root = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None, np.inf
    inverse, failed = dtrtri(root, lower=1)
    if failed:
        return None, np.inf
    factor = inverse.T / norms[:, None]
    return np.asarray(factor, block.dtype, order="C"), float(np.abs(inverse).max())
