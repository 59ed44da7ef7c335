"""The result of a factorization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.certificate import Certificate


@dataclass(frozen=True, eq=False)
class Factors:
    """``A ~ B C``, Keras orientation: a layer computes ``x A + b``, two layers ``(x B) C + b``.

    Attributes:
        B: (m, r), in the dtype of A.
        C: (r, n), in the dtype of A.
        bias: New bias, (n,), in the dtype of the old one; None keeps the layer's own.
        singular_values: Of the matrix that was truncated, those known, descending; float64.
            After refinement, which truncates none, of the kernel.
        method: One of the methods.
        measured: The measured error of B C against A, or what measures it once it is asked for.
        spectrum_of: The matrix that has the singular values.
    """

    B: NDArray[Any] = field(repr=False)
    C: NDArray[Any] = field(repr=False)
    bias: NDArray[Any] | None = field(repr=False)
    singular_values: NDArray[np.float64] = field(repr=False)
    method: str
    measured: Certificate | Callable[[], Certificate] = field(repr=False)
    spectrum_of: str = field(default="kernel", repr=False)

    @property
    def certificate(self) -> Certificate:
        """The measured error of B C against A: of a large kernel it takes longer than the factors."""
        found = self.measured
        if not isinstance(found, Certificate):
            found = found()
            # What measured it held the kernel.
            object.__setattr__(self, "measured", found)
        return found

    @property
    def rank(self) -> int:
        """Columns of B."""
        return int(self.B.shape[1])

    def product(self) -> NDArray[np.float64]:
        """Return ``B C``, (m, n), float64."""
        return self.B.astype(np.float64) @ self.C.astype(np.float64)


def rebalance(first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scale each column of B and row of C to equal norms; their product stays."""
    left, right = np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=1)
    alive = (left > 0) & (right > 0)
    ratio = np.ones_like(left)
    ratio[alive] = np.sqrt(right[alive] / left[alive])
    return first * ratio, second / ratio[:, None].astype(second.dtype)
