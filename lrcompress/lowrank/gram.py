"""The Gram matrix of a kernel's short side, and its leading eigenpairs by LAPACK.

``A^T A = V S^2 V^T`` for a tall A, ``A A^T = U S^2 U^T`` for a wide one: at near the speed of a
matrix product, exact for singular values down to sqrt(eps) of the largest.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.cores import each
from lrcompress.lowrank.matrix import KernelSource, panels

# Columns of a block: far fewer would slow the product, far more leave cores without work.
SIDE = 512
# Up to this side all eigenpairs by NumPy take less time than importing scipy.linalg.
SMALL_SIDE = 512


class Pairs(NamedTuple):
    """Leading eigenpairs of a Gram matrix G, of side k.

    Attributes:
        values: Those known, r or all k, descending, float64.
        vectors: (k, r), orthonormal columns in the order of the values.
        most: No r eigenvalues of G sum to more than this; their sum, where they are exact.
        beyond: Largest eigenvalue of what is left of G outside the vectors, at most.
    """

    values: NDArray[np.float64]
    vectors: NDArray[Any]
    most: float
    beyond: float


def gram_matrix(
    kernel: KernelSource, dtype: type[np.floating[Any]], unit: int
) -> tuple[NDArray[Any], float]:
    """Return the Gram matrix of ``2^-unit A``, min(m, n) square, and its trace."""
    parts = (_gram_of(panel) for _, panel in panels(kernel, dtype, unit))
    gram = next(parts)
    for part in parts:
        gram += part
        del part  # or there are three while the next is made
    return gram, float(np.trace(gram, dtype=np.float64))


def _gram_of(panel: NDArray[Any]) -> NDArray[Any]:
    """Return P^T P of a panel P, (long, short), by pairs of its columns' blocks."""
    short = panel.shape[1]
    blocks = [slice(start, start + SIDE) for start in range(0, short, SIDE)]
    product = np.empty((short, short), panel.dtype)

    def fill(pair: tuple[slice, slice]) -> None:
        # NumPy sees where both factors are one matrix, and computes half of the product.
        rows, columns = (panel[:, block] for block in pair)
        product[pair] = rows.T @ (rows if pair[0] == pair[1] else columns)
        product[pair[::-1]] = product[pair].T

    each(fill, combinations_with_replacement(blocks, 2))
    return product


def eigenvalues(gram: NDArray[Any]) -> NDArray[np.float64]:
    """Return all eigenvalues of G, descending, float64; G may be overwritten."""
    if len(gram) <= SMALL_SIDE:
        return np.asarray(np.linalg.eigvalsh(gram)[::-1], np.float64)
    from scipy.linalg import eigh

    values = eigh(gram, eigvals_only=True, overwrite_a=True, check_finite=False, driver="ev")
    return np.asarray(values[::-1], np.float64)


def leading_pairs(gram: NDArray[Any], rank: int) -> Pairs:
    """Return the r leading eigenpairs of G by LAPACK, or raise LinAlgError; G may be overwritten."""
    size = len(gram)
    is_small = size <= SMALL_SIDE
    if is_small:
        values, vectors = np.linalg.eigh(gram)
    else:
        from scipy.linalg import eigh

        # One more than asked for: the spectral error of the best rank-r matrix.
        wanted = [size - min(rank + 1, size), size - 1]
        values, vectors = eigh(gram, subset_by_index=wanted, overwrite_a=True, check_finite=False)
        if len(values) <= wanted[1] - wanted[0]:
            # Of many equal ones LAPACK's search for a part of them misses some, on some processors.
            msg = f"{len(values)} of {wanted[1] - wanted[0] + 1} eigenvalues found"
            raise np.linalg.LinAlgError(msg)
    values, vectors = values[::-1].astype(np.float64), vectors[:, ::-1]
    beyond = float(values[rank]) if rank < size else 0.0
    known = values[:rank]
    return Pairs(
        values if is_small else known, vectors[:, :rank], float(known.sum()), max(beyond, 0.0)
    )
