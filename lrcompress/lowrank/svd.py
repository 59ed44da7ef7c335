"""Truncated SVD of a kernel: the best rank-r matrix in the Frobenius and the spectral norm.

``A = U S V^T``, ``B = U_r sqrt(S_r)``, ``C = sqrt(S_r) V_r^T`` minimise ``||A - B C||`` (Eckart &
Young, Psychometrika 1, 1936; Mirsky, Quart. J. Math. 11, 1960). The split is balanced: B and C have
equal scales, which suits fine-tuning, int8 and float16.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import RankError
from lrcompress.lowrank.attempts import (
    TOLERANCE,
    Attempt,
    by_gram,
    by_lapack,
    by_products,
    by_triangle,
    eigenpairs,
    is_known,
    least_error,
    tail_error,
)
from lrcompress.lowrank.blocks import KernelSource
from lrcompress.lowrank.certificate import Certificate
from lrcompress.lowrank.cores import one_blas_thread
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.gram import SMALL_SIDE, eigenvalues, gram_matrix
from lrcompress.lowrank.lapack import triangular_factor
from lrcompress.lowrank.survey import check_kernel, check_shape, survey

__all__ = ["check", "check_kernel", "gram_matrix", "optimum", "singular_values", "truncated_svd"]

# Up to here float64 takes milliseconds, and LAPACK's SVD of a float64 kernel little more.
SMALL_ENTRIES = 2**20
# Ranks up to this part of the short side are found with fewer multiplications than the Gram matrix
# takes.
LOW_RANK = 100
# Below this part of the largest, eigenvalues of a float32 Gram matrix have less than two digits.
FLOAT32_LOSES = 1e-4
# Beyond this side the Gram matrix alone takes gigabytes.
GRAM_SIDE = 2**14


def truncated_svd(kernel: KernelSource, rank: int) -> Factors:
    """Return the best rank-r factors of a kernel, with a certificate.

    >>> kernel = np.diag([3.0, 2.0, 1.0])
    >>> found = truncated_svd(kernel, 2)
    >>> bool(np.allclose(found.B @ found.C, np.diag([3.0, 2.0, 0.0])))
    True
    >>> round(found.certificate.spectral_error, 6)  # of A - B C, relative to A: 1 / 3
    0.333333

    By the shape and the rank, from the fastest to the safest: the Gram matrix of the short side
    and its leading eigenvectors (LAPACK's where the side is small or the rank is not, by filtered
    subspace iteration with a proof of its error where they are many), the same iteration on the
    kernel itself for a rank so low that even the Gram matrix costs more, LAPACK's SVD. A result
    that misses its tolerance, or whose certificate cannot tell, is computed again by a safer one.

    Args:
        kernel: A, (m, n), float16, float32 or float64. What is no plain array (a memory map, an
            HDF5 dataset, anything sliced like one) is read in blocks, three times or four, and
            never held whole.
        rank: r, from 1 to min(m, n).

    Returns:
        Factors in the kernel's dtype, ``||A - B C||_F`` at most 1.001 times the least possible, up
        to the rounding of the dtype. Computed in float32 for large kernels of float16 and float32,
        in float64 otherwise. Deterministic: the entry of largest magnitude in each column of B is
        positive, random starts are always the same.

    Raises:
        KernelError: If the kernel is not a finite matrix.
        RankError: If there is no such rank.
    """
    _check_rank(kernel, rank)
    size = survey(kernel)
    if not size.total:
        return _zeros(kernel, rank)
    attempts = _attempts(kernel, rank)
    for attempt in attempts:
        last = attempt is attempts[-1]
        try:
            found, known = attempt(kernel, rank, size)
        except np.linalg.LinAlgError:
            if last:
                raise
            continue
        # What is missing to the optimum may be nothing but the rounding of the stored factors.
        rounded = found.certificate.frobenius_error <= 16 * float(np.finfo(kernel.dtype).eps)
        if last or rounded or (known and found.certificate.optimality <= 1 + TOLERANCE):
            return found
    raise AssertionError  # the last attempt returns or raises


def check(kernel: KernelSource, rank: int) -> None:
    """Refuse a kernel or a rank that `truncated_svd` cannot serve.

    Raises:
        KernelError: If the kernel is not a finite matrix.
        RankError: If there is no such rank.
    """
    check_kernel(kernel)
    _check_rank(kernel, rank)


def _check_rank(kernel: KernelSource, rank: int) -> None:
    check_shape(kernel)
    m, n = kernel.shape
    if not 1 <= rank <= min(m, n):
        msg = f"`rank` must be between 1 and {min(m, n)} for a kernel of shape ({m}, {n}). Received: rank={rank}."
        raise RankError(msg, code="rank_out_of_range")


def optimum(kernel: KernelSource, rank: int) -> tuple[float, float]:
    """Return the relative Frobenius error of the best matrix of a rank, and ``||A||_2``.

    What the certificate of any other method is measured against; no factors are formed.

    Raises:
        KernelError: If the kernel is not a finite matrix.
        RankError: If there is no such rank.
    """
    _check_rank(kernel, rank)
    size = survey(kernel)
    if not size.total:
        return 0.0, 0.0
    m, n = kernel.shape
    if m * n > SMALL_ENTRIES:
        for dtype in _precisions(kernel):
            gram, trace = gram_matrix(kernel, dtype, size.unit)
            try:
                pairs, _ = eigenpairs(gram, rank, trace)
            except np.linalg.LinAlgError:
                continue
            best = least_error(pairs, trace)
            if is_known(best, dtype):
                return best, float(np.ldexp(np.sqrt(pairs.values[0]), size.unit))
    sigma = np.linalg.svd(triangular_factor(kernel, size.unit), compute_uv=False)
    return tail_error(sigma, rank), float(np.ldexp(sigma[0], size.unit))


def singular_values(kernel: KernelSource) -> NDArray[np.float64]:
    """Return all min(m, n) singular values, descending, float64.

    Large kernels go through the Gram matrix, which loses those below 1e-8 of the largest. That of a
    kernel stored in 16 bits is computed in float32, unless it has values that float32 would lose.

    Raises:
        KernelError: If the kernel is not a finite matrix.
    """
    unit = survey(kernel).unit
    m, n = kernel.shape
    if m * n <= SMALL_ENTRIES:
        return np.asarray(np.linalg.svd(np.asarray(kernel[:, :], np.float64), compute_uv=False))
    dtypes: list[type[np.floating[Any]]] = [np.float64]
    if kernel.dtype.itemsize == 2:
        dtypes.insert(0, np.float32)
    # The Gram matrix has threads of its own, which BLAS' threads would only wait for.
    with one_blas_thread():
        for dtype in dtypes:
            squares = eigenvalues(gram_matrix(kernel, dtype, unit)[0])
            if squares[-1] > FLOAT32_LOSES * squares[0]:
                break
    return np.ldexp(np.sqrt(np.maximum(squares, 0.0)), unit)


def _attempts(kernel: KernelSource, rank: int) -> list[Attempt]:
    """Return ways to factorize, the fastest that may serve first, the safest last."""
    (m, n), short = kernel.shape, min(kernel.shape)
    small = m * n <= SMALL_ENTRIES
    drivers: list[Attempt] = [
        partial(by_lapack, driver="gesdd"),
        partial(by_lapack, driver="gesvd"),
    ]
    if small and kernel.dtype == np.float64:
        return drivers
    found: list[Attempt] = []
    if not small and (rank * LOW_RANK <= short or short > GRAM_SIDE):
        found.append(partial(by_products, dtype=_precisions(kernel)[0]))
    found += [partial(by_gram, dtype=dtype) for dtype in _precisions(kernel)]
    return found + (drivers if small else [by_triangle])


def _precisions(kernel: KernelSource) -> list[type[np.floating[Any]]]:
    m, n = kernel.shape
    if kernel.dtype == np.float64 or (m * n <= SMALL_ENTRIES and min(m, n) <= SMALL_SIDE):
        return [np.float64]
    return [np.float32, np.float64]


def _zeros(kernel: KernelSource, rank: int) -> Factors:
    m, n = kernel.shape
    B, C = np.zeros((m, rank), kernel.dtype), np.zeros((rank, n), kernel.dtype)
    certificate = Certificate(0.0, 0.0, 0.0, 1.0, "none", exact=True)
    return Factors(B, C, None, np.zeros(min(m, n)), "svd", certificate)
