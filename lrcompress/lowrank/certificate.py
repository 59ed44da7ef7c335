"""How far B C is from A, measured, beside the least that any matrix of the rank could be.

With ``R = A - B C``: ``||R||_F^2`` is the sum of its squared entries and ``||R||_2^2`` the largest
eigenvalue of the Gram matrix of its short side, both from one pass over blocks of R.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.blocks import magnitude, row_blocks

# Residuals below this share of ||A|| are rounding of the stored factors, not of the method.
ROUNDING = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}
# Multiplications of a Gram matrix up to which it is formed in float64, about a second's worth.
# Beyond, float32 serves: it rounds R relative to R itself, so the norm keeps six digits.
EXACT_WORK = 2**34
# Up to this side all eigenvalues by NumPy take less time than importing scipy.linalg.
SMALL_SIDE = 512


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
        truncated: The certificate of the matrix that was truncated, where that is not A: the
            mean-free kernel, or the whitened one. Its optimality is 1 although that against A
            is more. None after refinement, which truncates nothing.
    """

    frobenius_error: float
    spectral_error: float
    optimum_frobenius_error: float
    optimality: float
    algorithm: str
    truncated: Certificate | None = None


def certify(
    kernel: NDArray[Any],
    B: NDArray[Any],
    C: NDArray[Any],
    optimum: float,
    algorithm: str,
    *,
    largest: float | None = None,
    truncated: Certificate | None = None,
) -> Certificate:
    """Measure factors as they will be stored.

    Args:
        kernel: A, (m, n).
        B: (m, r).
        C: (r, n).
        optimum: Relative Frobenius error of the best matrix of the same rank.
        algorithm: Named in the certificate.
        largest: ``||A||_2`` where it is known; measured otherwise.
        truncated: Certificate of the matrix that was truncated, where that is not A.
    """
    unit = magnitude(kernel)
    if unit is None:
        return Certificate(0.0, 0.0, 0.0, 1.0, algorithm, truncated)
    total, top = norms(kernel, unit, spectral=largest is None)
    if largest is not None:
        top = float(np.ldexp(largest, -unit))
    residual, spectral = norms(kernel, unit, B, C)
    error = residual / total
    # No matrix of rank r is nearer than the optimum: where one is, the optimum was rounded.
    optimum = min(optimum, error)
    rounding = ROUNDING.get(str(kernel.dtype), 1e-6)
    optimality = 1.0 if error <= rounding else error / max(optimum, np.finfo(np.float64).tiny)
    return Certificate(error, spectral / top, optimum, optimality, algorithm, truncated)


def norms(
    kernel: NDArray[Any],
    unit: int,
    B: NDArray[Any] | None = None,
    C: NDArray[Any] | None = None,
    *,
    spectral: bool = True,
) -> tuple[float, float]:
    """Return ``||R||_F`` and ``||R||_2`` over ``2^unit``, for ``R = A - B C`` or ``R = A``.

    Args:
        kernel: A, (m, n).
        unit: Binary exponent that brings A near 1, so that no square over- or underflows.
        B: (m, r), or None for A itself.
        C: (r, n), or None for A itself.
        spectral: Whether the second is wanted; otherwise it is 0 and costs nothing.
    """
    if kernel.shape[0] < kernel.shape[1]:
        # ||R|| = ||R^T||: the blocks then run along the long side, and the Gram matrix is small.
        kernel, B, C = kernel.T, None if C is None else C.T, None if B is None else B.T
    short = kernel.shape[1]
    exact = kernel.size * short <= EXACT_WORK
    dtype: type[np.floating[Any]] = np.float64 if exact else np.float32
    gram: NDArray[Any] = np.zeros((short, short), dtype)
    right = None if C is None else np.ldexp(C.astype(np.float64), -unit)
    total = 0.0
    for rows in row_blocks(kernel):
        block = np.ldexp(kernel[rows].astype(np.float64), -unit)
        if B is not None and right is not None:
            block -= B[rows].astype(np.float64) @ right
        total += float(np.square(block).sum())
        if spectral:
            narrow = block.astype(dtype, copy=False)
            gram += narrow.T @ narrow
    if not spectral or total == 0.0:
        return float(np.sqrt(total)), 0.0
    return float(np.sqrt(total)), float(np.sqrt(max(_largest_eigenvalue(gram), 0.0)))


def _largest_eigenvalue(gram: NDArray[Any]) -> float:
    if len(gram) <= SMALL_SIDE:
        return float(np.linalg.eigvalsh(gram)[-1])
    from scipy.linalg import eigh

    last = len(gram) - 1
    values = eigh(
        gram,
        eigvals_only=True,
        subset_by_index=[last, last],
        overwrite_a=True,
        check_finite=False,
    )
    return float(values[0])
