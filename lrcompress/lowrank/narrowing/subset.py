"""Which of some variables to keep, so that the others are nearest to affine functions of them.

Backward elimination, as Optimal Brain Surgeon does with weights (Hassibi et al., 1993): with C the
covariance and G what the variables are multiplied with, the kept ones k do best with the weights
``(C_kk)^-1 C_k: G``, and leaving out one more, j, adds ``|row j|^2 / (C_kk^-1)_jj`` to the squared
error. Both sides follow by an update of rank one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.matrix import Array, Floats

Indices = NDArray[np.intp]
# Of more variables several are left out in one step: each takes the square of their number.
_STEPS = 512
# Against rounding, as a share of the mean variance.
_DAMPING = 1e-7
# Relative errors below this are rounding: what is left out is a function of what is kept.
_NOTHING = 1e-6


class Kept(NamedTuple):
    """Some of the variables, and the others as affine functions of them."""

    chosen: Indices  # which are kept, ascending, (k,)
    mixing: Floats  # A, (k, m): x is nearest to ``x_k A + c``; a kept one is itself
    constant: Floats  # c, (m,)

    @property
    def in_place(self) -> Floats:
        """A with rows of zeros for those that are left out, (m, m)."""
        made = np.zeros((self.mixing.shape[1],) * 2)
        made[self.chosen] = self.mixing
        return made


def elimination(covariance: Floats, gram: Floats, count: float = np.inf) -> tuple[Indices, Floats]:
    """Return the variables, the last to be left out first, and the relative squared error at each number kept."""
    from scipy.linalg import eigh, inv, solve

    values, vectors = eigh(gram)
    weights = vectors * np.sqrt(np.maximum(values, 0))
    total = float(np.vdot(covariance, gram))
    inverse = inv(_damped(covariance))
    live = np.arange(len(covariance))
    order, added = [], []
    steps = max(_STEPS * min(1, _STEPS / len(live)) ** 2, 32)
    step = max(1, round(len(live) / steps))
    while len(live):
        loss = (weights**2).sum(axis=1) / inverse.diagonal()
        out = np.argsort(loss, kind="stable")[:step]
        part = inverse[np.ix_(out, out)]
        change = solve(part, weights[out], assume_a="pos")
        order += list(live[out])
        # Together they cost more than each alone; who of them how much is not known.
        added += [float((weights[out] * change).sum()) / len(out)] * len(out)
        rest = np.setdiff1d(np.arange(len(live)), out)
        across = inverse[np.ix_(rest, out)]
        weights = weights[rest] - across @ change
        inverse = inverse[np.ix_(rest, rest)] - across @ solve(part, across.T, assume_a="pos")
        live = live[rest]
    errors = np.cumsum([0.0, *added[:-1]])[::-1] / max(total, np.finfo(np.float64).tiny)
    # Cross-validated, as if each of so many rows was told by the others (Golub, Heath, Wahba, 1979).
    free = np.maximum(1 - np.arange(1, len(covariance) + 1) / count, 1 / len(covariance))
    errors = np.maximum.accumulate(np.minimum(errors / free**2, 1)[::-1])[::-1]
    errors[errors < _NOTHING] = 0
    return np.array(order[::-1]), errors


def compensated(mean: Floats, covariance: Floats, chosen: Indices, count: float = np.inf) -> Kept:
    """Return the fit of all variables by some: ridge regression, each damped by what it leaves unexplained."""
    # So the fit of a variable that depends on the kept ones is exact (Hoerl, Kennard, Baldwin, 1975). With a mean of
    # zeros and second moments as C it is one without a constant.
    from scipy.linalg import eigh

    chosen = np.sort(chosen)
    values, basis = eigh(_damped(covariance[np.ix_(chosen, chosen)]))
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


def alike(parts: Sequence[Array]) -> tuple[Indices, Floats]:
    """Return for each variable the first that is made by the same weights (..., m), and the squared norm of these."""
    rng, rows = np.random.default_rng(0), [part.reshape(-1, part.shape[-1]) for part in parts]
    # Equal columns have equal products; few others do.
    marks = sum(rng.standard_normal(len(row)).astype(row.dtype) @ row for row in rows)
    norms = sum(np.einsum("ij,ij->j", row, row, dtype=np.float64) for row in rows)
    first = np.arange(rows[0].shape[1])
    # Where sorted marks are more than rounding apart.
    values = np.sort(marks)
    steps_up = np.flatnonzero(np.diff(values) > 1e-5 * np.abs(values[1:]) + 1e-30) + 1
    for group in np.split(np.argsort(marks, kind="stable"), steps_up):
        for number in np.sort(group)[1:]:
            same = np.sort(group)[0]
            if all(np.array_equal(row[:, same], row[:, number]) for row in rows):
                first[number] = same
    return first, np.asarray(norms)


def by_norm(first: Indices, variance: Floats, energy: Floats) -> tuple[Indices, Floats]:
    """Return what `elimination` does of uncorrelated variables; of equal ones the first has the energy of all."""
    loss = np.where(first == np.arange(len(first)), variance * energy, 0.0)
    order = np.argsort(-loss, kind="stable")
    left = np.append(np.cumsum(loss[order][::-1])[::-1][1:], 0.0)
    errors = left / max(float(loss.sum()), np.finfo(np.float64).tiny)
    errors[errors < _NOTHING**2] = 0
    return order, errors


def merged(first: Indices, chosen: Indices) -> Kept:
    """Return some variables, and of the others those that equal a kept one."""
    chosen = np.sort(chosen)
    mixing = (first[chosen][:, None] == first).astype(np.float64)
    mixing[:, chosen] = np.eye(len(chosen))
    return Kept(chosen, mixing, np.zeros(len(first)))
