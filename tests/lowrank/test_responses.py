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

    found, _ = responses.Correction(kernel, [after[:1500], after[1500:]])(before @ kernel)

    assert not found[:3, 2:].any()
    assert not found[3:, :2].any()
    own, _ = responses.Correction(kernel[:3, :2], [after[:, :3]])(before[:, :3] @ kernel[:3, :2])
    np.testing.assert_allclose(found[:3, :2], own, rtol=1e-3)


def test_errors_of_a_wide_kernel_are_judged_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the covariance is not kept, what counts is still what the responses lose, and not the weights."""
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(2000, 8)) * 0.3 ** np.arange(8) + 3
    kernel = draw.normal(size=(8, 5))
    other = kernel + draw.normal(size=(8, 5))
    whole = responses.RowMoments(kernel)
    monkeypatch.setattr(responses, "WIDE", 7)
    wide = responses.RowMoments(kernel)
    for start in range(0, len(rows), 100):
        whole.update(rows[start : start + 100])
        wide.update(rows[start : start + 100])

    expected = responses.relative_error_of(kernel, whole)(other)

    assert not wide.is_whole
    assert responses.relative_error_of(kernel, wide)(other) == pytest.approx(expected, rel=0.15)
    assert abs(responses.relative_error_of(kernel, None)(other) / expected - 1) > 0.3
    assert responses.relative_error_of(kernel, wide)(kernel) == 0
    part = wide.part(np.arange(4), slice(0, 2))
    assert part.some.shape == (512, 4)
    np.testing.assert_allclose(wide.about_zero().some.mean(axis=0), rows.mean(axis=0), atol=0.2)


def test_few_rows_correct_a_kernel_as_many_do() -> None:
    """The way through the matrix of the rows gives what the way through that of the features gives."""
    draw = np.random.default_rng(0)
    kernel, rows = draw.normal(size=(30, 4)), draw.normal(size=(20, 30))
    wanted = rows @ kernel + draw.normal(size=(20, 4))

    found, constant = responses.Correction(kernel, [rows])(wanted)

    x, y = rows - rows.mean(axis=0), wanted - wanted.mean(axis=0)
    gram = x.T @ x
    gram += (1e-6 + 1e-2 * 30 / 20) * np.trace(gram) / 30 * np.eye(30)
    expected = kernel + np.linalg.solve(gram, x.T @ (y - x @ kernel))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(constant, wanted.mean(axis=0) - rows.mean(axis=0) @ found, atol=1e-4)
