"""A spectrum in a few hundred numbers, as the run record holds it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.lowrank import METHODS, outline, truncated_svd
from tests.lowrank.layers import solve


def kernel_of(m: int, n: int) -> NDArray[Any]:
    """Return a kernel whose singular values fall like 1 / i."""
    rng = np.random.default_rng(3)
    u, _ = np.linalg.qr(rng.standard_normal((m, min(m, n))))
    v, _ = np.linalg.qr(rng.standard_normal((n, min(m, n))))
    return np.asarray((u / np.arange(1, min(m, n) + 1)) @ v.T, np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_small_spectra_are_whole(method: str) -> None:
    """Each method tells all values of the matrix that it cut, and what each rank keeps of it."""
    kernel = kernel_of(24, 10)
    inputs = np.random.default_rng(1).standard_normal((300, 24)).astype(np.float32)
    mean_free = kernel - kernel.mean(axis=1, keepdims=True)
    expected = {
        "svd": ("kernel", kernel), "centered": ("mean-free kernel", mean_free),
        "whitened": ("whitened kernel", None), "refined": ("kernel", kernel),
        "weighted": ("weighted whitened kernel", None),
    }  # fmt: skip
    of, matrix = expected[method]

    bias = -2 * np.log(np.arange(1, 11, dtype=np.float32))
    factors = solve(kernel, bias, 3, method, inputs=inputs)
    found = outline(factors)

    # Where inputs are few the method without data may be nearer, and is returned.
    assert factors.method == method
    assert found.of == of
    assert found.ranks == list(range(1, 11))
    assert found.energy[-1] == 1.0
    if matrix is not None:
        sigma = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
        np.testing.assert_allclose(found.values, sigma, rtol=1e-5, atol=1e-6)
        kept = np.cumsum(sigma**2) / np.sum(sigma**2)
        np.testing.assert_allclose(found.energy, kept, rtol=1e-6)


def test_long_spectra_are_thinned() -> None:
    """Of many values a few hundred stay: the first ones, the last, and those beside the rank."""
    kernel = kernel_of(200, 150)
    sigma = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)

    found = outline(truncated_svd(kernel, 101), most=64)

    assert len(found.ranks) <= 66
    assert found.ranks[:32] == list(range(1, 33))
    assert {101, 102, 150} <= set(found.ranks)
    assert found.ranks == sorted(set(found.ranks))
    at = np.asarray(found.ranks) - 1
    np.testing.assert_allclose(found.values, sigma[at], rtol=1e-4)
    np.testing.assert_allclose(
        found.energy, (np.cumsum(sigma**2) / np.sum(sigma**2))[at], rtol=1e-6
    )


def test_what_lies_beyond_the_known_values_counts() -> None:
    """Where only leading values are known, the energy is a share of all."""
    kernel = kernel_of(60, 40)
    sigma = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)

    factors = truncated_svd(kernel, 3)
    found = outline(replace(factors, singular_values=factors.singular_values[:5]))

    assert found.ranks == [1, 2, 3, 4, 5]
    exact = (np.cumsum(sigma**2) / np.sum(sigma**2))[np.asarray(found.ranks) - 1]
    np.testing.assert_allclose(found.energy, exact, rtol=1e-6)


def test_zeros_are_kept_whole() -> None:
    """A kernel of zeros has values of zero, and any rank keeps all of it."""
    found = outline(truncated_svd(np.zeros((6, 4), np.float32), 2))

    assert found.values == [0.0] * 4
    assert found.energy == [1.0] * 4
