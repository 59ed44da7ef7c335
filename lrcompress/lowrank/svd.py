"""Truncated SVD of a kernel: the best rank-r matrix in the Frobenius and the spectral norm.

``A = U S V^T``, ``B = U_r sqrt(S_r)``, ``C = sqrt(S_r) V_r^T`` minimise ``||A - B C||`` (Eckart &
Young, Psychometrika 1, 1936; Mirsky, Quart. J. Math. 11, 1960). The split is balanced: B and C have
equal scales, which suits fine-tuning, int8 and float16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import KernelError, RankError
from lrcompress.lowrank.blocks import magnitude, norm_squared, row_blocks
from lrcompress.lowrank.certificate import certify
from lrcompress.lowrank.factors import Factors

# Up to here LAPACK's own SVD in float64 takes milliseconds.
SMALL_ENTRIES = 2**20
# From here the Gram matrix is formed in float32, three to six times faster than in float64.
LARGE_ENTRIES = 2**25
# A result further than this above the optimum is computed again by a safer method.
TOLERANCE = 1e-3
# The optimum out of a Gram matrix, ``1 - sum_{i<=r} sigma_i^2 / ||A||_F^2``, is a difference of
# numbers near 1: it is known to this many units of rounding (at most 0.7 measured, on shapes up
# to 4096 x 1000 and 768 x 20000).
CANCELLATION = 8


def check_kernel(kernel: NDArray[Any]) -> None:
    """Refuse what cannot be factorized.

    Raises:
        KernelError: If the kernel is not a real (m, n) matrix of finite numbers.
    """
    if kernel.ndim != 2 or kernel.size == 0 or kernel.dtype.kind != "f":
        msg = f"expected a kernel of shape (m, n) of floats. Received: shape {kernel.shape}, {kernel.dtype}."
        raise KernelError(msg, code="not_a_matrix")
    bad = sum(int((~np.isfinite(kernel[rows])).sum()) for rows in row_blocks(kernel))
    if bad:
        msg = (
            f"the kernel holds NaN or infinity in {bad:,} of {kernel.size:,} entries; expected finite "
            "numbers: the model was saved after its training diverged, take an earlier checkpoint."
        )
        raise KernelError(msg, code="not_finite")


def truncated_svd(kernel: NDArray[Any], rank: int) -> Factors:
    """Return the best rank-r factors of a kernel, with a certificate.

    Args:
        kernel: A, (m, n), float16, float32 or float64.
        rank: r, from 1 to min(m, n).

    Returns:
        Factors in the kernel's dtype; computed in float64, or for kernels above 2^25 entries in
        float32. Deterministic: the entry of largest magnitude in each column of B is positive.

    Raises:
        KernelError: If the kernel is not a finite matrix.
        RankError: If there is no such rank.
    """
    check(kernel, rank)
    return _body(kernel, rank)


def check(kernel: NDArray[Any], rank: int) -> None:
    """Refuse a kernel or a rank that `truncated_svd` cannot serve.

    Raises:
        KernelError: If the kernel is not a finite matrix.
        RankError: If there is no such rank.
    """
    check_kernel(kernel)
    m, n = kernel.shape
    if not 1 <= rank <= min(m, n):
        msg = f"`rank` must be between 1 and {min(m, n)} for a kernel of shape ({m}, {n}). Received: rank={rank}."
        raise RankError(msg, code="rank_out_of_range")


def _body(kernel: NDArray[Any], rank: int) -> Factors:
    """Try the methods from the fastest to the safest until the certificate holds."""
    attempts: list[tuple[str, type[np.floating[Any]]]]
    if kernel.size <= SMALL_ENTRIES:
        attempts = [("gesdd", np.float64), ("gesvd", np.float64)]
    elif kernel.size <= LARGE_ENTRIES:
        attempts = [("gram", np.float64), ("gesdd", np.float64), ("gesvd", np.float64)]
    else:
        attempts = [("gram", np.float32), ("gram", np.float64), ("gesdd", np.float64)]
    for index, (algorithm, dtype) in enumerate(attempts):
        last = index == len(attempts) - 1
        try:
            found = (
                _gram(kernel, rank, dtype) if algorithm == "gram" else _lapack(kernel, algorithm)
            )
        except np.linalg.LinAlgError:
            if last:
                raise
            continue
        u, sigma, vt, optimum = found
        B, C = balanced(u[:, :rank], sigma[:rank], vt[:rank], kernel.dtype)
        certificate = certify(
            kernel, B, C, _optimum(sigma, rank, optimum), algorithm, largest=float(sigma[0])
        )
        # What is missing to the optimum may be nothing but the rounding of the stored factors.
        rounded = certificate.frobenius_error <= 16 * float(np.finfo(kernel.dtype).eps)
        known = optimum is None or _is_known(optimum, dtype)
        if last or rounded or (known and certificate.optimality <= 1 + TOLERANCE):
            return Factors(B, C, None, sigma, "svd", certificate)
    raise AssertionError  # the last attempt returns or raises


def _is_known(optimum: float, dtype: type[np.floating[Any]]) -> bool:
    """Return whether cancellation left the optimum of a Gram matrix its digits."""
    return optimum**2 * 2 * TOLERANCE >= CANCELLATION * float(np.finfo(dtype).eps)


def optimum(kernel: NDArray[Any], rank: int) -> tuple[float, float]:
    """Return the relative Frobenius error of the best matrix of a rank, and ``||A||_2``.

    What the certificate of any other method is measured against; no factors are formed.

    Raises:
        KernelError: If the kernel is not a finite matrix.
        RankError: If there is no such rank.
    """
    check(kernel, rank)
    if kernel.size > SMALL_ENTRIES:
        precisions: list[type[np.floating[Any]]] = [np.float64]
        if kernel.size > LARGE_ENTRIES:
            precisions.insert(0, np.float32)
        for dtype in precisions:
            _, sigma, _, best = _gram(kernel, rank, dtype)
            if best is not None and _is_known(best, dtype):
                return best, float(sigma[0])
    sigma = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)
    return _optimum(sigma, rank, None), float(sigma[0])


def _optimum(sigma: NDArray[np.float64], rank: int, measured: float | None) -> float:
    if measured is not None:
        return measured
    if sigma[0] == 0:
        return 0.0
    squares = np.square(sigma / sigma[0])
    return float(np.sqrt(squares[rank:].sum() / squares.sum()))


def _lapack(
    kernel: NDArray[Any], driver: str
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[Any], float | None]:
    wide = kernel.astype(np.float64)
    if driver == "gesdd":
        # NumPy's driver; importing scipy.linalg would take longer than the SVD of a small kernel.
        return (*np.linalg.svd(wide, full_matrices=False), None)
    from scipy.linalg import svd

    return (*svd(wide, full_matrices=False, lapack_driver=driver, check_finite=False), None)


def _gram(
    kernel: NDArray[Any], rank: int, dtype: type[np.floating[Any]]
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[Any], float | None]:
    """Diagonalise the Gram matrix of the short side; exact down to sqrt(eps) sigma_1."""
    from scipy.linalg import eigh

    unit = magnitude(kernel) or 0
    gram, total = gram_matrix(kernel, dtype, unit)
    size = len(gram)
    values, vectors = eigh(
        gram, subset_by_index=[size - rank, size - 1], overwrite_a=True, check_finite=False
    )
    sigma = np.sqrt(np.maximum(values[::-1].astype(np.float64), 0.0))
    short = np.ascontiguousarray(vectors[:, ::-1])
    safe = np.where(sigma > 0, sigma, 1.0)
    optimum = (
        float(np.sqrt(max(1.0 - float(np.square(sigma).sum()) / total, 0.0))) if total else 0.0
    )
    wide = scaled(kernel, dtype, unit)
    if kernel.shape[1] <= kernel.shape[0]:
        u, vt = (wide @ short) / safe.astype(dtype), short.T
    else:
        u, vt = short, (short.T @ wide) / safe.astype(dtype)[:, None]
    return u, np.ldexp(sigma, unit), vt, optimum


def scaled(block: NDArray[Any], dtype: type[np.floating[Any]], unit: int) -> NDArray[Any]:
    """Return ``2^-unit`` times a block in `dtype`; a power of two rounds nothing."""
    wide = block.astype(np.result_type(block.dtype, dtype), copy=False)
    return np.asarray(np.ldexp(wide, -unit).astype(dtype, copy=False))


def gram_matrix(
    kernel: NDArray[Any], dtype: type[np.floating[Any]] = np.float64, unit: int = 0
) -> tuple[NDArray[Any], float]:
    """Return the Gram matrix of the short side, min(m, n) square, and ``||.||_F^2``.

    Both are of ``2^-unit A``.
    """
    tall = kernel if kernel.shape[1] <= kernel.shape[0] else kernel.T
    gram = np.zeros((tall.shape[1], tall.shape[1]), dtype)
    for rows in row_blocks(tall):
        block = scaled(tall[rows], dtype, unit)
        gram += block.T @ block
    return gram, norm_squared(kernel, unit)


def balanced(
    u: NDArray[Any], sigma: NDArray[np.float64], vt: NDArray[Any], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return ``B = U sqrt(S)`` and ``C = sqrt(S) V^T`` with fixed signs, in `dtype`."""
    signs = np.sign(np.take_along_axis(u, np.abs(u).argmax(axis=0)[None], axis=0)[0])
    signs[signs == 0] = 1
    root = np.sqrt(sigma)
    return (u * (signs * root)).astype(dtype), ((signs * root)[:, None] * vt).astype(dtype)


def singular_values(kernel: NDArray[Any]) -> NDArray[np.float64]:
    """Return all min(m, n) singular values, descending, float64.

    Large kernels go through the Gram matrix, which loses those below 1e-8 of the largest.

    Raises:
        KernelError: If the kernel is not a finite matrix.
    """
    check_kernel(kernel)
    if kernel.size <= SMALL_ENTRIES:
        return np.asarray(np.linalg.svd(kernel.astype(np.float64), compute_uv=False))
    unit = magnitude(kernel) or 0
    gram, _ = gram_matrix(kernel, unit=unit)
    return np.ldexp(np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)), unit)
