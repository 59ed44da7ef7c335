"""A first factor that is the same at several slots of the input: the columns of a window, or each of its pixels.

The rows of A (slots, inner, n) are the inputs of several slots one after the other. ``x_s B`` (inner, r)
is computed at each slot, and C (slots, r, n) adds up what the slots give. Without data the nearest such
product is the truncated SVD of A seen as (inner, slots * n) (Jaderberg et al., 2014); with the covariance
of the rows that is the start, whitened by the mean covariance of a slot, and C and B are fitted in turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrcompress.lowrank.gram import gram_matrix
from lrcompress.lowrank.matrix import Array, Floats, panels
from lrcompress.lowrank.svd import truncated_svd

# Conjugate gradients for the first factor (preconditioned, they converge in two), and how often each is fitted:
# where sizes are compared, and where one is asked for alone, which is kept.
_STEPS, _ROUNDS, _KEPT_ROUNDS = 2, 2, 8


def shared_energy(kernel: Array, covariance: Floats | None) -> Floats:
    """Return the energy of each rank of the start for A (slots, inner, n), the largest first."""
    slots, inner, n = kernel.shape
    if covariance is not None or inner > slots * n:
        return _Start(kernel, covariance).values
    from scipy.linalg import eigvalsh

    return np.asarray(np.maximum(eigvalsh(slot_gram(kernel))[::-1], 0))


def slot_gram(kernel: Array) -> Floats:
    """Return the Gram matrix (inner, inner) of a kernel seen as (inner, slots * n), without a copy of it."""
    gram = np.zeros((kernel.shape[1],) * 2)
    for part in kernel:
        wide = part.astype(np.float64)
        gram += wide @ wide.T
    return gram


def rounds_for(sizes: Sequence[int]) -> int:
    """Return how often the factors of some sizes of a form are fitted in turn."""
    return _ROUNDS if len(sizes) > 1 else _KEPT_ROUNDS


def shared_factors(
    kernel: Array, covariance: Floats | None, sizes: Sequence[int], rounds: int = _ROUNDS
) -> dict[int, tuple[Floats, Floats]]:
    """Return B (inner, r) with orthonormal columns and C (slots, r, n) at some ranks, fitted in some rounds."""
    start = _Start(kernel, covariance)
    fit = None if covariance is None else _Fit(kernel, covariance)
    found = {}
    for size in sizes:
        first, second = _orthonormal(start.first(size), start.second(size))
        if fit is not None and size < len(start.values):
            second = fit.second(first)
            for _ in range(rounds):
                first, _ = _orthonormal(fit.first(first, second), second)
                second = fit.second(first)
        found[size] = first, second
    return found


class _Start:
    """The SVD of A as (inner, slots * n), whitened by the mean covariance of a slot."""

    def __init__(self, kernel: Array, covariance: Floats | None) -> None:
        from scipy.linalg import cholesky, eigh

        slots, inner, n = kernel.shape
        self._slots = slots
        self._wide: Floats = kernel.transpose(1, 0, 2).reshape(inner, slots * n).astype(np.float64)
        self._lower: Floats | None = None
        white = self._wide
        if covariance is not None:
            self._lower = cholesky(_slot_mean(covariance, slots), lower=True)
            white = self._lower.T @ self._wide
        self._tall = inner > slots * n
        self._white = white
        values, basis = eigh(white.T @ white if self._tall else white @ white.T)
        self.values: Floats = np.maximum(values[::-1], 0)
        self._basis: Floats = basis[:, ::-1]

    def first(self, size: int) -> Floats:
        """Return B, (inner, r)."""
        from scipy.linalg import solve_triangular

        basis = self._basis[:, :size]
        if self._tall:
            return self._wide @ basis
        if self._lower is None:
            return basis
        return np.asarray(solve_triangular(self._lower, basis, lower=True, trans="T"))

    def second(self, size: int) -> Floats:
        """Return C, (slots, r, n)."""
        basis = self._basis[:, :size]
        flat = basis.T if self._tall else basis.T @ self._white
        return flat.reshape(size, self._slots, -1).transpose(1, 0, 2)


class _Fit:
    """Least squares in the metric of the covariance, for one factor while the other stays."""

    def __init__(self, kernel: Array, covariance: Floats) -> None:
        from scipy.linalg import cho_factor

        self._slots, self._inner, self._n = kernel.shape
        self._covariance = covariance
        self._mean = cho_factor(_slot_mean(covariance, self._slots))
        self._cross = (covariance @ kernel.reshape(-1, self._n)).reshape(kernel.shape)

    def second(self, first: Floats) -> Floats:
        """Return the best C beside B."""
        from scipy.linalg import solve

        slots, (inner, size) = self._slots, first.shape
        half = (self._covariance.reshape(-1, inner) @ first).reshape(slots, inner, slots * size)
        gram = (first.T @ half).reshape(slots * size, slots * size)
        cross = (first.T @ self._cross).reshape(slots * size, self._n)
        found = solve(gram, cross, assume_a="pos")
        return np.asarray(found).reshape(slots, size, self._n)

    def first(self, first: Floats, second: Floats) -> Floats:
        """Return a better B beside C: preconditioned conjugate gradients from the one given."""
        from scipy.linalg import cho_factor, cho_solve

        size = first.shape[1]
        flat = second.reshape(-1, self._n)
        # C_s C_t^T: how the slots weigh together, (slots, slots * r, r).
        weights = (flat @ flat.T).reshape(self._slots, size, -1).transpose(0, 2, 1)
        metric = np.einsum("srsq->rq", (flat @ flat.T).reshape(self._slots, size, -1, size))
        metric[np.diag_indices(size)] += 1e-9 * np.trace(metric) / size + 1e-300
        metric = cho_factor(metric)

        def conditioned(rest: Floats) -> Floats:
            found = cho_solve(self._mean, rest)
            return np.asarray(cho_solve(metric, found.T)).T

        def applied(step: Floats) -> Floats:
            half = (self._covariance.reshape(-1, self._inner) @ step).reshape(
                self._slots, self._inner, -1
            )
            return np.asarray((half @ weights).sum(axis=0))

        rest = (self._cross @ second.transpose(0, 2, 1)).sum(axis=0) - applied(first)
        step = conditioned(rest)
        energy = float((rest * step).sum())
        for _ in range(_STEPS):
            ahead = applied(step)
            curvature = float((step * ahead).sum())
            if not curvature > 0 or not energy > 0:
                break
            first = first + (energy / curvature) * step
            rest = rest - (energy / curvature) * ahead
            towards = conditioned(rest)
            energy, before = float((rest * towards).sum()), energy
            step = towards + (energy / before) * step
        return first


def _slot_mean(covariance: Floats, slots: int) -> Floats:
    """Return the mean of the covariances of single slots, (inner, inner)."""
    inner = len(covariance) // slots
    blocks = covariance.reshape(slots, inner, slots, inner)
    return np.asarray(np.einsum("sisj->ij", blocks) / slots)


def _orthonormal(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Return the same product with orthonormal columns in B, so that neither factor leaves its type's range."""
    from scipy.linalg import qr

    basis, upper = qr(first, mode="economic")
    return basis, upper @ second


def large_tucker(kernel: Array, slots: int, inputs: int, size: int) -> tuple[Array, Array, Array]:
    """Return B (inner, inputs), the core (slots, inputs, size) and C (size, n) near A, of which no copy is made."""
    from scipy.linalg import eigh

    # The responses are those of the truncated SVD, their inputs those of the SVD of what that keeps.
    found = truncated_svd(kernel, size)
    # B C is A V V^T with the rows of V^T in proportion to those of C: this is A V.
    kept = found.B
    kept *= np.sqrt(np.square(found.C, dtype=np.float64).sum(axis=1)).astype(kept.dtype)
    kept = kept.reshape(slots, -1, size)
    del found
    _, basis = eigh(slot_gram(kept))
    first = np.ascontiguousarray(basis[:, ::-1][:, :inputs], kept.dtype)
    core = first.T @ kept
    del kept
    made = (first @ core).reshape(-1, size)
    gram, _ = gram_matrix(made, np.float64, 0)
    cross = np.zeros((size, kernel.shape[1]))
    for where, panel in panels(kernel, np.float64):
        if kernel.shape[0] >= kernel.shape[1]:
            cross += made[where].T @ panel
        else:
            cross[:, where] = made.T @ panel.T
    last = np.linalg.lstsq(gram, cross, rcond=1e-12)[0]
    return first, core, last.astype(kernel.dtype)
