"""The truncated SVD against NumPy's, on matrices with stated spectra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.errors import KernelError, RankError
from lrcompress.lowrank import Factors, singular_values, subspace, truncated_svd
from lrcompress.lowrank import svd as engine

Make = Callable[..., NDArray[Any]]


def error(kernel: NDArray[Any], factors: Factors, norm: str | int = "fro") -> float:
    """Return the relative error of the product as it is stored."""
    wide = kernel.astype(np.float64)
    return float(np.linalg.norm(wide - factors.product(), norm) / np.linalg.norm(wide, norm))


SPECTRA = {
    "falling": [2.0**-k for k in range(8)],
    "flat": [1.0] * 8,
    "repeated": [3, 3, 3, 1, 1, 1, 0.1, 0.1],
    "tiny": [1, 1e-4, 1e-8, 1e-12, 0, 0, 0, 0],
    "deficient": [5, 1, 0, 0, 0, 0, 0, 0],
    "huge": [1e15, 1e14, 1, 1, 1, 1, 1, 1],
}


@pytest.mark.parametrize("shape", [(40, 8), (8, 40), (8, 8)])
@pytest.mark.parametrize("rank", [1, 3, 8])
@pytest.mark.parametrize("name", SPECTRA)
def test_optimal(matrix_with_spectrum: Make, name: str, rank: int, shape: tuple[int, int]) -> None:
    """The error is that of Eckart and Young in both norms, for every shape and rank."""
    sigma = np.sort(np.array(SPECTRA[name], float))[::-1]
    kernel = matrix_with_spectrum(*shape, sigma)

    factors = truncated_svd(kernel, rank)

    tail = sigma[rank:]
    best = float(np.sqrt(np.square(tail).sum() / np.square(sigma).sum()))
    assert error(kernel, factors) == pytest.approx(best, rel=1e-6, abs=1e-14)
    spectral = float(tail[0] / sigma[0]) if len(tail) else 0.0
    assert error(kernel, factors, 2) == pytest.approx(spectral, rel=1e-6, abs=1e-14)
    np.testing.assert_allclose(factors.singular_values[:8], sigma, rtol=1e-6, atol=1e-12 * sigma[0])


def test_deterministic_balanced_and_signed(matrix_with_spectrum: Make) -> None:
    """Two runs give the same bytes; columns of B and rows of C have one norm; signs are fixed."""
    kernel = matrix_with_spectrum(30, 12, [4, 3, 2, 1, 0.5], dtype="float32")

    first, second = truncated_svd(kernel, 4), truncated_svd(kernel.copy(), 4)

    assert first.B.tobytes() == second.B.tobytes()
    assert first.C.tobytes() == second.C.tobytes()
    sizes = np.sqrt([4, 3, 2, 1])
    np.testing.assert_allclose(np.linalg.norm(first.B, axis=0), sizes, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(first.C, axis=1), sizes, rtol=1e-5)
    largest = np.take_along_axis(first.B, np.abs(first.B).argmax(axis=0)[None], axis=0)
    assert (largest > 0).all()


def test_zero_kernel() -> None:
    """A kernel of zeros is factorized into zeros, without a warning."""
    factors = truncated_svd(np.zeros((6, 4), np.float32), 2)

    assert not factors.product().any()
    assert factors.certificate.frobenius_error == 0
    assert factors.certificate.optimality == 1


@pytest.mark.parametrize(("value", "count"), [(np.nan, "1 of 24"), (np.inf, "1 of 24")])
def test_not_finite(value: float, count: str) -> None:
    """NaN and infinity are refused with their number."""
    kernel = np.ones((6, 4))
    kernel[2, 1] = value

    for function in (lambda: truncated_svd(kernel, 2), lambda: singular_values(kernel)):
        with pytest.raises(KernelError, match=count) as refused:
            function()
        assert refused.value.code == "not_finite"
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "kernel", [np.ones(3), np.ones((2, 3, 4)), np.ones((2, 0)), np.ones((2, 2), int)]
)
def test_not_a_matrix(kernel: NDArray[Any]) -> None:
    """What is no matrix of floats is refused with its shape."""
    with pytest.raises(KernelError) as refused:
        truncated_svd(kernel, 1)

    assert refused.value.code == "not_a_matrix"
    assert str(kernel.shape) in str(refused.value)


@pytest.mark.parametrize("rank", [0, -1, 5])
def test_rank_out_of_range(rank: int) -> None:
    """A rank that the kernel cannot have is refused with the bounds."""
    with pytest.raises(RankError, match=f"between 1 and 4 .*rank={rank}") as refused:
        truncated_svd(np.ones((6, 4)), rank)

    assert refused.value.code == "rank_out_of_range"


@pytest.mark.parametrize(
    ("shape", "rank", "dtype", "algorithm"),
    [
        ((512, 100), 60, "float64", "gesdd"),
        ((512, 100), 60, "float32", "gram"),
        ((512, 100), 60, "float16", "gram"),
        ((1100, 1000), 300, "float32", "gram"),
        ((1100, 1000), 60, "float32", "subspace"),
        ((1000, 1100), 60, "float64", "subspace"),
        ((1100, 1000), 9, "float32", "randomized"),
        ((1000, 1100), 9, "float64", "randomized"),
    ],
)
def test_way_by_shape_rank_and_dtype(
    shape: tuple[int, int], rank: int, dtype: str, algorithm: str
) -> None:
    """The certificate names the way that was taken, and that is the one meant for the case."""
    kernel = np.random.default_rng(0).standard_normal(shape).astype(dtype)

    certificate = truncated_svd(kernel, rank).certificate

    assert certificate.algorithm == algorithm
    assert 1 <= certificate.optimality <= 1.001


def test_fallback_where_float32_loses_the_tail(
    matrix_with_spectrum: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Singular values below the square root of float32's precision send a kernel to float64."""
    monkeypatch.setattr(engine, "SMALL_ENTRIES", 0)
    precisions = []
    gram = engine.gram_matrix

    def record(kernel: NDArray[Any], dtype: Any, unit: int) -> Any:
        precisions.append(np.dtype(dtype).name)
        return gram(kernel, dtype, unit)

    monkeypatch.setattr(engine, "gram_matrix", record)
    sigma = np.geomspace(1, 1e-4, 60)
    kernel = matrix_with_spectrum(900, 60, sigma, dtype="float32")

    factors = truncated_svd(kernel, 50)

    assert precisions == ["float32", "float64"]
    truth = np.linalg.svd(kernel.astype(np.float64), compute_uv=False)
    best = np.sqrt(np.square(truth[50:]).sum() / np.square(truth).sum())
    assert error(kernel, factors) == pytest.approx(best, rel=2e-3)


def test_fallback_where_a_gram_matrix_loses_the_tail(
    matrix_with_spectrum: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64 those below 1e-6 of the largest send it to LAPACK's SVD of the triangle."""
    monkeypatch.setattr(engine, "SMALL_ENTRIES", 0)
    sigma = np.geomspace(1, 1e-9, 60)
    kernel = matrix_with_spectrum(900, 60, sigma)

    factors = truncated_svd(kernel, 50)

    assert factors.certificate.algorithm == "qr"
    best = np.sqrt(np.square(sigma[50:]).sum() / np.square(sigma).sum())
    assert error(kernel, factors) == pytest.approx(best, rel=1e-5)
    np.testing.assert_allclose(factors.singular_values[:50], sigma[:50], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fallback_where_an_eigensolver_fails(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """Where iteration and LAPACK's eigenvectors fail, the triangle's SVD does the work."""

    def fails(*_: Any, **__: Any) -> Any:
        raise np.linalg.LinAlgError

    monkeypatch.setattr(subspace, "filtered_pairs", fails)
    kernel = np.random.default_rng(0).standard_normal((1200, 900)).astype(dtype)

    assert truncated_svd(kernel, 40).certificate.algorithm == "gram"
    monkeypatch.setattr(engine, "leading_pairs", fails)
    found = truncated_svd(kernel, 40).certificate

    assert found.algorithm == "qr"
    assert found.optimality == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fallback_where_lapack_fails(
    matrix_with_spectrum: Make, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """Where gesdd does not converge, gesvd does the work and is named."""
    decompose = engine.decompose

    def no_gesdd(kernel: NDArray[Any], driver: Any) -> Any:
        if driver == "gesdd":
            raise np.linalg.LinAlgError
        return decompose(kernel, driver)

    def no_pairs(*_: Any) -> Any:
        raise np.linalg.LinAlgError

    monkeypatch.setattr(engine, "decompose", no_gesdd)
    monkeypatch.setattr(engine, "leading_pairs", no_pairs)

    factors = truncated_svd(matrix_with_spectrum(20, 8, [3, 2, 1], dtype=dtype), 2)

    assert factors.certificate.algorithm == "gesvd"
    assert factors.certificate.optimality == pytest.approx(1)


def test_failure_of_the_last_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing converges, the error is LAPACK's, not a wrong result."""

    def fails(*_: Any) -> Any:
        raise np.linalg.LinAlgError

    monkeypatch.setattr(engine, "decompose", fails)

    with pytest.raises(np.linalg.LinAlgError):
        truncated_svd(np.ones((4, 3)), 1)


@pytest.mark.parametrize("shape", [(50, 20), (1500, 1100)])
def test_certificate_is_measured(matrix_with_spectrum: Make, shape: tuple[int, int]) -> None:
    """The certificate of wrong factors is their true error, also where norms are iterated."""
    from lrcompress.lowrank.certificate import certify

    sigma = np.geomspace(4, 0.5, 12)
    kernel = matrix_with_spectrum(*shape, sigma)
    factors = truncated_svd(kernel, 3)
    wrong = factors.B * 1.1

    found = certify(kernel, wrong, factors.C, 0.5, "test")

    residual = kernel - wrong @ factors.C
    expected = np.linalg.norm(residual) / np.linalg.norm(kernel)
    assert found.frobenius_error == pytest.approx(expected, rel=1e-9)
    assert found.optimality == pytest.approx(expected / 0.5, rel=1e-9)
    top = np.linalg.eigvalsh(residual.T @ residual)[-1] ** 0.5
    assert found.spectral_error == pytest.approx(top / 4, rel=1e-3)


@pytest.mark.parametrize("decay", [0.0, 4.0])
def test_singular_values_of_half_precision(decay: float) -> None:
    """They are those of the kernel as it is stored, to four digits, also far below the largest."""
    rng = np.random.default_rng(0)
    spectrum = np.geomspace(1, 10.0**-decay, 600)
    turned = np.linalg.qr(rng.standard_normal((600, 600)))[0]
    kernel = (rng.standard_normal((2000, 600)) * spectrum @ turned).astype(np.float16)

    found = singular_values(kernel)

    np.testing.assert_allclose(
        found, np.linalg.svd(kernel.astype(np.float64), compute_uv=False), rtol=1e-4
    )
