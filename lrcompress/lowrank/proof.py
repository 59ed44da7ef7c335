"""Proof that no r eigenvalues of G sum to more than a bound, by one Cholesky factorization.

For any number mu and any positive semidefinite Y with ``Y >= G - mu I``, the r leading eigenvalues
of G sum to at most ``r mu + trace(Y)`` (the dual of Ky Fan's maximum principle, Proc. Nat. Acad.
Sci. 35, 1949). With Y in the span of the Ritz vectors the bound is as near as they have converged,
and that ``mu I + Y - G`` is positive definite is shown by its Cholesky factorization: a third of
k^3 multiplications, where the eigenvalues themselves would take many times that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.gram import Pairs
from lrcompress.lowrank.subspace import OutOfPrecision, Ritz

# By how much of the (r+1)-th value the bound on the spectral error may exceed it.
REACH = 0.03
# What remains of G is below the last Ritz value and this many times its residual (at most 3.1
# measured, on flat and decaying spectra).
ROOM = 3.5
# What the choice of the bound may spend of the allowance: its cost is known to a third or so.
SPENT = 0.75


def proven_pairs(gram: NDArray[Any], rank: int, ritz: Ritz, allowed: float) -> Pairs | None:
    """Return the leading pairs with proven bounds, up to the rounding of G's precision.

    Args:
        gram: G, (k, k).
        rank: r.
        ritz: Converged pairs, more than r.
        allowed: By how much the bound may exceed the sum of the leading Ritz values.

    Returns:
        None where the bound would exceed that or could not be shown.

    Raises:
        OutOfPrecision: If rounding alone exceeds what is allowed.
    """
    theta, Q = ritz.values, ritz.vectors
    missing = ritz.missing(rank, allowed)
    if 2 * missing > allowed:
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


def _best_shift(
    ritz: Ritz, rank: int, allowed: float, slack: NDArray[np.float64]
) -> tuple[float, float] | None:
    """Return mu and the gap of the nearest bound with room for what the vectors miss.

    With Q the Ritz vectors, R their residual and M the rest of G, ``mu I + Y - G`` is positive
    definite for ``Y = Q K Q^T`` if ``K > diag(theta) - mu + R^T R / gap`` and ``M < mu - gap``.
    A larger mu costs ``mu - theta_i`` for those of the r leading values that it exceeds, a smaller
    gap costs R; what M is, only the factorization tells.
    """
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


def _is_definite(above: NDArray[Any], gram: NDArray[Any], shift: float) -> bool:
    """Return whether ``shift I + Y - G`` is positive definite; Y is overwritten."""
    from scipy.linalg.lapack import dpotrf, spotrf

    above -= gram
    above[np.diag_indices(len(gram))] += above.dtype.type(shift)
    factorize = spotrf if above.dtype == np.float32 else dpotrf
    # Symmetric: its transpose is itself in the order that LAPACK overwrites.
    _, failed = factorize(above.T, lower=1, clean=0, overwrite_a=1)
    return not failed
