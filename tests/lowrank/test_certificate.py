"""The certificate tells the truth: against NumPy, at any scale, and where a Gram matrix rounds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.lowrank import centered, energy, singular_values, truncated_svd
from lrcompress.lowrank import certificate as measure
from lrcompress.lowrank import svd as engine

Make = Callable[..., NDArray[Any]]


def true_errors(kernel: NDArray[Any], product: NDArray[Any]) -> tuple[float, float]:
    """Return the relative errors in the Frobenius and the spectral norm, by NumPy's SVD."""
    wide = kernel.astype(np.float64)
    residual = np.linalg.svd(wide - product, compute_uv=False)
    sigma = np.linalg.svd(wide, compute_uv=False)
    return float(np.linalg.norm(residual) / np.linalg.norm(sigma)), float(residual[0] / sigma[0])


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((50, 20), "float16"), ((50, 20), "float32"), ((50, 20), "float64"),
        ((20, 50), "float32"), ((700, 600), "float16"), ((1300, 1100), "float32"),
    ],
)  # fmt: skip
def test_errors_are_numpys(shape: tuple[int, int], dtype: str) -> None:
    """Both errors agree with NumPy to ten digits where the residual's spectrum is flat."""
    kernel = np.random.default_rng(0).standard_normal(shape).astype(dtype)

    factors = truncated_svd(kernel, 7)

    frobenius, spectral = true_errors(kernel, factors.product())
    assert factors.certificate.frobenius_error == pytest.approx(frobenius, rel=1e-10)
    assert factors.certificate.spectral_error == pytest.approx(spectral, rel=1e-10)


@pytest.mark.parametrize("shape", [(200, 30), (30, 200)])
def test_largest_kernels_keep_six_digits(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the residual's Gram matrix is formed in float32, the spectral error has six digits."""
    monkeypatch.setattr(measure, "EXACT_WORK", 0)
    kernel = np.random.default_rng(0).standard_normal(shape)

    factors = truncated_svd(kernel, 7)

    frobenius, spectral = true_errors(kernel, factors.product())
    assert factors.certificate.frobenius_error == pytest.approx(frobenius, rel=1e-10)
    assert factors.certificate.spectral_error == pytest.approx(spectral, rel=1e-6)


@pytest.mark.parametrize("tail", [1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("large", [0, 2**40])
def test_optimum_survives_cancellation(
    matrix_with_spectrum: Make, monkeypatch: pytest.MonkeyPatch, tail: float, large: int
) -> None:
    """A tail that vanishes in the Gram matrix beside the rest is not certified out of it."""
    monkeypatch.setattr(engine, "SMALL_ENTRIES", 0)
    monkeypatch.setattr(engine, "LARGE_ENTRIES", large)
    sigma = np.r_[np.linspace(2, 1, 10), np.full(50, tail)]
    kernel = matrix_with_spectrum(300, 60, sigma)

    factors = truncated_svd(kernel, 10)

    best = np.sqrt(np.square(sigma[10:]).sum() / np.square(sigma).sum())
    found = factors.certificate
    assert found.optimum_frobenius_error == pytest.approx(best, rel=2e-3)
    assert found.frobenius_error == pytest.approx(best, rel=1e-6)
    assert found.frobenius_error >= found.optimum_frobenius_error
    reference, largest = engine.optimum(kernel, 10)
    assert reference == pytest.approx(best, rel=2e-3)
    assert largest == pytest.approx(2, rel=1e-6)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [("float64", 1e-170), ("float64", 1e170), ("float32", 1e-25), ("float32", 1e25)],
)
@pytest.mark.parametrize("small", [0, 2**20])
def test_scale_changes_nothing(
    matrix_with_spectrum: Make,
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    scale: float,
    small: int,
) -> None:
    """Kernels whose squares over- or underflow get the factors and the errors of ordinary ones."""
    monkeypatch.setattr(engine, "SMALL_ENTRIES", small)
    monkeypatch.setattr(engine, "LARGE_ENTRIES", 0)
    sigma = np.array([3, 2, 1, 0.5])
    kernel = (matrix_with_spectrum(20, 4, sigma) * scale).astype(dtype)

    factors = truncated_svd(kernel, 2)

    found = factors.certificate
    assert found.frobenius_error == pytest.approx(np.sqrt(1.25 / 14.25), rel=1e-5)
    assert found.spectral_error == pytest.approx(1 / 3, rel=1e-5)
    np.testing.assert_allclose(factors.singular_values[:2] / scale, sigma[:2], rtol=1e-5)
    np.testing.assert_allclose(singular_values(kernel) / scale, sigma, rtol=1e-5)
    np.testing.assert_allclose(
        energy(factors.singular_values)[:2], np.cumsum(sigma**2)[:2] / np.square(
            sigma[: len(factors.singular_values)]
        ).sum(), rtol=1e-5,
    )  # fmt: skip


def test_centred_certifies_what_it_truncated(matrix_with_spectrum: Make) -> None:
    """Above the optimum against A, the centred head is at it against the mean-free kernel."""
    kernel = matrix_with_spectrum(30, 8, [5, 4, 3, 2, 1]) + 1.0

    found = centered(kernel, None, 3).certificate

    assert found.optimality > 1.01
    assert found.truncated is not None
    assert found.truncated.optimality == pytest.approx(1, rel=1e-9)
    mean_free = kernel - kernel.mean(axis=1, keepdims=True)
    sigma = np.linalg.svd(mean_free, compute_uv=False)
    best = np.linalg.norm(sigma[3:]) / np.linalg.norm(sigma)
    assert found.truncated.frobenius_error == pytest.approx(best, rel=1e-9)


def test_small_kernels_start_light() -> None:
    """Factorizing a small kernel, certificate included, does not load scipy.linalg."""
    code = (
        "import sys, numpy\n"
        "from lrcompress.lowrank import truncated_svd\n"
        "truncated_svd(numpy.random.default_rng(0).standard_normal((512, 100)), 60)\n"
        "sys.exit('scipy.linalg' in sys.modules)"
    )

    finished = subprocess.run([sys.executable, "-c", code], check=False)

    assert finished.returncode == 0
