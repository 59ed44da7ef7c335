"""Mean and covariance of a layer's inputs, gathered batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Entries that are copied to float64 at a time: 32 MiB.
BLOCK = 2**22


class InputMoments:
    """Streaming, mergeable moments: Chan, Golub & LeVeque, The American Statistician 37 (1983).

    Attributes:
        count: Number of inputs seen.
        mean: mu = E[x], (m,), float64.
    """

    def __init__(self, size: int) -> None:
        """Start empty, for inputs of `size` features."""
        self.count = 0
        self.mean: NDArray[np.float64] = np.zeros(size)
        self._scatter: NDArray[np.float64] = np.zeros((size, size))

    def update(self, batch: NDArray[Any]) -> None:
        """Add inputs, (..., m): all axes but the last count as samples."""
        inputs = np.asarray(batch).reshape(-1, len(self.mean))
        step = max(1, BLOCK // max(len(self.mean), 1))
        for start in range(0, len(inputs), step):
            self._add(inputs[start : start + step].astype(np.float64))

    def _add(self, rows: NDArray[np.float64]) -> None:
        other = InputMoments(len(self.mean))
        other.count = len(rows)
        other.mean = rows.mean(axis=0)
        rows -= other.mean
        other._scatter = rows.T @ rows
        self.merge(other)

    def merge(self, other: InputMoments) -> None:
        """Add what another gathered, as if this one had seen it."""
        total = self.count + other.count
        if not total:
            return
        delta = other.mean - self.mean
        self._scatter += other._scatter
        self._scatter += np.outer(delta, delta) * (self.count * other.count / total)
        self.mean = self.mean + delta * (other.count / total)
        self.count = total

    @property
    def covariance(self) -> NDArray[np.float64]:
        """E[(x - mu)(x - mu)^T], (m, m)."""
        return self._scatter / max(self.count, 1)

    @property
    def second_moment(self) -> NDArray[np.float64]:
        """E[x x^T], (m, m)."""
        return self.covariance + np.outer(self.mean, self.mean)
