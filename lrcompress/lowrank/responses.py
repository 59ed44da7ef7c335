"""What a kernel makes of its inputs, and the affine map of low rank that keeps most of it.

Of all affine maps of rank r the one whose responses are nearest to ``x A + b``, in the mean square,
projects the responses on the leading eigenvectors V of their covariance ``A^T Sigma A`` (Zhang et
al., TPAMI 38, 2016): factors ``A V`` and ``V^T``, the bias takes ``mu^T (A - A V V^T)``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.matrix import Array, Floats

# Above so many features the covariance is not kept, only that of the responses, and a few rows by which
# other kernels are judged: so many, and so many at most of each batch.
WIDE = 6144
_KEPT, _KEPT_EACH = 512, 64
# Rows that are multiplied in single precision before they are added up in double.
_CHUNK = 8192
# As a share of the mean variance: against rounding, and against few rows, where directions never
# seen would be given away for nothing.
_DAMPING, _SAMPLING = 1e-6, 1e-2
# Of the metric of responses.
_INDIFFERENCE = 0.1


class RowMoments:
    """Mean and covariance of the rows that one kernel (m, n) is applied to, gathered in any number of calls."""

    # R (n, n), lower triangular: an error e of the responses counts as ``|e R|^2``, where the outputs care more for
    # some of them than for others; None where all count alike.
    metric: Floats | None = None
    # The same of what the layer gave, where that is of use.
    outputs: RowMoments | None = None

    def __init__(self, kernel: Array, *, whole: bool = False) -> None:
        """Start empty; `kernel` is only needed where m is large, and the covariance not kept `whole` for all that."""
        m, n = kernel.shape
        self.count = 0
        self._kernel = kernel.astype(np.float32) if m > WIDE and not whole else None
        self._origin: NDArray[np.float32] | None = None
        self._sum: Floats = np.zeros(m)
        size = m if self._kernel is None else n
        self._scatter: Floats = np.zeros((size, size))
        self._kept = np.empty((0, m), np.float32)

    def update(self, rows: Array) -> None:
        """Add rows, (k, m)."""
        rows = np.asarray(rows, np.float32)
        if not len(rows):
            return
        if self._origin is None:
            # Near the mean, so that single precision suffices for the products.
            self._origin = rows[:_CHUNK].mean(axis=0)
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK] - self._origin
            self._sum += part.sum(axis=0, dtype=np.float64)
            part = part if self._kernel is None else part @ self._kernel
            self._scatter += part.T @ part
        self.count += len(rows)
        if self._kernel is not None and len(self._kept) < _KEPT:
            some = rows[:: -(-len(rows) // _KEPT_EACH)]
            self._kept = np.concatenate([self._kept, some])[:_KEPT]

    @property
    def mean(self) -> Floats:
        """E[x], (m,)."""
        if self._origin is None:
            return self._sum
        return self._origin + self._sum / self.count

    @property
    def is_whole(self) -> bool:
        """Whether the covariance of the rows is kept, not only that of their responses."""
        return self._kernel is None

    @property
    def covariance(self) -> Floats:
        """E[(x - mu)(x - mu)^T], (m, m), damped; only where `is_whole`."""
        return self._damped(self.undamped)

    @property
    def some(self) -> NDArray[np.float32]:
        """Some rows about the mean, (k, m); only where not `is_whole`."""
        return self._kept - self.mean.astype(np.float32)

    @property
    def undamped(self) -> Floats:
        """The covariance of the rows, or of their responses, as it was seen."""
        count = max(self.count, 1)
        shift = self._sum / count
        if self._kernel is not None:
            shift = shift @ self._kernel
        return self._scatter / count - np.outer(shift, shift)

    def responses(self, kernel: Array) -> Floats:
        """``A^T Sigma A``, (n, n), damped; of the kernel it was made with where m is large."""
        if self._kernel is None:
            wide = kernel.astype(np.float64)
            return np.asarray(wide.T @ self.covariance @ wide)
        return self._damped(self.undamped)

    def part(self, rows: NDArray[np.intp], columns: slice) -> RowMoments:
        """Return the moments of some features; where m is large, of some responses instead."""
        found = copy.copy(self)
        chosen = rows if self._kernel is None else np.arange(self._scatter.shape[0])[columns]
        found._scatter = self._scatter[np.ix_(chosen, chosen)]
        found._sum = self._sum[rows]
        found._origin = None if self._origin is None else self._origin[rows]
        found._kernel = None if self._kernel is None else self._kernel[rows, columns]
        found._kept = self._kept[:, rows]
        return found

    def about_zero(self) -> RowMoments:
        """Return the moments about 0: what counts where nothing can take a constant."""
        found = copy.copy(self)
        mean = self.mean if self._kernel is None else self.mean @ self._kernel
        found._scatter = self.count * (self.undamped + np.outer(mean, mean))
        found._sum, found._origin = np.zeros_like(self._sum), None
        return found

    def _damped(self, covariance: Floats) -> Floats:
        size, m = len(covariance), len(self._sum)
        damping = (_DAMPING + _SAMPLING * m / max(self.count, 1)) * np.trace(covariance) / size
        covariance[np.diag_indices(size)] += max(damping, np.finfo(np.float64).tiny)
        return covariance


def response_basis(kernel: Array, seen: RowMoments | None) -> tuple[Floats, Floats]:
    """Return the energy (k,) and the directions V (n, k) of a kernel's min(m, n) responses, the largest first."""
    # Without rows they are the squared singular values and right singular vectors.
    from scipy.linalg import cholesky, eigh, qr

    m, n = kernel.shape
    wide = kernel.astype(np.float64)
    if m < n and (seen is None or seen.is_whole):
        # Through the (m, m) matrix, which has the same nonzero eigenvalues.
        half = wide if seen is None else cholesky(seen.covariance) @ wide
        values, left = eigh(half @ half.T)
        order = np.argsort(values)[::-1]
        values, left = np.maximum(values[order], 0), left[:, order]
        basis, _ = qr(half.T @ left, mode="economic")
        return values, basis
    gram = wide.T @ wide if seen is None else seen.responses(kernel)
    values, basis = eigh(gram)
    order = np.argsort(values)[::-1][: min(m, n)]
    return np.maximum(values[order], 0), basis[:, order]


def metric_of(moments: Floats) -> Floats:
    """Return R with ``R R^T`` the second moments (n, n) of gradients, damped: what seems not to matter still may."""
    from scipy.linalg import cholesky

    size = len(moments)
    damped = moments + _INDIFFERENCE * np.trace(moments) / size * np.eye(size)
    scale = np.trace(damped) / size
    return np.asarray(cholesky(damped / scale, lower=True))


def takes_metric(seen: object) -> bool:
    """Return whether what was gathered of a layer has a place for the metric of its responses."""
    return hasattr(seen, "metric") and getattr(seen, "is_whole", True)


def errors_by_size(values: Floats) -> Floats:
    """Return the share of energy that is lost at each size from 1 on, (k,)."""
    total = values.sum()
    return np.maximum(1 - np.cumsum(values) / total, 0) if total > 0 else np.zeros(len(values))


def relative_error_of(kernel: Array, seen: RowMoments | None) -> Callable[[Array], float]:
    """Return what tells the squared error of another kernel's responses relative to those of a kernel."""
    covariance = seen.covariance if seen is not None and seen.is_whole else None
    some = None if seen is None or seen.is_whole or not seen.count else seen.some
    metric = None if seen is None or covariance is None else seen.metric

    def energy(change: Floats) -> float:
        if some is not None:
            return float(np.square(some @ change.astype(np.float32), dtype=np.float64).sum())
        weighed = change if metric is None else change @ metric
        return float(np.vdot(weighed, weighed if covariance is None else covariance @ weighed))

    whole = max(energy(kernel.astype(np.float64)), 1e-300)
    return lambda other: energy(other.astype(np.float64) - kernel) / whole


class Correction:
    """Kernels that give some responses from other rows than the original's, near one that did from those.

    Ridge regression of ``y - x' A`` on ``x'``, both centred and damped as `RowMoments` are. Where A has
    blocks (a convolution in groups) each is corrected for itself.
    """

    def __init__(
        self, kernel: Array, rows: Sequence[Array], seen: RowMoments | None = None
    ) -> None:
        """Of a kernel A (m, n) and rows x', (k, m) in all; `seen` are their moments, where they are known."""
        self._kernel, self.rows = kernel, rows
        count, m = sum(map(len, rows)), len(kernel)
        if seen is None or not seen.is_whole:
            seen = RowMoments(kernel, whole=count >= m)
            for some in rows:
                seen.update(some)
        self._mean, self._count = seen.mean, count
        if count >= m:
            self._solve = partial(_solved, seen.covariance)
        else:
            self._solve = partial(_solved_by_rows, np.concatenate(rows) - self._mean)

    def __call__(self, responses: Array) -> tuple[Floats, Floats]:
        """Return the kernel (m, n) for responses y, (k, n), without the bias, and the constant (n,) beside it."""
        mean = responses.mean(axis=0, dtype=np.float64)
        rest = responses - self.given(self._kernel, mean)
        rest -= rest.mean(axis=0)
        found = self._kernel.astype(np.float64)
        for inner, outer in _blocks(self._kernel):
            found[np.ix_(inner, outer)] += self._solve(inner, self.rows, rest[:, outer])
        return found, mean - self._mean @ found

    def given(self, kernel: Array, mean: Array) -> NDArray[np.float32]:
        """Return the responses of another kernel, (k, n), moved to a mean (n,)."""
        narrow = kernel.astype(np.float32)
        found = np.concatenate([rows @ narrow for rows in self.rows])
        found += (mean - self._mean @ kernel).astype(np.float32)
        return found


def _solved(covariance: Floats, inner: NDArray[np.intp], rows: Sequence[Array], y: Array) -> Floats:
    """Return the regression of centred y (k, n) on some features of rows, through their covariance."""
    from scipy.linalg import solve

    cross, start = np.zeros((len(inner), y.shape[1])), 0
    every = len(inner) == len(covariance)
    for some in rows:
        cross += (some if every else some[:, inner]).T @ y[start : start + len(some)]
        start += len(some)
    own = covariance if every else covariance[np.ix_(inner, inner)]
    return np.asarray(solve(own, cross / len(y), assume_a="pos"))


def _solved_by_rows(x: Array, inner: NDArray[np.intp], _: Sequence[Array], y: Array) -> Floats:
    """Return the same through the (k, k) matrix of centred rows x, which are fewer than their features."""
    from scipy.linalg import solve

    gram = x[:, inner] @ x[:, inner].T
    count, m = x.shape
    gram[np.diag_indices(count)] += (
        (_DAMPING + _SAMPLING * m / count) * max(np.vdot(x, x), 1e-300) / m
    )
    return np.asarray(x[:, inner].T @ solve(gram, y, assume_a="pos"))


def _blocks(kernel: Array) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return rows and columns of each block of a matrix with zeros outside its blocks; all where it has none."""
    m, n = kernel.shape
    whole = [(np.arange(m), np.arange(n))]
    filled = kernel != 0
    if 2 * np.count_nonzero(filled) > filled.size:
        return whole
    supports, member = np.unique(filled.T, axis=0, return_inverse=True)
    if (supports.sum(axis=0) > 1).any():
        return whole
    pairs = ((support, np.flatnonzero(member.ravel() == i)) for i, support in enumerate(supports))
    return [(np.flatnonzero(support), columns) for support, columns in pairs if support.any()]
