"""The Gram matrix of a kernel's short side, its leading eigenpairs by LAPACK, and factors out of these.

``A^T A = V S^2 V^T`` for a tall A, ``A A^T = U S^2 U^T`` for a wide one: at near the speed of a
matrix product, exact for singular values down to sqrt(eps) of the largest. With V, (k, r), an orthonormal
basis of the leading ones, ``A ~ (A V) V^T`` for a tall A and ``A ~ V (V^T A)`` for a wide one is the nearest
matrix with that row or column space.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np

from lrcompress.lowrank.matrix import Array, Dtype, Floats, KernelSource, each, panels

# Columns of a block: far fewer would slow the product, far more leave cores without work.
SIDE = 512
# Up to this side all eigenpairs by NumPy take less time than importing scipy.linalg.
SMALL_SIDE = 512
# Rows of the long factor whose products are summed in its own precision before float64.
RUN = 2**15
# Relative error of a singular value from which the scales of its column and row are made equal.
UNBALANCED = 1e-6


class Pairs(NamedTuple):
    """Leading eigenpairs of a Gram matrix G, of side k."""

    values: Floats  # those known, r or all k, descending
    vectors: Array  # (k, r), orthonormal columns in the order of the values
    most: float  # no r eigenvalues of G sum to more than this; their sum, where they are exact
    beyond: float  # largest eigenvalue of what is left of G outside the vectors, at most


def gram_matrix(kernel: KernelSource, dtype: Dtype, unit: int) -> tuple[Array, float]:
    """Return the Gram matrix of ``2^-unit A``, min(m, n) square, and its trace."""
    parts = (_gram_of(panel) for _, panel in panels(kernel, dtype, unit))
    gram = next(parts)
    for part in parts:
        gram += part
        del part  # or there are three while the next is made
    return gram, float(np.trace(gram, dtype=np.float64))


def _gram_of(panel: Array) -> Array:
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


def eigenvalues(gram: Array) -> Floats:
    """Return all eigenvalues of G, descending, float64; G may be overwritten."""
    if len(gram) <= SMALL_SIDE:
        return np.asarray(np.linalg.eigvalsh(gram)[::-1], np.float64)
    from scipy.linalg import eigh

    values = eigh(gram, eigvals_only=True, overwrite_a=True, check_finite=False, driver="ev")
    return np.asarray(values[::-1], np.float64)


def leading_pairs(gram: Array, rank: int) -> Pairs:
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


class Projection(NamedTuple):
    """Balanced factors of ``2^-unit A``, in its dtype, and what was measured on the way."""

    B: Array
    C: Array
    sigma: Floats  # ``||A v||`` for each column v of the basis
    captured: float  # ``<A, B C>``, to the rounding of the products
    product: float  # ``||B C||_F^2``


def project(kernel: KernelSource, basis: Array, sigma: Floats, unit: int) -> Projection:
    """Return ``B = U sqrt(S)`` and ``C = sqrt(S) V^T`` for a basis V (of U if wide), products in its dtype."""
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
    # Columns of both factors have one norm, also where a singular value was off.
    for column in np.flatnonzero(np.abs(measured - sigma) > UNBALANCED * measured):
        other = long[:, column] if tall else long[column]
        if measured[column] == 0:
            other[:] = short[:, column] = 0
            continue
        ratio = float(np.sqrt(measured[column] / sigma[column]))
        other /= ratio
        short[:, column] *= ratio
    B, C = (np.ascontiguousarray(part) for part in ((long, short.T) if tall else (short, long)))
    # The entry of largest magnitude in each column of B is positive.
    negative = -B.min(axis=0) > B.max(axis=0)
    B *= np.where(negative, -1, 1).astype(B.dtype)
    for row in np.flatnonzero(negative):
        np.negative(C[row], out=C[row])
    return Projection(B, C, measured, captured, product)
