"""LAPACK's own singular value decompositions, accurate to eps of the largest singular value."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.blocks import KernelSource, panels

Driver = Literal["gesdd", "gesvd"]


def decompose(
    matrix: NDArray[Any], driver: Driver
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return U (m, k), the singular values (k,) and V^T (k, n), in float64.

    Args:
        matrix: (m, n), held in memory.
        driver: gesdd is fast, gesvd converges where gesdd does not.

    Raises:
        numpy.linalg.LinAlgError: If the driver does not converge.
    """
    wide = np.asarray(matrix, np.float64)
    if driver == "gesdd":
        # NumPy's driver; importing scipy.linalg would take longer than the SVD of a small kernel.
        u, sigma, vt = np.linalg.svd(wide, full_matrices=False)
        return u, sigma, vt
    from scipy.linalg import svd

    u, sigma, vt = svd(wide, full_matrices=False, lapack_driver=driver, check_finite=False)
    return u, sigma, vt


def triangular_factor(kernel: KernelSource, unit: int) -> NDArray[np.float64]:
    """Return R, (k, k), of ``2^-unit A = Q R`` for a tall A, of ``2^-unit A^T`` for a wide one.

    Panel after panel, so that a kernel larger than memory serves; the singular values of A are
    those of R, to eps of the largest (Demmel, Grigori, Hoemmen & Langou, SIAM J. Sci. Comput. 34,
    2012).
    """
    R: NDArray[np.float64] | None = None
    for _, panel in panels(kernel, np.float64, unit):
        stacked = panel if R is None else np.concatenate([R, panel])
        R = np.asarray(np.linalg.qr(stacked, mode="r"))
    if R is None:
        raise AssertionError  # a kernel has rows
    return R
