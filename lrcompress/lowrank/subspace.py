"""Leading eigenpairs of a large symmetric G by Chebyshev-filtered subspace iteration, and a proof.

A random block of a few more columns than wanted is multiplied by a polynomial in G that is small
on the unwanted eigenvalues and grows fast above them; Rayleigh-Ritz extracts the pairs (Rutishauser,
Numer. Math. 13, 1969; Zhou & Saad, SIAM J. Matrix Anal. 29, 2007). G is needed only as a product
with a block. Random start: no eigenvector is missed (Halko, Martinsson & Tropp, SIAM Rev. 53, 2011).

For any number mu and any positive semidefinite Y with ``Y >= G - mu I``, the r leading eigenvalues
of G sum to at most ``r mu + trace(Y)`` (the dual of Ky Fan's maximum principle, Proc. Nat. Acad.
Sci. 35, 1949). With Y in the span of the Ritz vectors the bound is as near as they have converged,
and that ``mu I + Y - G`` is positive definite is shown by its Cholesky factorization: a third of
k^3 multiplications, where the eigenvalues themselves would take many times that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lrcompress.lowrank.gram import Pairs
from lrcompress.lowrank.matrix import Array, Dtype, Floats

# Products of G with the block after which the iteration is given up.
MOST_PRODUCTS = 60
# Degree of one filter, at most: beyond, the interval is better estimated anew; and at least:
# extracting pairs costs as much as several products.
MOST_DEGREE, LEAST_DEGREE = 12, 4
# What should be missing of the allowance: the proof needs so much more than the estimate.
SHARE = 1 / 20
# Growth of the largest direction over the smallest between two orthonormalisations.
GROWTH = 1e3
# Relative distance under which eigenvalues are told apart no more.
CLUSTER = 0.01
# A tail of less than this many units of rounding of the whole is not known to a thousandth.
KNOWABLE = 4000
# Entries of the inverse factor above which one pass of Cholesky QR leaves more than rounding: its
# columns are orthonormal to eps times the square of such an entry.
NEARLY_PARALLEL = 8.0
# By how much of the (r+1)-th value the bound on the spectral error may exceed it.
REACH = 0.03
# What remains of G is below the last Ritz value and this many times its residual (at most 3.1
# measured, on flat and decaying spectra).
ROOM = 3.5
# What the choice of the bound may spend of the allowance: its cost is known to a third or so.
SPENT = 0.75

Apply = Callable[[Array], Array]


class OutOfPrecision(np.linalg.LinAlgError):
    """What is left beside the leading eigenvalues drowns in the rounding of this precision."""


class Ritz(NamedTuple):
    """The best that a subspace holds of G's eigenpairs."""

    values: Floats  # (w,), descending; each at most the eigenvalue it stands for
    vectors: Array  # (k, w), orthonormal
    residual: Array  # ``G Q - Q diag(values)``, (k, w); orthogonal to the vectors
    crossed: Floats  # ``residual^T residual``, (w, w)
    tail: float  # ``trace(G)`` less the r leading values

    def missing(self, rank: int, allowed: float) -> float:
        """Estimate what the r leading values lack to the r leading eigenvalues."""
        # Perturbation to second order, where the smallest Ritz value stands for what lies outside.
        # Eigenvalues nearer to that than a share of the allowance are as good as one another.
        gaps = np.maximum(self.values[:rank] - self.values[-1], allowed / (4 * rank))
        return float((np.diag(self.crossed)[:rank] / gaps).sum())


def width(rank: int, size: int) -> int:
    """Return the columns of the block: more than wanted, for the speed of convergence."""
    # A quarter more, and up to half where that is few beside k: then a product costs little.
    return min(size, rank + max(10, rank // 4, min(rank // 2, size // 32)))


def filtered_pairs(
    apply: Apply,
    size: int,
    rank: int,
    trace: float,
    rng: np.random.Generator,
    dtype: Dtype,
    *,
    tolerance: float,
    prove: Callable[[Ritz, float], Pairs | None] | None = None,
) -> Pairs:
    """Return the r leading eigenpairs of a positive semidefinite G, (k, k), by products ``G X``, or raise LinAlgError.

    The vectors leave an energy of ``trace(G) - sum`` over the leading values, whose square root is at
    most 1 + tolerance times the least possible. `prove` returns pairs with a proven bound if it holds
    by the allowance given, else None; without it, the bound is twice an estimate from the residuals.
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
        Q, degree = _filtered(apply, ritz, rank, allowed)
        products += degree - 1
    msg = f"not converged after {products} products"
    raise np.linalg.LinAlgError(msg)


def rayleigh_ritz(product: Array, Q: Array, rank: int, trace: float) -> Ritz:
    """Return the Ritz pairs in the span of an orthonormal Q, (k, w), from ``G Q``."""
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
    largest, last, smallest = (float(ritz.values[place]) for place in (0, rank - 1, -1))
    edge = smallest
    if last - smallest < CLUSTER * last:
        # Nothing above the smallest Ritz value stands out: from below it, the cluster does.
        edge = max(smallest - float(np.sqrt(ritz.crossed[-1, -1])), smallest / 4)
    return max(edge, 64 * float(np.finfo(ritz.vectors.dtype).eps) * largest)


def _filtered(apply: Apply, ritz: Ritz, rank: int, allowed: float) -> tuple[Array, int]:
    """Return an orthonormal basis of ``T_p(2 G / edge - 1) Q``, T_p the Chebyshev polynomial, and p."""
    edge, dtype = _edge(ritz, rank), ritz.vectors.dtype.type
    # T_p(x) grows as exp(p arccosh(x)) / 2, and what is missing, which should fit the allowance, falls as its square.
    wanted = max(ritz.missing(rank, allowed) / (allowed * SHARE), 1.0)
    rate = float(np.arccosh(max(2 * ritz.values[rank - 1] / edge - 1, 1.0 + 1e-6)))
    degree = np.ceil((0.5 * np.log(wanted) + np.log(2)) / rate)
    degree = int(np.clip(degree, LEAST_DEGREE, MOST_DEGREE))
    half = edge / 2
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
    return orthonormal(now), degree


def orthonormal(block: Array) -> Array:
    """Return an orthonormal basis of the columns of Y, (k, w)."""
    # Y = Q R with Y^T Y = R^T R (Cholesky QR: the speed of matrix products), again where the columns were nearly
    # parallel, and by Householder's QR where they are so to the precision of a Gram matrix.
    for _ in range(2):
        factor, spread = _inverse_root(block)
        if factor is None:
            return np.linalg.qr(block)[0]
        block = block @ factor
        if spread < NEARLY_PARALLEL:
            break
    return block


def orthonormal_pair(block: Array, other: Array) -> tuple[Array, Array]:
    """Return ``Y R^-1`` and ``X R^-1`` for ``Y = Q R``: a recurrence goes on in the new basis."""
    factor, _ = _inverse_root(block)
    if factor is None:
        basis, R = np.linalg.qr(block)
        return basis, other @ np.linalg.pinv(R)
    return block @ factor, other @ factor


def _inverse_root(block: Array) -> tuple[Array | None, float]:
    """Return ``R^-1`` with ``Y^T Y = R^T R``, None where that is out of reach, and its spread."""
    from scipy.linalg.lapack import dtrtri

    gram = (block.T @ block).astype(np.float64)
    norms = np.sqrt(np.diag(gram))
    if not norms.all() or not np.isfinite(norms).all():
        return None, np.inf
    # Columns of length one: then only their angles make the factorization hard.
    gram /= norms
    gram /= norms[:, None]
    try:
        root = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None, np.inf
    inverse, failed = dtrtri(root, lower=1)
    if failed:
        return None, np.inf
    factor = inverse.T / norms[:, None]
    return np.asarray(factor, block.dtype, order="C"), float(np.abs(inverse).max())


def proven_pairs(gram: Array, rank: int, ritz: Ritz, allowed: float) -> Pairs | None:
    """Return the leading pairs with proven bounds, up to the rounding of G's precision; None where none is shown."""
    theta, Q = ritz.values, ritz.vectors
    if 2 * ritz.missing(rank, allowed) > allowed:
        return None
    # Not so little that rounding in the difference of Y and G would decide.
    eps = float(np.finfo(Q.dtype).eps)
    rounding = 2 * eps * float(theta[0])
    if 2 * rank * rounding > allowed:
        msg = "the bound is lost in rounding"
        raise OutOfPrecision(msg)
    # Vectors are of length one to rounding, which the large values multiply.
    slack = max(rounding, allowed / (40 * rank)) + 8 * eps * theta
    chosen = _best_shift(ritz, rank, allowed, slack)
    if chosen is None:
        return None
    shift, gap = chosen
    values, turn = np.linalg.eigh(np.diag(theta - shift + slack) + ritz.crossed / gap)
    values = np.maximum(values, 0.0)
    most = rank * shift + float(values.sum())
    if most - float(theta[:rank].sum()) > allowed:
        return None
    K = ((turn * values) @ turn.T).astype(Q.dtype)
    if not _is_definite((Q @ K) @ Q.T, gram, shift):
        return None
    # Outside the r leading vectors G is at most mu I + Y there.
    beyond = shift + float(np.linalg.eigvalsh(K[rank:, rank:])[-1])
    return Pairs(theta[:rank], Q[:, :rank], most, beyond)


def _best_shift(ritz: Ritz, rank: int, allowed: float, slack: Floats) -> tuple[float, float] | None:
    """Return mu and the gap of the nearest bound with room for what the vectors miss."""
    # With Q the Ritz vectors, R their residual and M the rest of G, mu I + Y - G is positive definite for Y = Q K Q^T
    # if K > diag(theta) - mu + R^T R / gap and M < mu - gap. A larger mu costs mu - theta_i for those of the r leading
    # values that it exceeds, a smaller gap costs R; what M is, only the factorization tells.
    theta, squares = ritz.values, np.diag(ritz.crossed)
    known, start = float(theta[:rank].sum()), float(theta[rank])
    reach = max(REACH * start, 4 * float(slack[-1]))
    last = float(np.sqrt(squares[-1]))
    edge, enough = float(theta[-1]) + last, float(theta[-1]) + ROOM * last
    shifts = (start + reach * np.linspace(0, 1, 31))[:, None]
    gaps = np.array([0.1, 0.2, 0.3, 0.5]) * np.maximum(shifts - edge, 0.0)
    # The trace of a positive part is at least that of its diagonal, and little more here.
    room = np.maximum(gaps, np.finfo(np.float64).tiny)[..., None]
    K = np.maximum((theta + slack) - shifts[..., None] + squares / room, 0.0)
    cost = rank * shifts + K.sum(axis=2) - known
    left = np.minimum(shifts - gaps, enough)
    left[(cost > SPENT * allowed) | (gaps <= 0)] = -np.inf
    # Of those with the most room the cheapest.
    found = np.lexsort((-cost.ravel(), left.ravel()))[-1]
    if np.isinf(left.flat[found]):
        return None
    return float(shifts[found // 4, 0]), float(gaps.flat[found])


def _is_definite(above: Array, gram: Array, shift: float) -> bool:
    """Return whether ``shift I + Y - G`` is positive definite; Y is overwritten."""
    from scipy.linalg.lapack import dpotrf, spotrf

    above -= gram
    above[np.diag_indices(len(gram))] += above.dtype.type(shift)
    factorize = spotrf if above.dtype == np.float32 else dpotrf
    # Symmetric: its transpose is itself in the order that LAPACK overwrites.
    _, failed = factorize(above.T, lower=1, clean=0, overwrite_a=1)
    return not failed
