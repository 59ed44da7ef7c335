"""Inputs brought to mean 0 and covariance 1, where descent takes half the steps.

A head ``x B C + b'`` is the same head ``y B' C + b''`` on ``y = (x - mu) L^{-T}``, with
``B' = L^T B`` and ``b'' = b' + mu^T B C``; Sigma = L L^T is the damped covariance of `whitening`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.moments import InputMoments
from lrcompress.lowrank.objectives import BLOCK_ROWS
from lrcompress.lowrank.whitening import damped_root

# B (m, r), C (r, n) and the bias (n,).
Head = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


class Coordinates:
    """The change of coordinates for inputs with given moments."""

    def __init__(self, moments: InputMoments, *, has_bias: bool) -> None:
        """Take the moments; without a bias to make up for it, the mean stays where it is."""
        self.mean = moments.mean if has_bias else np.zeros_like(moments.mean)
        covariance = moments.covariance if has_bias else moments.second_moment
        self.root = damped_root(covariance, moments.count)

    def inputs(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return inputs (k, m) in these coordinates."""
        unit = np.eye(len(self.root))
        inverse = self._solve(unit).astype(np.float32)
        shift = (self.mean @ inverse).astype(np.float32)
        moved = np.empty(x.shape, np.float32)
        for start in range(0, len(x), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            np.matmul(x[part], inverse, out=moved[part])
            moved[part] -= shift
        return moved

    def enter(self, head: Head) -> Head:
        """Return a head on x as the same head on y, float64."""
        first, second, bias = (part.astype(np.float64) for part in head)
        return self.root @ first, second, bias + (self.mean @ first) @ second

    def leave(self, head: Head) -> Head:
        """Return a head on y as the same head on x, float64."""
        first, second, bias = (part.astype(np.float64) for part in head)
        first = self._solve(first)
        return first, second, bias - (self.mean @ first) @ second

    def _solve(self, right: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.linalg import solve_triangular

        return np.asarray(solve_triangular(self.root, right))
