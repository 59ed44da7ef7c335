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
    rounding = 2 * float(np.finfo(Q.dtype).eps) * float(theta[0])
    # A cluster may reach past what was found of it.
    share = allowed if ritz.is_clustered(rank) else max(missing, allowed / 40)
    slack = max(share / (4 * rank), rounding)
    if 2 * rank * slack > allowed:
        msg = "the bound is lost in rounding"
        raise OutOfPrecision(msg)
    # With Q the Ritz vectors, R their residual and M the rest of G, mu I + Y - G is positive
    # definite for Y = Q K Q^T if K >= diag(theta) - mu + R^T R / gap and M < mu + 2 slack - gap.
    mu = float(theta[rank])
    edge = float(theta[-1]) + float(np.sqrt(ritz.crossed[-1, -1]))
    gap = slack + max(mu - edge, 0.0) / 2
    values, turn = np.linalg.eigh(np.diag(theta - mu) + ritz.crossed / gap)
    values = np.maximum(values, 0.0)
    shift = mu + 2 * slack
    most = rank * shift + float(values.sum())
    if most - float(theta[:rank].sum()) > allowed:
        return None
    K = ((turn * values) @ turn.T).astype(Q.dtype)
    if not _is_definite((Q @ K) @ Q.T, gram, shift):
        return None
    # Outside the r leading vectors G is at most mu I + Y there.
    beyond = shift + float(np.linalg.eigvalsh(K[rank:, rank:])[-1])
    return Pairs(theta[:rank], Q[:, :rank], most, beyond)


def _is_definite(above: NDArray[Any], gram: NDArray[Any], shift: float) -> bool:
    """Return whether ``shift I + Y - G`` is positive definite; Y is overwritten."""
    from scipy.linalg.lapack import dpotrf, spotrf

    above -= gram
    above[np.diag_indices(len(gram))] += above.dtype.type(shift)
    factorize = spotrf if above.dtype == np.float32 else dpotrf
    # Symmetric: its transpose is itself in the order that LAPACK overwrites.
    _, failed = factorize(above.T, lower=1, clean=0, overwrite_a=1)
    return not failed
