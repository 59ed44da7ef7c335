"""Means and covariances of a layer's inputs, or of what its kernel makes of them."""

from __future__ import annotations

import numpy as np

from lrcompress.errors import KernelError
from lrcompress.lowrank.matrix import Array, Floats

# Entries that are copied to float64 at a time: 32 MiB; rows that are projected at a time.
BLOCK = 2**22
BLOCK_ROWS = 1024
# Above so many features of a layer with fewer units.
WIDE = 2048
# Damping as a share of the mean variance: against rounding, and against few samples, where the
# covariance is singular and directions never seen would be given away for nothing.
ROUNDING_DAMPING = 1e-6
SAMPLING_DAMPING = 1e-2


class InputMoments:
    """Streaming moments of so many inputs, (m,): Chan, Golub & LeVeque, The American Statistician 37 (1983)."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.mean: Floats = np.zeros(size)
        self._scatter: Floats = np.zeros((size, size))

    def update(self, batch: Array) -> None:
        """Add inputs, (..., m): all axes but the last count as samples."""
        inputs = np.asarray(batch).reshape(-1, len(self.mean))
        step = max(1, BLOCK // max(len(self.mean), 1))
        for start in range(0, len(inputs), step):
            self._add(inputs[start : start + step].astype(np.float64))

    def _add(self, rows: Floats) -> None:
        mean, total = rows.mean(axis=0), self.count + len(rows)
        rows -= mean
        delta = mean - self.mean
        self._scatter += rows.T @ rows
        self._scatter += np.outer(delta, delta) * (self.count * len(rows) / total)
        self.mean = self.mean + delta * (len(rows) / total)
        self.count = total

    @property
    def covariance(self) -> Floats:
        """E[(x - mu)(x - mu)^T], (m, m)."""
        return self._scatter / max(self.count, 1)

    @property
    def second_moment(self) -> Floats:
        """E[x x^T], (m, m)."""
        return self.covariance + np.outer(self.mean, self.mean)


class ProjectedMoments:
    """Mean of inputs and covariance of their products with one kernel.

    All that `whitened` needs of the covariance Sigma of the inputs is ``A^T Sigma A``, (n, n): with
    ``L^T A = U S V^T`` its solution ``L^{-T} U_r S_r V_r^T`` is ``A V_r V_r^T``, and V is made of the
    eigenvectors of that matrix. For a layer with thousands of features and fewer units this spares
    the (m, m) covariance, which would take longer to gather than everything else together.
    """

    def __init__(self, kernel: Array, inputs: Array) -> None:
        m, n = kernel.shape
        x = inputs.reshape(-1, m)
        wide = kernel.astype(np.float64)
        self.outputs = InputMoments(n)
        total, squares = np.zeros(m), np.zeros(m)
        for start in range(0, len(x), BLOCK_ROWS):
            rows = x[start : start + BLOCK_ROWS].astype(np.float64)
            self.outputs.update(rows @ wide)
            total += rows.sum(axis=0)
            squares += np.einsum("ij,ij->j", rows, rows)
        self.count = len(x)
        self.mean = total / max(self.count, 1)
        # Mean square and mean variance of a feature.
        self.power = float(squares.mean()) / max(self.count, 1)
        self.variance = max(self.power - float(np.square(self.mean).mean()), 0.0)


Moments = InputMoments | ProjectedMoments


def gather_moments(kernel: Array, inputs: Array) -> Moments:
    """Return moments of inputs, (..., m), of the kind that is cheaper for their kernel, (m, n)."""
    m, n = kernel.shape
    if n < m and m > WIDE:
        return ProjectedMoments(kernel, inputs)
    moments = InputMoments(m)
    moments.update(inputs)
    return moments


def check_moments(kernel: Array, moments: Moments) -> None:
    """Refuse moments that are not those of a layer's inputs."""
    own = moments.outputs if isinstance(moments, ProjectedMoments) else moments
    outputs = kernel.shape[1] if own is moments else len(own.mean)
    if (len(moments.mean), outputs) != kernel.shape or moments.count == 0:
        got = f"{moments.count} with {len(moments.mean)}"
        msg = (
            f"expected moments of at least one input with {len(kernel)} features. Received: {got}."
        )
        raise KernelError(msg, code="moments")
    if not np.isfinite(np.trace(own.covariance)):
        msg = "the layer's inputs hold NaN or infinity; expected finite numbers: check the data and their scaling."
        raise KernelError(msg, code="activations_not_finite")


def input_root(moments: InputMoments, *, has_bias: bool) -> Floats:
    """Return L^T, (m, m), of the damped covariance, or second moment where no bias can follow."""
    varied = moments.covariance if has_bias else moments.second_moment
    m = len(varied)
    added = damping(float(np.trace(varied)) / m, m, moments.count)
    return np.asarray(np.linalg.cholesky(varied + added * np.eye(m)).T)


def solve_upper(root: Floats, right: Floats) -> Floats:
    """Return ``L^{-T} Y`` for an upper triangular L^T."""
    from scipy.linalg import solve_triangular

    return np.asarray(solve_triangular(root, right))


def damping(variance: float, features: int, count: int) -> float:
    """Return what is added to the variance of every feature, given their mean variance."""
    share = ROUNDING_DAMPING + SAMPLING_DAMPING * features / count
    # Inputs that never vary whiten to nothing: any damping serves, the bias does the rest.
    return share * variance if variance > 0 else 1.0
