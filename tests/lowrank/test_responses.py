"""Moments of rows, and the kernel that is corrected for others."""

from __future__ import annotations

import numpy as np
import pytest

from lrcompress.lowrank import responses


@pytest.mark.parametrize("wide", [False, True])
def test_moments_about_zero_and_of_a_part(wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are those that the rows give which are meant."""
    if wide:
        monkeypatch.setattr(responses, "WIDE", 3)
    draw = np.random.default_rng(0)
    rows, kernel = draw.normal(size=(5000, 6)) + 2, draw.normal(size=(6, 4))
    kernel[:3, :2] = kernel[3:, 2:] = 0
    seen = responses.RowMoments(kernel)
    seen.update(rows)

    zero = seen.about_zero()
    second = kernel.T @ (rows.T @ rows / len(rows)) @ kernel
    np.testing.assert_allclose(zero.responses(kernel), second, rtol=1e-3, atol=0.05)
    assert not zero.mean.any()

    part = seen.part(np.arange(3, 6), slice(0, 2))
    own = kernel[3:, :2]
    expected = own.T @ np.cov(rows[:, 3:].T) @ own
    np.testing.assert_allclose(part.responses(own), expected, rtol=1e-2, atol=0.05)
    np.testing.assert_allclose(part.mean, rows[:, 3:].mean(axis=0), rtol=1e-5)


def test_blocks_of_a_kernel_are_corrected_by_themselves() -> None:
    """Zeros outside the blocks stay, and each block is the best for its own rows."""
    draw = np.random.default_rng(0)
    kernel = np.zeros((6, 4))
    kernel[:3, :2], kernel[3:, 2:] = draw.normal(size=(2, 3, 2))
    before = draw.normal(size=(4000, 6))
    after = before + 0.3 * draw.normal(size=(4000, 6)) + before[:, ::-1]

    found, _ = responses.corrected_kernel(kernel, after, before @ kernel)

    assert not found[:3, 2:].any()
    assert not found[3:, :2].any()
    own, _ = responses.corrected_kernel(
        kernel[:3, :2], after[:, :3], before[:, :3] @ kernel[:3, :2]
    )
    np.testing.assert_allclose(found[:3, :2], own, rtol=1e-3)
