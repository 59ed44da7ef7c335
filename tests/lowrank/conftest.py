"""Matrices with stated properties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

MatrixWithSpectrum = Callable[..., NDArray[Any]]


@pytest.fixture(scope="session")
def matrix_with_spectrum() -> MatrixWithSpectrum:
    """Return a function that makes an (m, n) matrix with stated singular values."""

    def make(m: int, n: int, sigma: Any, seed: int = 0, dtype: str = "float64") -> NDArray[Any]:
        rng = np.random.default_rng(seed)
        k = min(m, n)
        full = np.zeros(k)
        full[: len(sigma)] = sigma
        u = np.linalg.qr(rng.standard_normal((m, k)))[0]
        v = np.linalg.qr(rng.standard_normal((n, k)))[0]
        return np.asarray((u * full) @ v.T).astype(dtype)

    return make
