"""Matrices made to mislead: every way to a truncated SVD against NumPy's, in every dtype."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lrcompress.lowrank import Factors, truncated_svd
from lrcompress.lowrank import svd as engine
from lrcompress.lowrank.matrix import measure
from tests.lowrank.layers import by_turns

Make = Callable[..., NDArray[Any]]

SPECTRA: dict[str, Callable[[int], Any]] = {
    "one value": lambda k: np.ones(k),
    "identity and noise": lambda k: 1 + 1e-6 * np.arange(k),
    "pairs": lambda k: np.repeat(2.0 ** -np.arange(k), 2)[:k],
    "steep": lambda k: np.geomspace(1, 1e-7, k),
    "one large": lambda k: np.r_[1e4, np.ones(k - 1)],
    "deficient": lambda k: np.r_[np.linspace(2, 1, k - k // 2), np.zeros(k // 2)],
    "rank one": lambda k: np.r_[1.0, np.zeros(k - 1)],
    "cliff": lambda k: np.where(np.arange(k) < k // 3, 1.0, 1e-5),
    "power law": lambda k: np.arange(1, k + 1.0) ** -0.7,
    "linear": lambda k: np.linspace(1, 1 / k, k),
}
WAYS: dict[str, Any] = {
    "gram32": partial(engine.by_gram, dtype=np.float32),
    "gram64": partial(engine.by_gram, dtype=np.float64),
    "randomized32": partial(engine.by_products, dtype=np.float32),
    "randomized64": partial(engine.by_products, dtype=np.float64),
    "qr": engine.by_triangle,
    "gesdd": partial(engine.by_lapack, driver="gesdd"),
    "gesvd": partial(engine.by_lapack, driver="gesvd"),
}


def numpys(kernel: NDArray[Any]) -> NDArray[np.float64]:
    """Return the singular values by NumPy."""
    return np.asarray(np.linalg.svd(kernel.astype(np.float64), compute_uv=False))


def errors(
    kernel: NDArray[Any], factors: Factors, sigma: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the relative error of the stored factors, and that of NumPy's best matrix."""
    wide = kernel.astype(np.float64)
    best = np.linalg.norm(sigma[factors.rank :]) / np.linalg.norm(sigma)
    return float(np.linalg.norm(wide - factors.product()) / np.linalg.norm(sigma)), float(best)


def rounding(dtype: str) -> float:
    """Return what storing factors, and in float64 LAPACK's own rounding, may cost."""
    return (64 if dtype == "float64" else 4) * float(np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("shape", [(90, 24), (24, 90), (24, 24)])
def test_no_spectrum_misleads(
    matrix_with_spectrum: Make, name: str, shape: tuple[int, int], dtype: str
) -> None:
    """At ranks one, a third, all but one and all the error is the least, as small kernels go."""
    kernel = matrix_with_spectrum(*shape, SPECTRA[name](24), dtype=dtype)

    sigma = numpys(kernel)
    for rank in (1, 8, 23, 24):
        factors = truncated_svd(kernel, rank)

        found, best = errors(kernel, factors, sigma)
        assert found <= best * (1 + 1e-6) + rounding(dtype)
        assert factors.certificate.frobenius_error == pytest.approx(found, rel=1e-5, abs=1e-15)
        assert factors.B.dtype == factors.C.dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("name", "dtype", "shape"), by_turns([(700, 560), (560, 700)], SPECTRA, ["float32", "float64"])
)
def test_no_spectrum_misleads_the_large_ways(
    matrix_with_spectrum: Make,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    shape: tuple[int, int],
    dtype: str,
) -> None:
    """Treated as large, with a rank for each way: at most a thousandth above the least."""
    monkeypatch.setattr(engine, "SMALL_ENTRIES", 0)
    kernel = matrix_with_spectrum(*shape, SPECTRA[name](560), dtype=dtype)

    sigma = numpys(kernel)
    for rank in (1, 12, 200, 560):
        factors = truncated_svd(kernel, rank)

        found, best = errors(kernel, factors, sigma)
        assert found <= best * 1.001 + 4 * rounding(dtype)
        certificate = factors.certificate
        assert certificate.frobenius_error == pytest.approx(found, rel=1e-4, abs=1e-14)
        # By randomized the optimum is an estimate; otherwise it may not exceed the truth.
        excess = 1e-3 if certificate.algorithm == "randomized" else 1e-5
        assert certificate.optimum_frobenius_error <= best * (1 + excess) + 4 * rounding(dtype)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(300, 60), (60, 300)])
def test_every_way_is_as_good(
    matrix_with_spectrum: Make, way: str, dtype: str, shape: tuple[int, int]
) -> None:
    """Each way alone reaches the optimum, and says what it reached."""
    kernel = matrix_with_spectrum(*shape, np.linspace(2, 1, 60), dtype=dtype)

    factors, known = WAYS[way](kernel, 11, measure(kernel))

    sigma = numpys(kernel)
    found, best = errors(kernel, factors, sigma)
    assert known
    assert found == pytest.approx(best, rel=1e-3)
    assert factors.certificate.frobenius_error == pytest.approx(found, rel=1e-6)
    assert factors.certificate.optimality <= 1.001
    np.testing.assert_allclose(factors.singular_values[:11], sigma[:11], rtol=5e-3)


@given(
    m=st.integers(1, 40),
    n=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0, 1),
    name=st.sampled_from(sorted(SPECTRA)),
    exponent=st.integers(-150, 150),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
)
@settings(max_examples=150)
def test_any_shape_rank_scale_and_spectrum(
    matrix_with_spectrum: Make,
    m: int,
    n: int,
    seed: int,
    share: float,
    name: str,
    exponent: int,
    dtype: str,
) -> None:
    """Scaling a kernel by a power of two within its dtype changes the scale of the factors only."""
    reach = {"float16": 2, "float32": 40, "float64": 150}[dtype]
    exponent = max(-reach, min(reach, exponent))
    k = min(m, n)
    kernel = matrix_with_spectrum(m, n, SPECTRA[name](k), seed=seed, dtype=dtype)
    scaled = np.ldexp(kernel, exponent).astype(dtype)
    rank = 1 + int(share * (k - 1))

    factors = truncated_svd(scaled, rank)

    assert np.isfinite(factors.B).all()
    assert np.isfinite(factors.C).all()
    wide = np.ldexp(scaled.astype(np.float64), -exponent)
    sigma = np.linalg.svd(wide, compute_uv=False)
    product = np.ldexp(factors.product(), -exponent)
    best = float(np.linalg.norm(sigma[rank:]))
    # Entries of a scaled float16 kernel may fall below its smallest normal number.
    loss = rounding(dtype) + (2e-2 if dtype == "float16" else 0.0)
    assert np.linalg.norm(wide - product) <= best * (1 + 1e-6) + loss * np.linalg.norm(sigma)
    norms = np.linalg.norm(factors.B.astype(np.float64), axis=0)
    np.testing.assert_allclose(
        norms, np.linalg.norm(factors.C.astype(np.float64), axis=1),
        rtol=1e-2 if dtype == "float16" else 1e-4, atol=1e-2 * norms.max(),
    )  # fmt: skip


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_one_and_two_units(units: int, dtype: str) -> None:
    """The head of a binary classifier is kept whole by rank 1, that of two classes by rank 2."""
    kernel = np.random.default_rng(0).standard_normal((512, units)).astype(dtype)

    for shape in (kernel, np.ascontiguousarray(kernel.T)):
        factors = truncated_svd(shape, units)

        assert errors(shape, factors, numpys(shape))[0] <= rounding(dtype)
        assert factors.certificate.optimality == 1


def test_bfloat16_read_as_float32() -> None:
    """A kernel of bfloat16 numbers in float32 keeps the precision of float32."""
    exact = np.random.default_rng(0).standard_normal((200, 30)).astype(np.float32)
    kernel = (exact.view(np.uint32) & 0xFFFF0000).view(np.float32)

    factors = truncated_svd(kernel, 12)

    found, best = errors(kernel, factors, numpys(kernel))
    assert factors.B.dtype == np.float32
    assert found == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_order_in_memory(matrix_with_spectrum: Make, order: str) -> None:
    """Fortran order and strides change nothing, and the kernel is left as it was."""
    kernel = matrix_with_spectrum(80, 60, np.linspace(2, 1, 60), dtype="float32")
    other = np.asfortranarray(kernel) if order == "F" else kernel.copy()
    if order == "strided":
        other = np.repeat(np.repeat(kernel, 2, axis=0), 3, axis=1)[::2, ::3]
    before = other.copy()

    factors = truncated_svd(other, 5)

    np.testing.assert_array_equal(other, before)
    np.testing.assert_allclose(factors.product(), truncated_svd(kernel, 5).product(), atol=1e-6)
    assert factors.B.flags.c_contiguous
    assert factors.C.flags.c_contiguous
