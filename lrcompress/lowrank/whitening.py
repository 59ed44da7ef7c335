"""The `whitened` method: the affine rank-r head whose outputs are nearest on the inputs it gets.

With ``mu = E[x]``, ``Sigma = E[(x - mu)(x - mu)^T]`` and ``Sigma = L L^T``, the minimum of
``E ||(x A + b) - (x B C + b')||^2`` over all B, C and b' is the truncated SVD ``U S V^T`` of
``L^T A``: ``B = L^{-T} U sqrt(S)``, ``C = sqrt(S) V^T``, ``b' = b + mu^T (A - B C)``: reduced-rank
regression (Izenman, J. Multivariate Analysis 5, 1975). Where softmax follows, A is centred first.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import KernelError
from lrcompress.lowrank.centering import centre_bias, centre_kernel, share_of_norm
from lrcompress.lowrank.certificate import certify, within_rounding
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.moments import InputMoments
from lrcompress.lowrank.projected import ProjectedMoments
from lrcompress.lowrank.spectrum import Reference, at_rank
from lrcompress.lowrank.svd import truncated_svd

# Damping as a share of the mean variance: against rounding, and against few samples, where the
# covariance is singular and directions never seen would be given away for nothing.
ROUNDING_DAMPING = 1e-6
SAMPLING_DAMPING = 1e-2


def whitened(
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    rank: int,
    moments: InputMoments | ProjectedMoments,
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
    check_moments(kernel, moments)
    reference = Reference(kernel, truncated_svd(kernel, rank))
    return whitened_ranks(bias, [rank], moments, reference, softmax=softmax, allow_bias=allow_bias)[
        rank
    ]


def check_moments(kernel: NDArray[Any], moments: InputMoments | ProjectedMoments) -> None:
    """Refuse moments that are not those of a layer with this kernel.

    Raises:
        KernelError: If there are none, they are of another size, or they are not finite.
    """
    m = kernel.shape[0]
    covers = not isinstance(moments, ProjectedMoments) or moments.covers(kernel.shape)
    if len(moments.mean) != m or moments.count == 0 or not covers:
        got = f"{moments.count} with {len(moments.mean)}"
        msg = f"expected moments of at least one input with {m} features. Received: {got}."
        raise KernelError(msg, code="moments")
    if not np.isfinite(np.trace(moments.covariance)):
        msg = "the layer's inputs hold NaN or infinity; expected finite numbers: check the data and their scaling."
        raise KernelError(msg, code="activations_not_finite")


def whitened_ranks(
    bias: NDArray[Any] | None,
    ranks: Collection[int],
    moments: InputMoments | ProjectedMoments,
    reference: Reference,
    *,
    softmax: bool,
    allow_bias: bool = False,
) -> dict[int, Factors]:
    """Return `whitened` at several ranks from one decomposition, the bias re-fitted at each.

    Args:
        bias: b, (n,), or None.
        ranks: Each from 1 to that of the reference.
        moments: Of the layer's inputs; see `check_moments`.
        reference: Of A, (m, n).
        softmax: Whether A may be centred.
        allow_bias: Whether a layer without bias may be given one.
    """
    kernel = reference.kernel
    n = kernel.shape[1]
    has_bias = bias is not None or allow_bias
    target = (centre_kernel(kernel) if softmax else kernel).astype(np.float64)
    root = None
    if isinstance(moments, ProjectedMoments):
        outputs, highest, lifted = _by_outputs(
            target, moments, max(ranks), softmax=softmax, has_bias=has_bias
        )
    else:
        root = input_root(moments, has_bias=has_bias)
        outputs, highest, lifted = _by_inputs(target, root, max(ranks))
    start = np.zeros(n, kernel.dtype) if bias is None else bias
    centre = (centre_bias(start) if softmax else start).astype(np.float64)
    scale = share_of_norm(target, kernel)
    found = {}
    for rank in ranks:
        inner = at_rank(highest, rank, outputs)
        first, second = rebalance(lifted[:, :rank], inner.C)
        B, C = first.astype(kernel.dtype), second.astype(kernel.dtype)
        new_bias = None
        if has_bias:
            lost = moments.mean @ target - (moments.mean @ B.astype(np.float64)) @ C.astype(
                np.float64
            )
            new_bias = (centre + lost).astype(start.dtype)
        truncated = inner.certificate
        if root is not None:
            # Of the factors as stored; where only products were gathered, of those computed.
            best = truncated.optimum_frobenius_error
            truncated = certify(outputs, root @ B, C, best, truncated.algorithm)
        truncated = within_rounding(truncated, scale, kernel.dtype)
        certificate = reference.certify(B, C, truncated.algorithm, truncated)
        found[rank] = Factors(B, C, new_bias, inner.singular_values, "whitened", certificate)
    return found


def input_root(moments: InputMoments, *, has_bias: bool) -> NDArray[np.float64]:
    """Return L^T, (m, m), of a layer's inputs: of their second moments where no bias can follow."""
    return damped_root(moments.covariance if has_bias else moments.second_moment, moments.count)


def _by_inputs(
    target: NDArray[np.float64], root: NDArray[np.float64], rank: int
) -> tuple[NDArray[np.float64], Factors, NDArray[np.float64]]:
    """Return ``L^T A``, its truncated SVD, and ``L^{-T} U sqrt(S)``."""
    outputs = root @ target
    highest = truncated_svd(outputs, rank)
    # root is L^T: upper triangular.
    from scipy.linalg import solve_triangular

    return outputs, highest, np.asarray(solve_triangular(root, highest.B))


def _by_outputs(
    target: NDArray[np.float64],
    moments: ProjectedMoments,
    rank: int,
    *,
    softmax: bool,
    has_bias: bool,
) -> tuple[NDArray[np.float64], Factors, NDArray[np.float64]]:
    """Return the same up to a rotation of ``L^T A``, from the covariance of the outputs."""
    m = len(moments.mean)
    varied = moments.covariance if has_bias else moments.second_moment
    if softmax:
        varied = varied - varied.mean(axis=1, keepdims=True)
        varied -= varied.mean(axis=0)
    added = damping(moments.variance if has_bias else moments.power, m, moments.count)
    squares, vectors = np.linalg.eigh(varied + added * (target.T @ target))
    outputs = np.sqrt(np.maximum(squares, 0.0))[:, None] * vectors.T
    highest = truncated_svd(outputs, rank)
    sigma = highest.singular_values[:rank]
    inverse = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=sigma > 0)
    return outputs, highest, target @ (highest.C.T * inverse)


def rebalance(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale each column of B and row of C to equal norms; their product stays."""
    left, right = np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=1)
    alive = (left > 0) & (right > 0)
    ratio = np.ones_like(left)
    ratio[alive] = np.sqrt(right[alive] / left[alive])
    return first * ratio, second / ratio[:, None]


def damped_root(covariance: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the upper Cholesky factor L^T of the damped covariance, both (m, m)."""
    m = len(covariance)
    added = damping(float(np.trace(covariance)) / m, m, count)
    return np.asarray(np.linalg.cholesky(covariance + added * np.eye(m)).T)


def damping(variance: float, features: int, count: int) -> float:
    """Return what is added to the variance of every feature, given their mean variance."""
    share = ROUNDING_DAMPING + SAMPLING_DAMPING * features / count
    # Inputs that never vary whiten to nothing: any damping serves, the bias does the rest.
    return share * variance if variance > 0 else 1.0
