"""Truncated SVD of a kernel: the best rank-r matrix in the Frobenius and the spectral norm.

``A = U S V^T``, ``B = U_r sqrt(S_r)``, ``C = sqrt(S_r) V_r^T`` minimise ``||A - B C||`` (Eckart &
Young, Psychometrika 1, 1936; Mirsky, Quart. J. Math. 11, 1960). The split is balanced: B and C have
equal scales, which suits fine-tuning, int8 and float16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import RankError
from lrcompress.lowrank.certificate import Certificate, certify, certify_projection
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.gram import (
    SMALL_SIDE,
    Pairs,
    eigenvalues,
    gram_matrix,
    leading_pairs,
    project,
)
from lrcompress.lowrank.matrix import (
    Array,
    Dtype,
    Floats,
    KernelSource,
    Scale,
    check_shape,
    measure,
    one_blas_thread,
    panels,
)

# A result further than this above the optimum is computed again by a safer method.
TOLERANCE = 1e-3
# What the iteration aims at, so that rounding does not push its results over the tolerance.
AIM = 0.9 * TOLERANCE
# The optimum out of a Gram matrix, ``1 - sum_{i<=r} sigma_i^2 / ||A||_F^2``, is a difference of
# numbers near 1: it is known to this many units of rounding (at most 0.7 measured, on shapes up
# to 4096 x 1000 and 768 x 20000).
CANCELLATION = 8
# The error of a float32 projection is a difference too, ||A||^2 - 2 <A, BC> + ||BC||^2: above this
# share of ||A||^2 it is known to 1e-5 (2e-5 measured at a share of 0.004).
LARGE_SHARE = 0.05
# Filtered iteration with blocks of w columns pays where w is at most k^2 over this (128 for a side
# of 1,024) and a third of k; otherwise LAPACK's exact eigenvectors are as fast.
FEW = 2**13
# Up to here float64 takes milliseconds, and LAPACK's SVD of a float64 kernel little more.
SMALL_ENTRIES = 2**20
# Ranks up to this part of the short side are found with fewer multiplications than the Gram matrix
# takes.
LOW_RANK = 100
# Below this part of the largest, eigenvalues of a float32 Gram matrix have less than two digits.
FLOAT32_LOSES = 1e-4
# Beyond this side the Gram matrix alone takes gigabytes.
GRAM_SIDE = 2**14
# Of the random starts.
SEED = 0

Driver = Literal["gesdd", "gesvd"]
# From A, r and the scale of A to the factors, and whether the optimum is known to the tolerance.
Way = Callable[[KernelSource, int, Scale], tuple[Factors, bool]]


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
    check_has_rank(kernel, rank)
    scale = measure(kernel)
    if not scale.total:
        (m, n), dtype = kernel.shape, kernel.dtype
        exact = Certificate(0.0, 0.0, 0.0, 1.0, "none", exact=True)
        B, C = np.zeros((m, rank), dtype), np.zeros((rank, n), dtype)
        return Factors(B, C, None, np.zeros(min(m, n)), "svd", exact)
    *ways, safest = _ways(kernel, rank)
    for way in ways:
        try:
            found, known = way(kernel, rank, scale)
        except np.linalg.LinAlgError:
            continue
        # What is missing to the optimum may be nothing but the rounding of the stored factors.
        rounded = found.certificate.frobenius_error <= 16 * float(np.finfo(kernel.dtype).eps)
        if rounded or (known and found.certificate.optimality <= 1 + TOLERANCE):
            return found
    return safest(kernel, rank, scale)[0]


def check_has_rank(kernel: KernelSource, rank: int) -> None:
    """Refuse what is no matrix, and a rank that it cannot have."""
    check_shape(kernel)
    m, n = kernel.shape
    if not 1 <= rank <= min(m, n):
        msg = f"`rank` must be between 1 and {min(m, n)} for a kernel of shape ({m}, {n}). Received: rank={rank}."
        raise RankError(msg, code="rank_out_of_range")


def singular_values(kernel: KernelSource) -> Floats:
    """Return all min(m, n) singular values, descending; large kernels lose those below 1e-8 of the largest."""
    unit = measure(kernel).unit
    m, n = kernel.shape
    if m * n <= SMALL_ENTRIES:
        return np.asarray(np.linalg.svd(np.asarray(kernel[:, :], np.float64), compute_uv=False))
    dtypes: list[Dtype] = [np.float64]
    if kernel.dtype.itemsize == 2:  # unless it has values that float32 would lose
        dtypes.insert(0, np.float32)
    # The Gram matrix has threads of its own, which BLAS' threads would only wait for.
    with one_blas_thread():
        for dtype in dtypes:
            squares = eigenvalues(gram_matrix(kernel, dtype, unit)[0])
            if squares[-1] > FLOAT32_LOSES * squares[0]:
                break
    return np.ldexp(np.sqrt(np.maximum(squares, 0.0)), unit)


def _ways(kernel: KernelSource, rank: int) -> list[Way]:
    """Return ways to factorize, the fastest that may serve first, the safest last."""
    (m, n), short = kernel.shape, min(kernel.shape)
    small, exact = m * n <= SMALL_ENTRIES, kernel.dtype == np.float64
    drivers: list[Way] = [partial(by_lapack, driver="gesdd"), partial(by_lapack, driver="gesvd")]
    if small and exact:
        return drivers
    dtypes: list[Dtype] = [np.float32, np.float64]
    if exact or (small and short <= SMALL_SIDE):
        dtypes = [np.float64]
    found: list[Way] = [partial(by_gram, dtype=dtype) for dtype in dtypes]
    if not small and (rank * LOW_RANK <= short or short > GRAM_SIDE):
        found.insert(0, partial(by_products, dtype=dtypes[0]))
    return [*found, *(drivers if small else [by_triangle])]


def by_gram(kernel: KernelSource, rank: int, scale: Scale, dtype: Dtype) -> tuple[Factors, bool]:
    """Take the singular vectors of the short side from the Gram matrix."""
    gram, trace = gram_matrix(kernel, dtype, scale.unit)
    pairs, algorithm = _eigenpairs(gram, rank, trace)
    del gram
    return _projected(kernel, scale, pairs, _least_error(pairs, trace), algorithm)


def by_products(
    kernel: KernelSource, rank: int, scale: Scale, dtype: Dtype
) -> tuple[Factors, bool]:
    """Find the singular vectors of the short side by products with the kernel alone."""

    def apply(block: Array) -> Array:
        product = np.zeros_like(block)
        for _, panel in panels(kernel, dtype, scale.unit):
            product += panel.T @ (panel @ block)
        return product

    from lrcompress.lowrank.subspace import filtered_pairs

    pairs = filtered_pairs(
        apply, min(kernel.shape), rank, scale.total, np.random.default_rng(SEED), dtype,
        tolerance=AIM,
    )  # fmt: skip
    return _projected(kernel, scale, pairs, _least_error(pairs, scale.total), "randomized")


def by_triangle(kernel: KernelSource, rank: int, scale: Scale) -> tuple[Factors, bool]:
    """Take them from LAPACK's SVD of R, (k, k), of ``A = Q R`` for a tall A, of A^T for a wide one."""
    # Panel after panel, so that a kernel larger than memory serves; the singular values of A are those of R, to
    # eps of the largest (Demmel, Grigori, Hoemmen & Langou, SIAM J. Sci. Comput. 34, 2012).
    R: Array | None = None
    for _, panel in panels(kernel, np.float64, scale.unit):
        stacked = panel if R is None else np.concatenate([R, panel])
        R = np.asarray(np.linalg.qr(stacked, mode="r"))
    if R is None:
        raise AssertionError  # a kernel has rows
    try:
        _, sigma, vt = decompose(R, "gesdd")
    except np.linalg.LinAlgError:
        _, sigma, vt = decompose(R, "gesvd")
    squares = np.square(sigma)
    beyond = float(squares[rank]) if rank < len(sigma) else 0.0
    pairs = Pairs(squares, vt[:rank].T, float(squares[:rank].sum()), beyond)
    found, _ = _projected(kernel, scale, pairs, _tail_error(sigma, rank), "qr")
    return found, True


def by_lapack(
    kernel: KernelSource, rank: int, scale: Scale, driver: Driver
) -> tuple[Factors, bool]:
    """Decompose the kernel itself."""
    u, sigma, vt = decompose(np.asarray(kernel[:, :]), driver)
    u, vt, root = u[:, :rank], vt[:rank], np.sqrt(sigma[:rank])
    signs = np.sign(np.take_along_axis(u, np.abs(u).argmax(axis=0)[None], axis=0)[0])
    signs[signs == 0] = 1
    B = (u * (signs * root)).astype(kernel.dtype)
    C = ((signs * root)[:, None] * vt).astype(kernel.dtype)
    best, largest = _tail_error(sigma, rank), float(sigma[0])
    certificate = certify(kernel, B, C, best, driver, largest=largest)
    return Factors(B, C, None, sigma, "svd", certificate), True


def decompose(matrix: Array, driver: Driver) -> tuple[Floats, Floats, Floats]:
    """Return U, the singular values and V^T in float64; gesvd converges where fast gesdd does not."""
    wide = np.asarray(matrix, np.float64)
    if driver == "gesdd":
        # NumPy's driver; importing scipy.linalg would take longer than the SVD of a small kernel.
        u, sigma, vt = np.linalg.svd(wide, full_matrices=False)
        return u, sigma, vt
    from scipy.linalg import svd

    u, sigma, vt = svd(wide, full_matrices=False, lapack_driver=driver, check_finite=False)
    return u, sigma, vt


def _projected(
    kernel: KernelSource, scale: Scale, pairs: Pairs, least: float, algorithm: str
) -> tuple[Factors, bool]:
    """Return factors from eigenpairs of the short side, and whether the optimum is known."""
    rank, unit, vectors = pairs.vectors.shape[1], scale.unit, pairs.vectors
    sigma = np.sqrt(np.maximum(pairs.values, 0.0))
    if kernel.dtype == np.float32 and least**2 >= LARGE_SHARE:
        # What more precise products would add is lost when they are stored.
        vectors = vectors.astype(np.float32, copy=False)
    found = project(kernel, vectors, sigma[:rank], unit)
    B, C = found.B, found.C
    if unit:
        B, C = np.ldexp(B, unit // 2), np.ldexp(C, unit // 2)
    certificate = certify_projection(kernel, found, scale.total, pairs.beyond, least, algorithm)
    # Each at least what was found for the next.
    sigma[:rank] = np.sort(found.sigma)[::-1]
    sigma = np.ldexp(sigma, unit)
    if certificate is None:
        certificate = certify(kernel, B, C, least, algorithm, largest=float(sigma[0]))
    # Whether cancellation left the optimum of a Gram matrix its digits.
    rounding = CANCELLATION * float(np.finfo(pairs.vectors.dtype).eps)
    return Factors(B, C, None, sigma, "svd", certificate), least**2 * 2 * TOLERANCE >= rounding


def _eigenpairs(gram: Array, rank: int, trace: float) -> tuple[Pairs, str]:
    """Return the leading eigenpairs of the Gram matrix and how they were had."""
    side, dtype = len(gram), gram.dtype.type
    if side <= SMALL_SIDE:
        return leading_pairs(gram, rank), "gram"
    from lrcompress.lowrank.subspace import OutOfPrecision, filtered_pairs, proven_pairs, width

    if width(rank, side) <= min(side**2 / FEW, side / 3):
        try:
            found = filtered_pairs(
                gram.__matmul__, side, rank, trace, np.random.default_rng(SEED), dtype,
                tolerance=AIM, prove=partial(proven_pairs, gram, rank),
            )  # fmt: skip
            return found, "subspace"
        except OutOfPrecision:
            raise
        except np.linalg.LinAlgError:
            pass
    return leading_pairs(gram, rank), "gram"


def _least_error(pairs: Pairs, trace: float) -> float:
    """Return the relative error of the best matrix of the rank, at least."""
    return float(np.sqrt(max(1.0 - pairs.most / trace, 0.0)))


def _tail_error(sigma: NDArray[np.floating[Any]], rank: int) -> float:
    """Return the same from all singular values."""
    if sigma[0] == 0:
        return 0.0
    squares = np.square(sigma / sigma[0])
    return float(np.sqrt(squares[rank:].sum() / squares.sum()))
