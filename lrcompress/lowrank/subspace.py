"""Leading eigenpairs of a large symmetric G by Chebyshev-filtered subspace iteration.

A random block of a few more columns than wanted is multiplied by a polynomial in G that is small
on the unwanted eigenvalues and grows fast above them; Rayleigh-Ritz extracts the pairs (Rutishauser,
Numer. Math. 13, 1969; Zhou & Saad, SIAM J. Matrix Anal. 29, 2007). G is needed only as a product
with a block. Random start: no eigenvector is missed (Halko, Martinsson & Tropp, SIAM Rev. 53, 2011).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.gram import Pairs
from lrcompress.lowrank.orthonormal import orthonormal, orthonormal_pair

# Products of G with the block after which the iteration is given up.
MOST_PRODUCTS = 60
# Degree of one filter, at most: beyond, the interval is better estimated anew.
MOST_DEGREE = 12
# And at least: extracting pairs costs as much as several products.
LEAST_DEGREE = 4
# What should be missing of the allowance: the proof needs so much more than the estimate.
SHARE = 1 / 20
# Growth of the largest direction over the smallest between two orthonormalisations.
GROWTH = 1e3

# Relative distance under which eigenvalues are told apart no more.
CLUSTER = 0.01
# A tail of less than this many units of rounding of the whole is not known to a thousandth.
KNOWABLE = 4000

Apply = Callable[[NDArray[Any]], NDArray[Any]]


class OutOfPrecision(np.linalg.LinAlgError):
    """What is left beside the leading eigenvalues drowns in the rounding of this precision."""


class Ritz(NamedTuple):
    """The best that a subspace holds of G's eigenpairs.

    Attributes:
        values: (w,), descending, float64; each at most the eigenvalue it stands for.
        vectors: (k, w), orthonormal.
        residual: ``G Q - Q diag(values)``, (k, w); orthogonal to the vectors.
        crossed: ``residual^T residual``, (w, w), float64.
        tail: ``trace(G)`` less the r leading values.
    """

    values: NDArray[np.float64]
    vectors: NDArray[Any]
    residual: NDArray[Any]
    crossed: NDArray[np.float64]
    tail: float

    def missing(self, rank: int, allowed: float) -> float:
        """Estimate what the r leading values lack to the r leading eigenvalues.

        Perturbation to second order, where the smallest Ritz value stands for what lies outside.
        Eigenvalues nearer to that than a share of the allowance are as good as one another.
        """
        gaps = np.maximum(self.values[:rank] - self.values[-1], allowed / (4 * rank))
        return float((np.diag(self.crossed)[:rank] / gaps).sum())

    def is_clustered(self, rank: int) -> bool:
        """Return whether the r-th value and the last differ by hardly more than nothing."""
        return bool(self.values[rank - 1] - self.values[-1] < CLUSTER * self.values[rank - 1])


def width(rank: int, size: int) -> int:
    """Return the columns of the block: more than wanted, for the speed of convergence.

    A quarter more, and up to half where that is few beside k: then a product costs little.
    """
    return min(size, rank + max(10, rank // 4, min(rank // 2, size // 32)))


def filtered_pairs(
    apply: Apply,
    size: int,
    rank: int,
    trace: float,
    rng: np.random.Generator,
    dtype: type[np.floating[Any]],
    *,
    tolerance: float,
    prove: Callable[[Ritz, float], Pairs | None] | None = None,
) -> Pairs:
    """Return the r leading eigenpairs of a positive semidefinite G.

    Args:
        apply: Returns ``G X`` for X, (k, w).
        size: k.
        rank: r.
        trace: Of G.
        rng: Draws the start.
        dtype: Of the products.
        tolerance: The vectors leave an energy of ``trace(G) - sum`` over the leading values; its
            square root is at most 1 + this times the least possible.
        prove: Returns pairs with a proven bound if it holds by the allowance given, else None.
            Without, the bound is twice an estimate from the residuals.

    Raises:
        OutOfPrecision: If what is left is too little to be known in float32.
        numpy.linalg.LinAlgError: If it takes more than `MOST_PRODUCTS` products.
    """
    block = rng.standard_normal((size, width(rank, size))).astype(dtype, copy=False)
    Q = orthonormal(apply(block))
    products, eps = 1, float(np.finfo(dtype).eps)
    while products < MOST_PRODUCTS:
        ritz = rayleigh_ritz(apply(Q), Q, rank, trace)
        products += 1
        allowed = 2 * tolerance * ritz.tail
        found = None
        if ritz.tail < KNOWABLE * eps * trace:
            if dtype == np.float32:
                msg = "the tail is lost in float32"
                raise OutOfPrecision(msg)
            # No share of nearly nothing can be asked for: the rounding of the whole has to do.
            allowed = 64 * eps * trace
            found = _estimated(ritz, rank, allowed, trace)
        elif products > 2:
            found = _estimated(ritz, rank, allowed) if prove is None else prove(ritz, allowed)
        if found is not None:
            return found
        degree = _degree(ritz, rank, allowed)
        Q = _filtered(apply, ritz, rank, degree)
        products += degree - 1
    msg = f"not converged after {products} products"
    raise np.linalg.LinAlgError(msg)


def rayleigh_ritz(product: NDArray[Any], Q: NDArray[Any], rank: int, trace: float) -> Ritz:
    """Return the Ritz pairs of a subspace.

    Args:
        product: ``G Q``, (k, w).
        Q: Orthonormal basis, (k, w).
        rank: r, of which the tail is told.
        trace: Of G.
    """
    values, turn = np.linalg.eigh(Q.T @ product)
    turn = turn[:, ::-1]
    theta = values[::-1].astype(np.float64)
    vectors = Q @ turn
    residual = product @ turn
    residual -= vectors * theta.astype(Q.dtype)
    crossed = (residual.T @ residual).astype(np.float64)
    return Ritz(theta, vectors, residual, crossed, trace - float(theta[:rank].sum()))


def _estimated(ritz: Ritz, rank: int, allowed: float, most: float | None = None) -> Pairs | None:
    missing = ritz.missing(rank, allowed)
    if 4 * missing > allowed:
        return None
    known = ritz.values[:rank]
    beyond = float(ritz.values[rank]) if len(ritz.values) > rank else 0.0
    if most is None:
        most = float(known.sum()) + 2 * missing
    return Pairs(known, ritz.vectors[:, :rank], most, max(beyond, 0.0))


def _edge(ritz: Ritz, rank: int) -> float:
    """Return the upper end of the unwanted eigenvalues, safely above zero."""
    largest, smallest = float(ritz.values[0]), float(ritz.values[-1])
    edge = smallest
    if ritz.is_clustered(rank):
        # Nothing above the smallest Ritz value stands out: from below it, the cluster does.
        edge = max(smallest - float(np.sqrt(ritz.crossed[-1, -1])), smallest / 4)
    return max(edge, 64 * float(np.finfo(ritz.vectors.dtype).eps) * largest)


def _degree(ritz: Ritz, rank: int, allowed: float) -> int:
    """Return the degree at which the filter should bring what is missing under the allowance."""
    # T_p(x) grows as exp(p arccosh(x)) / 2, and what is missing falls as its square.
    wanted = max(ritz.missing(rank, allowed) / (allowed * SHARE), 1.0)
    rate = float(np.arccosh(max(2 * ritz.values[rank - 1] / _edge(ritz, rank) - 1, 1.0 + 1e-6)))
    return int(
        np.clip(np.ceil((0.5 * np.log(wanted) + np.log(2)) / rate), LEAST_DEGREE, MOST_DEGREE)
    )


def _filtered(apply: Apply, ritz: Ritz, rank: int, degree: int) -> NDArray[Any]:
    """Return an orthonormal basis of ``T_p(2 G / edge - 1) Q``, T_p the Chebyshev polynomial."""
    dtype = ritz.vectors.dtype.type
    half = _edge(ritz, rank) / 2
    x = max(float(ritz.values[0]) / half - 1, 1.0 + 1e-6)
    every = max(1, int(np.log(GROWTH) / np.arccosh(x)))
    # T_0 Q = Q and T_1 Q = (G Q - half Q) / half, where G Q is known from the residual.
    before = ritz.vectors
    now = ritz.residual + before * (ritz.values - half).astype(dtype)
    now /= dtype(half)
    for step in range(1, degree):
        if step % every == 0:
            now, before = orthonormal_pair(now, before)
        # T_{p+1} = 2 (G / half - 1) T_p - T_{p-1}.
        after = apply(now)
        after *= dtype(2 / half)
        now *= dtype(2)
        after -= now
        after -= before
        now *= dtype(0.5)
        before, now = now, after
    return orthonormal(now)
