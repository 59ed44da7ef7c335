"""How far B C is from A, measured, beside the least that any matrix of the rank could be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Residuals below this share of ||A|| are rounding of the stored factors, not of the method.
ROUNDING = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}
POWER_STEPS = 60
BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Certificate:
    """Measured errors of a factorization against the original kernel A.

    Attributes:
        frobenius_error: ``||A - B C||_F / ||A||_F``.
        spectral_error: ``||A - B C||_2 / ||A||_2``.
        optimum_frobenius_error: The same as the first for the best matrix of this rank, by
            Eckart & Young (1936): ``sqrt(sum_{i>r} sigma_i^2 / sum sigma_i^2)``.
        optimality: The first over the third, 1 or more; 1 where both are rounding.
        algorithm: What computed the singular vectors: gesdd, gesvd, gram.
    """

    frobenius_error: float
    spectral_error: float
    optimum_frobenius_error: float
    optimality: float
    algorithm: str


def certify(
    kernel: NDArray[Any],
    B: NDArray[Any],
    C: NDArray[Any],
    optimum: float,
    algorithm: str,
) -> Certificate:
    """Measure factors as they will be stored.

    Args:
        kernel: A, (m, n).
        B: (m, r).
        C: (r, n).
        optimum: Relative Frobenius error of the best matrix of the same rank.
        algorithm: Named in the certificate.
    """
    total = norm_squared(kernel)
    if total == 0.0:
        return Certificate(0.0, 0.0, 0.0, 1.0, algorithm)
    residual = 0.0
    for rows in row_blocks(kernel):
        residual += float(np.square(_residual(kernel, B, C, rows)).sum())
    error = float(np.sqrt(residual / total))
    rounding = ROUNDING.get(str(kernel.dtype), 1e-6)
    exact = error <= rounding and optimum <= rounding
    # A measured ratio may fall below 1 by rounding only.
    optimality = 1.0 if exact else max(1.0, error / max(optimum, np.finfo(np.float64).tiny))
    top = spectral_norm(kernel)
    spectral = spectral_norm(kernel, B, C) / top if top > 0 else 0.0
    return Certificate(error, spectral, optimum, optimality, algorithm)


def norm_squared(matrix: NDArray[Any]) -> float:
    """Return ``||A||_F^2`` in float64, block by block."""
    return sum(
        float(np.square(matrix[rows].astype(np.float64)).sum()) for rows in row_blocks(matrix)
    )


def row_blocks(matrix: NDArray[Any]) -> list[slice]:
    """Return slices of rows that are small in float64, so that no second copy of A is needed."""
    step = max(1, BLOCK_BYTES // (8 * max(1, matrix.shape[1])))
    return [slice(start, start + step) for start in range(0, matrix.shape[0], step)]


def _residual(
    kernel: NDArray[Any], B: NDArray[Any], C: NDArray[Any], rows: slice
) -> NDArray[np.float64]:
    wide = np.float64
    block: NDArray[np.float64] = kernel[rows].astype(wide)
    return block - B[rows].astype(wide) @ C.astype(wide)


def spectral_norm(
    kernel: NDArray[Any], B: NDArray[Any] | None = None, C: NDArray[Any] | None = None
) -> float:
    """Return ``||A||_2``, or ``||A - B C||_2`` without forming the difference.

    Small kernels are done exactly; large ones by power iteration on ``R^T R`` with a fixed
    start, which approaches the norm from below (Kuczynski & Wozniakowski, SIAM J. Matrix Anal.
    Appl. 13, 1992).
    """
    m, n = kernel.shape
    if min(m, n) <= 1024 and m * n <= 2**22:
        full = kernel.astype(np.float64)
        if B is not None and C is not None:
            full -= B.astype(np.float64) @ C.astype(np.float64)
        short = full.T @ full if n <= m else full @ full.T
        return float(np.sqrt(max(np.linalg.eigvalsh(short)[-1], 0.0)))
    # float16 products are slow and overflow at 65,504.
    kernel = kernel.astype(np.result_type(kernel.dtype, np.float32), copy=False)
    vector = np.random.default_rng(0).standard_normal((n,)).astype(kernel.dtype)
    size = 0.0
    for _ in range(POWER_STEPS):
        norm = float(np.linalg.norm(vector))
        if norm == 0.0:
            return 0.0
        vector = vector / norm
        image = kernel @ vector
        if B is not None and C is not None:
            image = image - B @ (C @ vector)
        back = kernel.T @ image
        if B is not None and C is not None:
            back = back - C.T @ (B.T @ image)
        before, size = size, float(np.linalg.norm(image))
        vector = back
        if abs(size - before) <= 1e-7 * size:
            break
    return size
