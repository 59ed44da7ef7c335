"""Which of some variables to keep, so that the others are nearest to affine functions of them.

Backward elimination, as Optimal Brain Surgeon does with weights (Hassibi et al., 1993): with C the
covariance and G what the variables are multiplied with, the kept ones k do best with the weights
``(C_kk)^-1 C_k: G``, and leaving out one more, j, adds ``|row j|^2 / (C_kk^-1)_jj`` to the squared
error. Both sides follow by an update of rank one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
# Of more variables several are left out in one step.
_STEPS = 512
# Against rounding, as a share of the mean variance.
_DAMPING = 1e-7
# Relative errors below this are rounding: what is left out is a function of what is kept.
_NOTHING = 1e-6


class Kept(NamedTuple):
    """Some of the variables, and the others as affine functions of them.

    Attributes:
        chosen: Which are kept, ascending, (k,).
        mixing: A, (k, m): x is nearest to ``x_k A + c``; a kept one is itself.
        constant: c, (m,).
    """

    chosen: Indices
    mixing: Floats
    constant: Floats

    @property
    def in_place(self) -> Floats:
        """A with rows of zeros for those that are left out, (m, m)."""
        made = np.zeros((self.mixing.shape[1],) * 2)
        made[self.chosen] = self.mixing
        return made


def elimination(
    covariance: Floats, outlets: NDArray[Any], count: float = np.inf
) -> tuple[Indices, Floats]:
    """Return the variables, the last to be left out first, and the relative squared error at each number kept.

    Args:
        covariance: C, (m, m).
        outlets: G, (m, p), what the variables are multiplied with.
        count: Of how many rows C is: what they cannot tell counts as lost.
    """
    weights = outlets.astype(np.float64)
    if weights.shape[1] > len(weights):  # only G G^T counts
        weights = scipy.linalg.qr(weights.T, mode="r")[0][: len(weights)].T
    total = float(np.einsum("ij,ij->", weights, covariance @ weights))
    inverse = scipy.linalg.inv(_damped(covariance))
    live = np.arange(len(covariance))
    order, added = [], []
    step = max(1, len(live) // _STEPS)
    while len(live):
        loss = (weights**2).sum(axis=1) / inverse.diagonal()
        out = np.argsort(loss, kind="stable")[:step]
        part = inverse[np.ix_(out, out)]
        change = scipy.linalg.solve(part, weights[out], assume_a="pos")
        order += list(live[out])
        # Together they cost more than each alone; who of them how much is not known.
        added += [float((weights[out] * change).sum()) / len(out)] * len(out)
        rest = np.setdiff1d(np.arange(len(live)), out)
        across = inverse[np.ix_(rest, out)]
        weights = weights[rest] - across @ change
        inverse = inverse[np.ix_(rest, rest)] - across @ scipy.linalg.solve(
            part, across.T, assume_a="pos"
        )
        live = live[rest]
    errors = np.cumsum([0.0, *added[:-1]])[::-1] / max(total, np.finfo(np.float64).tiny)
    # Cross-validated, as if each row was told by the others (Golub, Heath, Wahba, 1979).
    free = np.maximum(1 - np.arange(1, len(covariance) + 1) / count, 1 / len(covariance))
    errors = np.maximum.accumulate(np.minimum(errors / free**2, 1)[::-1])[::-1]
    errors[errors < _NOTHING] = 0
    return np.array(order[::-1]), errors


def compensated(mean: Floats, covariance: Floats, chosen: Indices, count: float = np.inf) -> Kept:
    """Return the fit of all variables by some: ridge regression, each damped by what it leaves unexplained.

    So the fit of a variable that depends on the kept ones is exact (Hoerl, Kennard, Baldwin, 1975).

    Args:
        mean: mu, (m,); zeros, with second moments as C, for a fit without a constant.
        covariance: C, (m, m).
        chosen: k.
        count: Of how many rows they are.
    """
    chosen = np.sort(chosen)
    values, basis = scipy.linalg.eigh(_damped(covariance[np.ix_(chosen, chosen)]))
    turned, variance = basis.T @ covariance[chosen], covariance.diagonal()
    plain = turned / values[:, None]
    share = len(chosen) / count
    left = (variance - (turned * plain).sum(axis=0)) / max(1 - share, 1 / len(mean))
    unexplained = np.clip(left, 0, variance)
    damping = share * unexplained / np.maximum((plain**2).sum(axis=0), np.finfo(np.float64).tiny)
    mixing = basis @ (turned / (values[:, None] + damping))
    mixing[:, chosen] = np.eye(len(chosen))
    constant = mean - mean[chosen] @ mixing
    constant[chosen] = 0
    return Kept(chosen, mixing, constant)


def _damped(covariance: Floats) -> Floats:
    """Return a covariance with something on its diagonal, against rounding."""
    damped = covariance.copy()
    mean = max(float(covariance.diagonal().mean()), np.finfo(np.float64).tiny)
    damped[np.diag_indices(len(damped))] += _DAMPING * mean
    return damped


def likeness(columns: NDArray[Any]) -> Floats:
    """Return a covariance for variables of which only the weights that make them are known.

    Uncorrelated, with the squared norm of these weights as variance; those made by the same weights
    are equal.

    Args:
        columns: (p, m).
    """
    wide = np.ascontiguousarray(columns.T, dtype=np.float64)
    _, group = np.unique(wide, axis=0, return_inverse=True)
    group = group.reshape(-1)
    variance = (wide**2).sum(axis=1)
    found: Floats = np.where(group[:, None] == group, np.sqrt(np.outer(variance, variance)), 0.0)
    return found
