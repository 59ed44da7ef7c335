"""The kernel before a softmax, fitted to what the original said."""

from __future__ import annotations

import numpy as np

from lrcompress.lowrank import imitating_kernel

RNG = np.random.default_rng(0)


def divergence(z: np.ndarray, other: np.ndarray) -> float:
    """Return the mean divergence of two softmaxes."""
    p, q = (np.exp(a - np.log(np.exp(a).sum(1, keepdims=True))) for a in (z, other))
    return float((p * np.log(p / q)).sum(1).mean())


def test_inputs_that_were_spoilt_say_what_the_original_said() -> None:
    """On new inputs the fitted kernel is nearer through the softmax than least squares of the logits."""
    kernel, bias = RNG.normal(size=(12, 5)), RNG.normal(size=5)
    x = RNG.normal(size=(2000, 12)) * np.linspace(0.2, 2, 12)
    spoilt = np.maximum(x, -0.5) + 0.3 * RNG.normal(size=x.shape)
    z = x @ kernel + bias
    rows = np.c_[spoilt[:1000], np.ones(1000)]
    least = np.linalg.lstsq(rows, z[:1000], rcond=None)[0]

    found, constant = imitating_kernel((least[:-1], least[-1]), spoilt[:1000], z[:1000])

    before = divergence(z[1000:], spoilt[1000:] @ least[:-1] + least[-1])
    assert divergence(z[1000:], spoilt[1000:] @ found + constant) < 0.97 * before


def test_a_kernel_that_is_right_stays() -> None:
    """Where held-out rows are no nearer, the start is returned."""
    kernel, bias, x = RNG.normal(size=(6, 4)), RNG.normal(size=4), RNG.normal(size=(200, 6))

    found, constant = imitating_kernel((kernel, bias), x, x @ kernel + bias)

    np.testing.assert_allclose(found, kernel, atol=1e-3)
    np.testing.assert_allclose(constant, bias, atol=1e-3)
