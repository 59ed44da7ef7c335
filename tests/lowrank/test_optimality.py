"""What the closed forms promise, on random and on hostile matrices of every dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lrcompress import lowrank
from lrcompress.lowrank import Factors
from tests.lowrank.layers import mean_free, moments_of, softmax, solve

# Roundings of the stored factors, relative to what they approximate.
ROUNDING = {"float64": 1e-9, "float32": 1e-5, "bfloat16": 1e-5, "float16": 1e-2}
SPECTRA = ["random", "repeated", "zero", "tiny", "deficient", "steep"]


def spectrum(kind: str, k: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return k singular values of a kind that breaks naive code."""
    values = {
        "random": np.sort(rng.uniform(0.1, 2, k))[::-1],
        "repeated": np.ones(k),
        "zero": np.zeros(k),
        "tiny": np.r_[1.0, np.full(k - 1, 1e-7)],
        "deficient": np.r_[np.ones((k + 1) // 2), np.zeros(k // 2)],
        "steep": 10.0 ** -np.linspace(0, 6, k),
    }
    return np.asarray(values[kind])


def to_dtype(matrix: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return a matrix in a dtype; bfloat16 as float32 values that bfloat16 can hold."""
    if dtype != "bfloat16":
        return matrix.astype(dtype)
    bits = matrix.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


class Layer:
    """A Dense layer with a designed spectrum and the inputs it gets."""

    def __init__(self, m: int, n: int, kind: str, dtype: str, seed: int) -> None:
        """Draw it."""
        rng = np.random.default_rng(seed)
        k = min(m, n)
        u, v = (np.linalg.qr(rng.standard_normal((size, k)))[0] for size in (m, n))
        self.kernel = to_dtype((u * spectrum(kind, k, rng)) @ v.T, dtype)
        self.bias = to_dtype(rng.standard_normal(n), dtype)
        mixed = rng.standard_normal((20 * m, m)) @ rng.standard_normal((m, m)) / np.sqrt(m)
        self.x = np.maximum(mixed + 0.3, 0)
        self.moments = moments_of(self.x)
        self.dtype = dtype

    def at(self, rank: int, method: str) -> Factors:
        """Factorize it."""
        return solve(self.kernel, self.bias, rank, method, moments=self.moments)

    def logits(self, factors: Factors | None = None) -> NDArray[np.float64]:
        """Return mean-free logits on the inputs."""
        kernel = self.kernel.astype(np.float64) if factors is None else factors.product()
        bias = self.bias if factors is None or factors.bias is None else factors.bias
        return mean_free(self.x @ kernel + bias.astype(np.float64))

    def output_error(self, factors: Factors) -> float:
        """Return the norm of what the mean-free logits lose, over their own."""
        whole = self.logits()
        return float(np.linalg.norm(whole - self.logits(factors)) / np.linalg.norm(whole))

    def kernel_error(self, factors: Factors) -> float:
        """Return the norm of what the mean-free kernel loses, over the kernel's own."""
        lost = mean_free(self.kernel.astype(np.float64) - factors.product())
        return float(np.linalg.norm(lost) / max(np.linalg.norm(self.kernel.astype(float)), 1e-30))


layers = st.builds(
    Layer,
    m=st.integers(1, 14),
    n=st.integers(2, 10),
    kind=st.sampled_from(SPECTRA),
    dtype=st.sampled_from(sorted(ROUNDING)),
    seed=st.integers(0, 2**32 - 1),
)


@given(layer=layers, data=st.data())
@settings(max_examples=150)
def test_whitened_is_nearest_on_the_outputs(layer: Layer, data: st.DataObject) -> None:
    """On the calibration inputs it loses no more than svd, than centered and than the optimum."""
    rank = data.draw(st.integers(1, min(layer.kernel.shape)))
    rounding = ROUNDING[layer.dtype]

    error = layer.output_error(layer.at(rank, "whitened"))

    # The damping of the covariance, (1e-6 + 1e-2 m / count) of its mean, costs up to 2e-3.
    for method in ("svd", "centered"):
        assert error <= layer.output_error(layer.at(rank, method)) * (1 + 2e-3) + rounding
    target = layer.logits()
    lost = np.linalg.svd(target - target.mean(axis=0), compute_uv=False)[rank:]
    optimum = np.linalg.norm(lost) / np.linalg.norm(target)
    assert error <= optimum * (1 + 2e-2) + rounding


@given(layer=layers, data=st.data())
@settings(max_examples=150)
def test_centered_is_nearest_to_the_mean_free_kernel(layer: Layer, data: st.DataObject) -> None:
    """It loses no more than svd, and as much as the singular values beyond the rank say."""
    rank = data.draw(st.integers(1, min(layer.kernel.shape)))
    rounding = ROUNDING[layer.dtype]

    error = layer.kernel_error(layer.at(rank, "centered"))

    assert error <= layer.kernel_error(layer.at(rank, "svd")) + rounding
    whole = layer.kernel.astype(np.float64)
    lost = np.linalg.svd(mean_free(whole), compute_uv=False)[rank:]
    optimum = np.linalg.norm(lost) / max(np.linalg.norm(whole), 1e-30)
    assert error == pytest.approx(optimum, abs=rounding)


@given(layer=layers)
@settings(max_examples=100)
def test_centered_is_exact_one_below_the_classes(layer: Layer) -> None:
    """At rank n - 1 the probabilities are the original's to 1e-6, half precision to its own."""
    m, n = layer.kernel.shape
    rank = min(m, n - 1)
    tolerance = {"float64": 1e-6, "float32": 1e-5, "bfloat16": 1e-5, "float16": 2e-2}

    found = layer.at(rank, "centered")

    np.testing.assert_allclose(
        softmax(layer.logits(found)), softmax(layer.logits()), atol=tolerance[layer.dtype]
    )


def test_centered_is_exact_in_single_precision() -> None:
    """On a head of ordinary size and scale, float32 probabilities agree to 1e-6."""
    layer = Layer(256, 10, "random", "float32", 0)

    found = layer.at(9, "centered")

    np.testing.assert_allclose(softmax(layer.logits(found)), softmax(layer.logits()), atol=1e-6)


@pytest.mark.parametrize("units", [1, 2])
@pytest.mark.parametrize("method", lowrank.METHODS)
def test_one_and_two_units(units: int, method: str) -> None:
    """The smallest heads go through every method: sigmoid for one unit, softmax for two."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((6, units)).astype(np.float32)
    bias = rng.standard_normal(units).astype(np.float32)
    x = rng.standard_normal((300, 6)).astype(np.float32)

    found = solve(
        kernel, bias, 1, method, softmax=units == 2,
        activation="softmax" if units == 2 else "sigmoid", inputs=x,
    )  # fmt: skip

    added = bias if found.bias is None else found.bias
    whole, small = x @ kernel + bias, x @ found.product() + added
    if units == 1:
        if method != "centered":
            np.testing.assert_allclose(small, whole, atol=2e-3)
    elif method != "svd":
        np.testing.assert_allclose(softmax(small), softmax(whole), atol=2e-3)
