"""Matrices with stated properties."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

MatrixWithSpectrum = Callable[..., NDArray[Any]]


@lru_cache(maxsize=8)
def directions(m: int, n: int, seed: int) -> list[NDArray[np.float64]]:
    """Return random orthonormal columns of lengths m and n, as many as the shorter is long."""
    rng = np.random.default_rng(seed)
    return [np.linalg.qr(rng.standard_normal((size, min(m, n))))[0] for size in (m, n)]


@pytest.fixture(scope="session")
def matrix_with_spectrum() -> MatrixWithSpectrum:
    """Return a function that makes an (m, n) matrix with stated singular values."""

    def make(m: int, n: int, sigma: Any, seed: int = 0, dtype: str = "float64") -> NDArray[Any]:
        u, v = directions(m, n, seed)
        full = np.zeros(min(m, n))
        full[: len(sigma)] = sigma
        return np.asarray((u * full) @ v.T).astype(dtype)

    return make
