"""Moments of what a kernel makes of inputs with many features.

All that `whitened` needs of the covariance Sigma of the inputs is ``A^T Sigma A``, (n, n): with
``L^T A = U S V^T`` its solution ``L^{-T} U_r S_r V_r^T`` is ``A V_r V_r^T``, and V is made of the
eigenvectors of that matrix. For a layer with thousands of features and fewer units this spares the
(m, m) covariance, which would take longer to gather than everything else together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.moments import InputMoments

# Above so many features of a layer with fewer units.
WIDE = 2048
BLOCK_ROWS = 1024


class ProjectedMoments:
    """Mean of inputs and covariance of their products with one kernel.

    Attributes:
        count: Number of inputs seen.
        mean: mu = E[x], (m,), float64.
        variance: Mean variance of a feature.
        power: Mean square of a feature.
    """

    def __init__(self, kernel: NDArray[Any], activations: NDArray[Any]) -> None:
        """Gather them.

        Args:
            kernel: A, (m, n).
            activations: Inputs, (..., m): all axes but the last count as samples.
        """
        m, n = kernel.shape
        x = activations.reshape(-1, m)
        wide = kernel.astype(np.float64)
        outputs = InputMoments(n)
        total, squares = np.zeros(m), np.zeros(m)
        for start in range(0, len(x), BLOCK_ROWS):
            rows = x[start : start + BLOCK_ROWS].astype(np.float64)
            outputs.update(rows @ wide)
            total += rows.sum(axis=0)
            squares += np.einsum("ij,ij->j", rows, rows)
        self.count = len(x)
        self.mean = total / max(self.count, 1)
        self.power = float(squares.mean()) / max(self.count, 1)
        self.variance = max(self.power - float(np.square(self.mean).mean()), 0.0)
        self._outputs = outputs

    def covers(self, kernel_shape: tuple[int, int]) -> bool:
        """Return whether these are moments of a layer with such a kernel."""
        return kernel_shape == (len(self.mean), len(self._outputs.mean))

    @property
    def covariance(self) -> NDArray[np.float64]:
        """A^T Sigma A, (n, n)."""
        return self._outputs.covariance

    @property
    def second_moment(self) -> NDArray[np.float64]:
        """A^T E[x x^T] A, (n, n)."""
        return self._outputs.second_moment


def gather_moments(
    kernel: NDArray[Any], activations: NDArray[Any]
) -> InputMoments | ProjectedMoments:
    """Return moments of a layer's inputs, (..., m), of the kind that is cheaper for its kernel (m, n)."""
    m, n = kernel.shape
    if n < m and m > WIDE:
        return ProjectedMoments(kernel, activations)
    moments = InputMoments(m)
    moments.update(activations)
    return moments
