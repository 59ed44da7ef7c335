"""Moments of inputs, and of what a kernel makes of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcompress.errors import KernelError
from lrcompress.lowrank import InputMoments
from lrcompress.lowrank.moments import ProjectedMoments, gather_moments
from tests.lowrank.layers import moments_of, solve


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 60), max_size=5))
@settings(max_examples=40)
def test_moments_do_not_depend_on_the_batches(seed: int, cuts: list[int]) -> None:
    """Any split into batches gives NumPy's mean and covariance."""
    x = 100 + np.random.default_rng(seed).standard_normal((60, 4))
    whole, parts = InputMoments(4), InputMoments(4)
    whole.update(x.reshape(6, 10, 4))
    for a, b in itertools.pairwise([0, *sorted(cuts), 60]):
        parts.update(x[a:b])

    for found in (whole, parts):
        assert found.count == 60
        np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(x.T, bias=True), rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(found.second_moment, x.T @ x / 60, rtol=1e-9)


def test_moments_of_many_inputs_are_gathered_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit one block gives the same moments; no block is larger."""
    x = 3 + np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    monkeypatch.setattr("lrcompress.lowrank.moments.BLOCK", 28)
    seen: list[int] = []
    add = InputMoments._add
    monkeypatch.setattr(
        InputMoments, "_add", lambda own, rows: (seen.append(rows.size), add(own, rows))
    )
    moments = InputMoments(4)

    moments.update(x)

    assert max(seen) == 28
    assert moments.count == 50
    np.testing.assert_allclose(moments.covariance, np.cov(x.T, bias=True), rtol=1e-6)


def _layer(m: int, n: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(m + count)
    x = np.maximum(rng.standard_normal((count, 8)) @ rng.standard_normal((8, m)), 0)
    x += 0.1 * rng.standard_normal((count, m))
    kernel = rng.standard_normal((m, n)) / np.sqrt(m)
    return kernel, rng.standard_normal(n), x


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(
    ("m", "n", "count"), [(40, 7, 3000), (40, 7, 25), (12, 12, 500), (9, 1, 50)]
)
def test_outputs_tell_as_much_as_the_inputs(
    m: int, n: int, count: int, with_bias: bool, softmax: bool
) -> None:
    """The head is the one from the covariance of the inputs, few of them or many."""
    if softmax and n == 1:
        pytest.skip("softmax over one unit is constant")
    kernel, bias, x = _layer(m, n, count)
    moments = moments_of(x)
    own = bias if with_bias else None
    rank = max(1, n // 2)

    found = solve(
        kernel, own, rank, "whitened", moments=ProjectedMoments(kernel, x), softmax=softmax
    )

    expected = solve(kernel, own, rank, "whitened", moments=moments, softmax=softmax)
    scale = np.abs(expected.product()).max()
    np.testing.assert_allclose(found.product(), expected.product(), atol=1e-7 * scale)
    if with_bias:
        np.testing.assert_allclose(found.bias, expected.bias, atol=1e-7 * np.abs(bias).max())


def test_kernel_of_low_rank() -> None:
    """Outputs that never vary in some directions, at a rank above the kernel's own."""
    kernel, bias, x = _layer(30, 6, 400)
    kernel[:, 3:] = kernel[:, :3]

    found = solve(kernel, bias, 5, "whitened", moments=ProjectedMoments(kernel, x), softmax=True)

    outputs = x @ kernel + bias
    new = x @ found.product() + found.bias
    centred = outputs - outputs.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(new - new.mean(axis=1, keepdims=True), centred, atol=1e-6)


def test_constant_inputs() -> None:
    """Inputs that never vary leave all to the bias."""
    kernel, bias, x = _layer(30, 6, 1)
    x = np.repeat(x, 20, axis=0)

    found = solve(kernel, bias, 2, "whitened", moments=ProjectedMoments(kernel, x), softmax=False)

    np.testing.assert_allclose(x @ found.product() + found.bias, x @ kernel + bias, atol=1e-6)


def test_moments_of_another_kernel_are_refused() -> None:
    """Projections by a kernel of another shape do not serve."""
    kernel, bias, x = _layer(30, 6, 50)

    with pytest.raises(KernelError) as caught:
        solve(
            kernel, bias, 2, "whitened", moments=ProjectedMoments(kernel[:, :5], x), softmax=False
        )

    assert caught.value.code == "moments"


def test_wide_layers_are_projected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where there are far more features than units; the inputs may come in blocks."""
    monkeypatch.setattr("lrcompress.lowrank.moments.WIDE", 16)
    monkeypatch.setattr("lrcompress.lowrank.moments.BLOCK_ROWS", 7)
    kernel, _, x = _layer(30, 6, 50)

    wide = gather_moments(kernel, x.reshape(5, 10, 30))

    assert isinstance(wide, ProjectedMoments)
    assert wide.count == 50
    np.testing.assert_allclose(wide.mean, x.mean(axis=0))
    np.testing.assert_allclose(wide.outputs.covariance, np.cov(x @ kernel, rowvar=False, bias=True))
    assert wide.variance == pytest.approx(x.var(axis=0).mean())
    assert isinstance(gather_moments(kernel[:16], x[:, :16]), InputMoments)
    assert isinstance(gather_moments(kernel.T, x[:, :6]), InputMoments)
