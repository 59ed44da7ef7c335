"""The `whitened` method: the affine rank-r head whose outputs are nearest on the inputs it gets.

With ``mu = E[x]``, ``Sigma = E[(x - mu)(x - mu)^T]`` and ``Sigma = L L^T``, the minimum of
``E ||(x A + b) - (x B C + b')||^2`` over all B, C and b' is the truncated SVD ``U S V^T`` of
``L^T A``: ``B = L^{-T} U sqrt(S)``, ``C = sqrt(S) V^T``, ``b' = b + mu^T (A - B C)``: reduced-rank
regression (Izenman, J. Multivariate Analysis 5, 1975). Where softmax follows, A is centred first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import KernelError
from lrcompress.lowrank.centering import centre_bias, centre_kernel
from lrcompress.lowrank.certificate import certify
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.moments import InputMoments
from lrcompress.lowrank.svd import optimum, truncated_svd

# Damping as a share of the mean variance: against rounding, and against few samples, where the
# covariance is singular and directions never seen would be given away for nothing.
ROUNDING_DAMPING = 1e-6
SAMPLING_DAMPING = 1e-2


def whitened(
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    rank: int,
    moments: InputMoments,
    *,
    softmax: bool,
    allow_bias: bool = False,
) -> Factors:
    """Return the best affine rank-r head for inputs with these moments.

    Args:
        kernel: A, (m, n).
        bias: b, (n,), or None.
        rank: r, from 1 to min(m, n).
        moments: Of the layer's inputs, unlabelled.
        softmax: Whether softmax is applied to the output, so that A may be centred.
        allow_bias: Whether a layer without bias may be given one; otherwise the best solution
            without is returned, from uncentred moments.

    Raises:
        KernelError: If the kernel or the moments are not finite, or do not belong together.
        RankError: If there is no such rank.
    """
    m, n = kernel.shape
    if len(moments.mean) != m or moments.count == 0:
        got = f"{moments.count} with {len(moments.mean)}"
        msg = f"expected moments of at least one input with {m} features. Received: {got}."
        raise KernelError(msg, code="moments")
    best, largest = optimum(kernel, rank)
    has_bias = bias is not None or allow_bias
    target = (centre_kernel(kernel) if softmax else kernel).astype(np.float64)
    root = _root(moments.covariance if has_bias else moments.second_moment, moments.count)
    inner = truncated_svd(root @ target, rank)
    # root is L^T: upper triangular.
    from scipy.linalg import solve_triangular

    first, second = solve_triangular(root, inner.B.astype(np.float64)), inner.C.astype(np.float64)
    first, second = rebalance(first, second)
    B, C = first.astype(kernel.dtype), second.astype(kernel.dtype)
    new_bias = None
    if has_bias:
        start = np.zeros(n, kernel.dtype) if bias is None else bias
        centre = centre_bias(start) if softmax else start
        lost = target - B.astype(np.float64) @ C.astype(np.float64)
        new_bias = (centre.astype(np.float64) + moments.mean @ lost).astype(start.dtype)
    found = inner.certificate
    certificate = certify(kernel, B, C, best, found.algorithm, largest=largest, truncated=found)
    return Factors(B, C, new_bias, inner.singular_values, "whitened", certificate)


def rebalance(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale each column of B and row of C to equal norms; their product stays."""
    left, right = np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=1)
    alive = (left > 0) & (right > 0)
    ratio = np.ones_like(left)
    ratio[alive] = np.sqrt(right[alive] / left[alive])
    return first * ratio, second / ratio[:, None]


def _root(covariance: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the upper Cholesky factor of the damped covariance."""
    m = len(covariance)
    scale = float(np.trace(covariance)) / m
    if not np.isfinite(scale):
        msg = "the layer's inputs hold NaN or infinity; expected finite numbers: check the data and their scaling."
        raise KernelError(msg, code="activations_not_finite")
    # Inputs that never vary whiten to nothing: any damping serves, the bias does the rest.
    share = ROUNDING_DAMPING + SAMPLING_DAMPING * m / count
    damping = share * scale if scale > 0 else 1.0
    return np.asarray(np.linalg.cholesky(covariance + damping * np.eye(m)).T)
