"""The certificate tells the truth: against NumPy, at any scale, and where a Gram matrix rounds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.lowrank import METHODS, energy, singular_values, truncated_svd
from lrcompress.lowrank import certificate as measure
from lrcompress.lowrank import svd as engine
from tests.lowrank.layers import by_turns, solve

Make = Callable[..., NDArray[Any]]


def true_errors(kernel: NDArray[Any], product: NDArray[Any]) -> tuple[float, float]:
    """Return the relative errors in the Frobenius and the spectral norm, by NumPy's SVD."""
    wide = kernel.astype(np.float64)
    residual = np.linalg.svd(wide - product, compute_uv=False)
    sigma = np.linalg.svd(wide, compute_uv=False)
    return float(np.linalg.norm(residual) / np.linalg.norm(sigma)), float(residual[0] / sigma[0])


@pytest.mark.parametrize(
    ("shape", "dtype", "digits"),
    [
        ((50, 20), "float16", 6), ((50, 20), "float32", 6), ((50, 20), "float64", 10),
        ((20, 50), "float32", 6), ((700, 600), "float16", 6), ((700, 600), "float64", 10),
        ((2100, 520), "float32", 5),
    ],
)  # fmt: skip
def test_errors_are_numpys(shape: tuple[int, int], dtype: str, digits: int) -> None:
    """Both errors agree with NumPy's where LAPACK computed the vectors."""
    kernel = np.random.default_rng(0).standard_normal(shape).astype(dtype)

    factors = truncated_svd(kernel, 14)

    frobenius, spectral = true_errors(kernel, factors.product())
    assert factors.certificate.algorithm in ("gram", "gesdd", "subspace")
    assert factors.certificate.frobenius_error == pytest.approx(frobenius, rel=10.0**-digits)
    if factors.certificate.algorithm != "subspace":
        assert factors.certificate.spectral_error == pytest.approx(spectral, rel=10.0**-digits)


def test_eigenvalues_that_lapack_misses_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many equal ones its search for a part finds fewer on some processors: a safer way takes its place."""
    import scipy.linalg

    whole = scipy.linalg.eigh

    def short(gram: Any, *, eigvals_only: bool = False, **options: Any) -> Any:
        found = whole(gram, eigvals_only=eigvals_only, **options)
        if "subset_by_index" not in options:
            return found
        return found[:0] if eigvals_only else (found[0][2:], found[1][:, 2:])

    monkeypatch.setattr(engine, "SMALL_ENTRIES", 0)
    monkeypatch.setattr(scipy.linalg, "eigh", short)
    kernel = np.random.default_rng(0).standard_normal((900, 700))

    factors = truncated_svd(kernel, 200)

    frobenius, spectral = true_errors(kernel, factors.product())
    assert factors.certificate.algorithm == "qr"
    assert factors.certificate.frobenius_error == pytest.approx(frobenius, rel=1e-10)
    assert factors.certificate.spectral_error == pytest.approx(spectral, rel=1e-6)
    assert factors.certificate.optimality == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("rank", "dtype", "power", "shape"),
    by_turns([(900, 700), (700, 900)], [3, 30, 200], ["float32", "float64"], [0.0, 0.2, 0.9]),
)
def test_errors_of_large_kernels(
    matrix_with_spectrum: Make, monkeypatch: pytest.MonkeyPatch,
    rank: int, dtype: str, power: float, shape: tuple[int, int],
) -> None:  # fmt: skip
    """The Frobenius error has four digits; what is called proven holds against NumPy."""
    monkeypatch.setattr(engine, "SMALL_ENTRIES", 0)
    sigma = np.arange(1, 701.0) ** -power
    kernel = matrix_with_spectrum(*shape, sigma, dtype=dtype)

    factors = truncated_svd(kernel, rank)

    found = factors.certificate
    frobenius, spectral = true_errors(kernel, factors.product())
    truth = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)
    best = np.linalg.norm(truth[rank:]) / np.linalg.norm(truth)
    assert found.frobenius_error == pytest.approx(frobenius, rel=5e-5)
    if found.algorithm == "qr":
        # All singular values alike: LAPACK may miss some of the Gram matrix, which is noticed.
        assert (power, rank) == (0.0, 200)
    else:
        assert found.algorithm == {3: "randomized", 30: "subspace", 200: "gram"}[rank]
    if found.algorithm == "subspace":
        assert found.optimum_frobenius_error <= best * (1 + 1e-6)
        assert spectral * (1 - 1e-5) <= found.spectral_error <= spectral * 1.02
    elif found.algorithm in ("gram", "qr"):
        assert found.optimum_frobenius_error == pytest.approx(best, rel=5e-5)
        assert found.spectral_error == pytest.approx(spectral, rel=1e-3)
    else:
        assert found.optimum_frobenius_error == pytest.approx(best, rel=1e-3)
        assert found.spectral_error == pytest.approx(spectral, rel=2e-2)
    assert frobenius <= 1.001 * best


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
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_optimum_survives_cancellation(
    matrix_with_spectrum: Make, monkeypatch: pytest.MonkeyPatch, tail: float, dtype: str
) -> None:
    """A tail that vanishes in the Gram matrix beside the rest is not certified out of it."""
    monkeypatch.setattr(engine, "SMALL_ENTRIES", 0)
    sigma = np.r_[np.linspace(2, 1, 10), np.full(50, tail)]
    kernel = matrix_with_spectrum(300, 60, sigma, dtype=dtype)

    factors = truncated_svd(kernel, 10)

    truth = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)
    best = np.sqrt(np.square(truth[10:]).sum() / np.square(truth).sum())
    found = factors.certificate
    assert found.optimum_frobenius_error == pytest.approx(best, rel=2e-3)
    assert found.frobenius_error == pytest.approx(best, rel=1e-6, abs=1e-7)
    assert found.frobenius_error >= found.optimum_frobenius_error


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

    found = solve(kernel, None, 3, "centered").certificate

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


RANK_3 = np.random.default_rng(0).normal(size=(64, 3)) @ np.random.default_rng(1).normal(
    size=(3, 20)
)
EQUAL = np.repeat(np.random.default_rng(0).normal(size=(64, 1)), 20, axis=1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "kernel", [RANK_3, EQUAL, np.zeros((64, 20))], ids=["rank 3", "equal", "zero"]
)
def test_a_kernel_of_low_rank_is_exact_by_every_method(method: str, kernel: np.ndarray) -> None:
    """At its true rank and above the error is rounding: exact, and no ratio of two roundings."""
    inputs = np.random.default_rng(2).normal(size=(300, 64)).astype(np.float32)
    for rank in (3, 5, 20):
        bias = np.zeros(20, np.float32)
        found = solve(kernel.astype(np.float32), bias, rank, method, inputs=inputs).certificate

        assert 1 <= found.optimality < 1e7
        if method != "refined":
            assert found.minimised.exact
            assert found.minimised.optimality == 1


def test_each_method_is_measured_against_what_it_minimises() -> None:
    """By hand from the singular values: of A, of the mean-free A, and of L^T A."""
    draw = np.random.default_rng(3)
    kernel = draw.normal(size=(30, 8)) + 5 * draw.normal(size=(30, 1))
    inputs = (draw.normal(size=(4000, 30)) * np.geomspace(1, 0.05, 30)).astype(np.float64)
    sigma = np.linalg.svd(kernel, compute_uv=False)
    mean_free = np.linalg.svd(kernel - kernel.mean(axis=1, keepdims=True), compute_uv=False)
    for method, values in (("svd", sigma), ("centered", mean_free)):
        found = solve(kernel, None, 3, method, inputs=inputs).certificate.minimised
        least = np.sqrt(np.square(values[3:]).sum() / np.square(values).sum())
        assert found.frobenius_error == pytest.approx(least, rel=1e-9)
        assert found.optimality == pytest.approx(1, abs=1e-9)

    whitened, refined = (
        solve(kernel, np.zeros(8), 3, method, inputs=inputs) for method in ("whitened", "refined")
    )
    best, other = whitened.certificate.minimised, refined.certificate.minimised
    assert whitened.method == "whitened"
    assert refined.method == "refined"
    outputs = inputs @ (kernel - kernel.mean(axis=1, keepdims=True))
    outputs -= outputs.mean(axis=0)
    lost = outputs - (inputs - inputs.mean(axis=0)) @ whitened.B @ whitened.C
    measured = np.linalg.norm(lost) / np.linalg.norm(outputs)
    assert best.frobenius_error == pytest.approx(measured, rel=0.02)  # the covariance is damped
    assert best.optimality == pytest.approx(1, abs=1e-6)
    # What refinement lowers is not the squared error, of which the whitened head has the least.
    assert other.optimum_frobenius_error == pytest.approx(best.optimum_frobenius_error, rel=0.05)
    assert other.frobenius_error >= other.optimum_frobenius_error
