"""The affine rank-r layer whose outputs are nearest on the inputs it gets.

With ``mu = E[x]``, ``Sigma = E[(x - mu)(x - mu)^T]`` and ``Sigma = L L^T``, the minimum of
``E ||(x A + b) - (x B C + b')||^2`` over all B, C and b' is the truncated SVD ``U S V^T`` of
``L^T A``: ``B = L^{-T} U sqrt(S)``, ``C = sqrt(S) V^T``, ``b' = b + mu^T (A - B C)``: reduced-rank
regression (Izenman, J. Multivariate Analysis 5, 1975). Where softmax follows, A is centred first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.certificate import Certificate, certify, share_of_norm, within_rounding
from lrcompress.lowrank.factors import Factors, rebalance
from lrcompress.lowrank.methods import Given, Method
from lrcompress.lowrank.methods.centered import centre_bias, centre_kernel
from lrcompress.lowrank.methods.problem import Problem
from lrcompress.lowrank.moments import (
    InputMoments,
    ProjectedMoments,
    damping,
    input_root,
    solve_upper,
)
from lrcompress.lowrank.spectrum import at_rank, optima
from lrcompress.lowrank.svd import truncated_svd

# Entries of a kernel up to which everything is computed in float64, whatever it is stored in.
EXACT = 2**22
# Of which products are formed at a time.
COLUMNS = 2**16
# The matrix that was truncated, its truncated SVD, and B of the same rank but for its scale.
Truncated = tuple[NDArray[Any], Factors, NDArray[Any]]


class Whitened(Method):
    """Reduced-rank regression of the outputs on the inputs."""

    name = "whitened"
    needs: Given = "moments"
    minimises = "outputs"
    spectrum_of = "whitened kernel"
    color, marker = "#009E73", "^"

    def truncated(self, kernel: NDArray[Any], *, softmax: bool) -> NDArray[Any]:
        """Return the kernel, mean-free where softmax follows."""
        return centre_kernel(kernel) if softmax else kernel

    def solve(self, problem: Problem, ranks: Sequence[int]) -> dict[int, Factors]:
        """Cut every rank from one decomposition, the bias re-fitted at each."""
        return self.regression(problem, problem.statistics, ranks)

    def regression(
        self,
        problem: Problem,
        moments: InputMoments | ProjectedMoments,
        ranks: Sequence[int],
        weights: NDArray[np.float64] | None = None,
    ) -> dict[int, Factors]:
        """Return the best factors for inputs with these moments.

        With weights, (n,), those of the least ``sum_j w_j E (z_j - z'_j)^2``; a kernel that softmax
        follows is then centred by the mean with these weights.
        """
        kernel, has_bias, most = problem.kernel, problem.has_bias, max(ranks)
        target = _target(problem, weights)
        scale = np.ones(1) if weights is None else np.sqrt(weights / weights.mean())
        scale = scale.astype(target.dtype)
        mean = moments.mean.astype(target.dtype)
        at_mean, share = mean @ target, share_of_norm(target, kernel)
        root = None
        if isinstance(moments, ProjectedMoments):
            outputs, highest, lifted = _by_outputs(problem, target * scale, moments, most, weights)
        else:
            root = input_root(moments, has_bias=has_bias)
            outputs = _times(root.astype(target.dtype), target, scale, kernel)
            del target
            highest = truncated_svd(outputs, most)
            lifted = solve_upper(root, highest.B)
        # Those of a lower rank are the first of these.
        first, second = rebalance(lifted, highest.C / scale)
        whole_first, whole_second = first.astype(kernel.dtype), second.astype(kernel.dtype)
        del first, second
        start = np.zeros(kernel.shape[1], kernel.dtype) if problem.bias is None else problem.bias
        centre = centre_bias(start, weights) if problem.centre else start.astype(np.float64)
        best = optima(highest)
        found = {}
        for rank in ranks:
            B, C = np.ascontiguousarray(whole_first[:, :rank]), whole_second[:rank]
            bias = None
            if has_bias:
                kept = (mean @ B.astype(mean.dtype)) @ C.astype(mean.dtype, copy=False)
                bias = (centre + (at_mean - kept)).astype(start.dtype)
            if root is None:
                # Where only products were gathered, of the factors as computed.
                own = partial(_own, at_rank(highest, rank, outputs))
            else:
                own = partial(
                    _stored, problem, weights, root, scale, (B, C), float(best[rank - 1]),
                    highest.certificate.algorithm,
                )  # fmt: skip
            measured = partial(_certified, problem, own, (B, C), share, most)
            found[rank] = Factors(
                B, C, bias, highest.singular_values, self.name, measured, self.spectrum_of
            )
        return found


def _target(problem: Problem, weights: NDArray[np.float64] | None) -> NDArray[Any]:
    """Return the kernel, centred where softmax follows, in the type that is computed in."""
    kernel = problem.kernel
    exact = kernel.dtype == np.float64 or kernel.size <= EXACT
    target = centre_kernel(kernel, weights) if problem.centre else kernel
    return target.astype(np.float64 if exact else np.float32, copy=False)


def _own(inner: Factors) -> Certificate:
    return inner.certificate


def _stored(
    problem: Problem,
    weights: NDArray[np.float64] | None,
    root: NDArray[Any],
    scale: NDArray[Any],
    factors: tuple[NDArray[Any], NDArray[Any]],
    best: float,
    algorithm: str,
) -> Certificate:
    """Return the certificate of the whitened kernel, computed again rather than held, and the factors as stored."""
    target = _target(problem, weights)
    outputs = _times(root.astype(target.dtype), target, scale, problem.kernel)
    return certify(outputs, root @ factors[0], factors[1] * scale, best, algorithm)


def _certified(
    problem: Problem,
    own: Callable[[], Certificate],
    factors: tuple[NDArray[Any], NDArray[Any]],
    share: float,
    most: int,
) -> Certificate:
    """Return the certificate of A itself, with that of the matrix that was truncated."""
    found = within_rounding(own(), share, problem.kernel.dtype)
    return problem.reference(most).certify(*factors, found.algorithm, found)


def _times(
    root: NDArray[Any], target: NDArray[Any], scale: NDArray[Any], kernel: NDArray[Any]
) -> NDArray[Any]:
    """Return ``L^T A diag(sqrt w)``, in the place of A where that is a copy: of a million classes each takes 1 GB."""
    outputs = np.empty_like(target) if np.may_share_memory(target, kernel) else target
    for start in range(0, target.shape[1], COLUMNS):
        part = slice(start, start + COLUMNS)
        outputs[:, part] = root @ target[:, part]
        outputs[:, part] *= scale if len(scale) == 1 else scale[part]
    return outputs


def _by_outputs(
    problem: Problem,
    target: NDArray[Any],
    moments: ProjectedMoments,
    rank: int,
    weights: NDArray[np.float64] | None,
) -> Truncated:
    """Truncate ``L^T A``, up to a rotation, by the covariance of the outputs."""
    varied = moments.covariance if problem.has_bias else moments.second_moment
    if problem.centre:
        varied = varied - np.average(varied, axis=1, weights=weights, keepdims=True)
        varied -= np.average(varied, axis=0, weights=weights)
    if weights is not None:
        scale = np.sqrt(weights / weights.mean())
        varied = varied * scale * scale[:, None]
    spread = moments.variance if problem.has_bias else moments.power
    added = damping(spread, len(moments.mean), moments.count)
    squares, vectors = np.linalg.eigh(varied + added * (target.T @ target))
    outputs = np.sqrt(np.maximum(squares, 0.0))[:, None] * vectors.T
    highest = truncated_svd(outputs, rank)
    sigma = highest.singular_values[:rank]
    inverse = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=sigma > 0)
    return outputs, highest, target @ (highest.C.T * inverse)


METHOD = Whitened()
