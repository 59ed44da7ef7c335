"""The affine rank-r layer whose outputs are nearest on the inputs it gets.

With ``mu = E[x]``, ``Sigma = E[(x - mu)(x - mu)^T]`` and ``Sigma = L L^T``, the minimum of
``E ||(x A + b) - (x B C + b')||^2`` over all B, C and b' is the truncated SVD ``U S V^T`` of
``L^T A``: ``B = L^{-T} U sqrt(S)``, ``C = sqrt(S) V^T``, ``b' = b + mu^T (A - B C)``: reduced-rank
regression (Izenman, J. Multivariate Analysis 5, 1975). Where softmax follows, A is centred first.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from lrcompress.lowrank.certificate import Certificate, certify, share_of_norm, within_rounding
from lrcompress.lowrank.factors import Factors, at_rank, optima, rebalance
from lrcompress.lowrank.matrix import Array, Floats
from lrcompress.lowrank.methods import Given, Method
from lrcompress.lowrank.methods.centered import centre_bias, centre_kernel
from lrcompress.lowrank.methods.problem import Problem
from lrcompress.lowrank.moments import Moments, ProjectedMoments, damping, input_root, solve_upper
from lrcompress.lowrank.svd import truncated_svd

# Entries of a kernel up to which everything is computed in float64, whatever it is stored in.
EXACT = 2**22
# Of which products are formed at a time.
COLUMNS = 2**16


class Whitened(Method):
    """Reduced-rank regression of the outputs on the inputs."""

    name = "whitened"
    needs: Given = "moments"
    minimises = "outputs"
    spectrum_of = "whitened kernel"
    color, marker = "#009E73", "^"

    def truncated(self, kernel: Array, *, softmax: bool) -> Array:
        """Return the kernel, mean-free where softmax follows."""
        return centre_kernel(kernel) if softmax else kernel

    def solve(self, problem: Problem, ranks: Sequence[int]) -> dict[int, Factors]:
        """Cut every rank from one decomposition, the bias re-fitted at each."""
        return self.regression(problem, problem.statistics, ranks)

    def regression(
        self,
        problem: Problem,
        moments: Moments,
        ranks: Sequence[int],
        weights: Floats | None = None,
    ) -> dict[int, Factors]:
        """Return the factors of the least ``sum_j w_j E (z_j - z'_j)^2`` for inputs with these moments."""
        kernel, has_bias = problem.kernel, problem.has_bias
        cut = problem.known.get(self.name)
        if not isinstance(cut, _Cut) or cut.moments is not moments or cut.most < max(ranks):
            problem.known[self.name] = cut = _decomposed(problem, moments, max(ranks), weights)
        mean = moments.mean.astype(cut.at_mean.dtype)
        start = np.zeros(kernel.shape[1], kernel.dtype) if problem.bias is None else problem.bias
        centre = centre_bias(start, weights) if problem.centre else start.astype(np.float64)
        found = {}
        for rank in ranks:
            B, C = np.ascontiguousarray(cut.first[:, :rank]), cut.second[:rank]
            bias = None
            if has_bias:
                kept = (mean @ B.astype(mean.dtype)) @ C.astype(mean.dtype, copy=False)
                bias = (centre + (cut.at_mean - kept)).astype(start.dtype)
            measured = partial(_certified, problem, cut, (B, C), weights)
            found[rank] = Factors(B, C, bias, cut.sigma, self.name, measured, self.spectrum_of)
        return found


class _Cut(NamedTuple):
    """A decomposition that all ranks up to its own are cut from."""

    moments: Moments  # of the inputs that it is for
    most: int  # the rank
    first: Array  # B, (m, most); of a lower rank the first columns
    second: Array  # C, (most, n)
    at_mean: Array  # the target's outputs at the mean input, (n,)
    share: float  # the target's norm over the kernel's
    sigma: Floats  # of what was truncated
    best: Floats  # the least relative error at each rank
    algorithm: str
    root: Array  # L^T; empty where only products were gathered
    scale: Array  # roots of the weights
    products: tuple[Factors, Array] | None  # what was truncated, where only these were gathered


def _decomposed(problem: Problem, moments: Moments, most: int, weights: Floats | None) -> _Cut:
    """Return the truncated SVD of the whitened kernel, and what cuts factors of any lower rank from it."""
    kernel, target = problem.kernel, _target(problem, weights)
    scale = np.ones(1) if weights is None else np.sqrt(weights / weights.mean())
    scale = scale.astype(target.dtype)
    at_mean = moments.mean.astype(target.dtype) @ target
    share = share_of_norm(target, kernel)
    root, products = np.zeros((0, 0)), None
    if isinstance(moments, ProjectedMoments):
        outputs, highest, lifted = _by_outputs(problem, target * scale, moments, most, weights)
        products = highest, outputs
    else:
        root = input_root(moments, has_bias=problem.has_bias)
        outputs = _times(root.astype(target.dtype), target, scale, kernel)
        del target
        highest = truncated_svd(outputs, most)
        del outputs
        lifted = solve_upper(root, highest.B)
    first, second = rebalance(lifted, highest.C / scale)
    return _Cut(
        moments, most, first.astype(kernel.dtype), second.astype(kernel.dtype), at_mean, share,
        highest.singular_values, optima(highest), highest.certificate.algorithm, root, scale, products,
    )  # fmt: skip


def _target(problem: Problem, weights: Floats | None) -> Array:
    """Return the kernel, centred where softmax follows, in the type that is computed in."""
    kernel = problem.kernel
    exact = kernel.dtype == np.float64 or kernel.size <= EXACT
    target = centre_kernel(kernel, weights) if problem.centre else kernel
    return target.astype(np.float64 if exact else np.float32, copy=False)


def _certified(
    problem: Problem, cut: _Cut, factors: tuple[Array, Array], weights: Floats | None
) -> Certificate:
    """Return the certificate of A itself, with that of the matrix that was truncated."""
    (B, C), rank = factors, factors[0].shape[1]
    if cut.products is not None:
        # Of the factors as computed.
        highest, outputs = cut.products
        own = at_rank(highest, rank, outputs).certificate
    else:
        # Of the factors as stored. What was truncated is computed again rather than held.
        target = _target(problem, weights)
        outputs = _times(cut.root.astype(target.dtype), target, cut.scale, problem.kernel)
        own = certify(
            outputs, cut.root @ B, C * cut.scale, float(cut.best[rank - 1]), cut.algorithm
        )
    own = within_rounding(own, cut.share, problem.kernel.dtype)
    return problem.reference(cut.most).certify(B, C, own.algorithm, own)


def _times(root: Array, target: Array, scale: Array, kernel: Array) -> Array:
    """Return ``L^T A diag(sqrt w)``, in the place of A where that is a copy: of a million classes each takes 1 GB."""
    outputs = np.empty_like(target) if np.may_share_memory(target, kernel) else target
    for start in range(0, target.shape[1], COLUMNS):
        part = slice(start, start + COLUMNS)
        outputs[:, part] = root @ target[:, part]
        outputs[:, part] *= scale if len(scale) == 1 else scale[part]
    return outputs


def _by_outputs(
    problem: Problem, target: Array, moments: ProjectedMoments, rank: int, weights: Floats | None
) -> tuple[Array, Factors, Array]:
    """Return ``L^T A``, up to a rotation, by the covariance of the outputs, its truncated SVD, and B but for scales."""
    outputs = moments.outputs
    varied = outputs.covariance if problem.has_bias else outputs.second_moment
    if problem.centre:
        varied = varied - np.average(varied, axis=1, weights=weights, keepdims=True)
        varied -= np.average(varied, axis=0, weights=weights)
    if weights is not None:
        scale = np.sqrt(weights / weights.mean())
        varied = varied * scale * scale[:, None]
    spread = moments.variance if problem.has_bias else moments.power
    added = damping(spread, len(moments.mean), moments.count)
    squares, vectors = np.linalg.eigh(varied + added * (target.T @ target))
    white = np.sqrt(np.maximum(squares, 0.0))[:, None] * vectors.T
    highest = truncated_svd(white, rank)
    sigma = highest.singular_values[:rank]
    inverse = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=sigma > 0)
    return white, highest, target @ (highest.C.T * inverse)


METHOD = Whitened()
