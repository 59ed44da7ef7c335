"""Whitening from what the kernel makes of the inputs, without their covariance."""

from __future__ import annotations

import numpy as np
import pytest

from lrcompress import lowrank
from lrcompress.errors import KernelError
from lrcompress.lowrank import InputMoments, ProjectedMoments
from lrcompress.lowrank.projected import gather_moments


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
    moments = InputMoments(m)
    moments.update(x)
    own = bias if with_bias else None
    rank = max(1, n // 2)

    found = lowrank.whitened(kernel, own, rank, ProjectedMoments(kernel, x), softmax=softmax)

    expected = lowrank.whitened(kernel, own, rank, moments, softmax=softmax)
    scale = np.abs(expected.product()).max()
    np.testing.assert_allclose(found.product(), expected.product(), atol=1e-7 * scale)
    if with_bias:
        np.testing.assert_allclose(found.bias, expected.bias, atol=1e-7 * np.abs(bias).max())


def test_kernel_of_low_rank() -> None:
    """Outputs that never vary in some directions, at a rank above the kernel's own."""
    kernel, bias, x = _layer(30, 6, 400)
    kernel[:, 3:] = kernel[:, :3]

    found = lowrank.whitened(kernel, bias, 5, ProjectedMoments(kernel, x), softmax=True)

    outputs = x @ kernel + bias
    new = x @ found.product() + found.bias
    centred = outputs - outputs.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(new - new.mean(axis=1, keepdims=True), centred, atol=1e-6)


def test_constant_inputs() -> None:
    """Inputs that never vary leave all to the bias."""
    kernel, bias, x = _layer(30, 6, 1)
    x = np.repeat(x, 20, axis=0)

    found = lowrank.whitened(kernel, bias, 2, ProjectedMoments(kernel, x), softmax=False)

    np.testing.assert_allclose(x @ found.product() + found.bias, x @ kernel + bias, atol=1e-6)


def test_moments_of_another_kernel_are_refused() -> None:
    """Projections by a kernel of another shape do not serve."""
    kernel, bias, x = _layer(30, 6, 50)

    with pytest.raises(KernelError) as caught:
        lowrank.whitened(kernel, bias, 2, ProjectedMoments(kernel[:, :5], x), softmax=False)

    assert caught.value.code == "moments"


def test_wide_layers_are_projected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where there are far more features than units; the inputs may come in blocks."""
    monkeypatch.setattr("lrcompress.lowrank.projected.WIDE", 16)
    monkeypatch.setattr("lrcompress.lowrank.projected.BLOCK_ROWS", 7)
    kernel, _, x = _layer(30, 6, 50)

    wide = gather_moments(kernel, x.reshape(5, 10, 30))

    assert isinstance(wide, ProjectedMoments)
    assert wide.count == 50
    np.testing.assert_allclose(wide.mean, x.mean(axis=0))
    np.testing.assert_allclose(wide.covariance, np.cov(x @ kernel, rowvar=False, bias=True))
    assert wide.variance == pytest.approx(x.var(axis=0).mean())
    assert isinstance(gather_moments(kernel[:16], x[:, :16]), InputMoments)
    assert isinstance(gather_moments(kernel.T, x[:, :6]), InputMoments)
