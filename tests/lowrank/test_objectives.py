"""Losses between outputs with their derivatives, and rows shared out among cores."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from lrcompress.lowrank import matrix
from lrcompress.lowrank.objectives import ACTIVATIONS, Imitated, Objective, head_of, imitated


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_derivatives_of_activations(name: str) -> None:
    """Each derivative is the slope of its own value."""
    z = np.linspace(-4, 7.5, 93).astype(np.float32)
    h = np.float32(1e-2)

    _, derivative = ACTIVATIONS[name](z)

    rise = (ACTIVATIONS[name](z + h)[0] - ACTIVATIONS[name](z - h)[0]) / (2 * h)
    # Not at the corners: 0 of relu, 6 of relu6, 3 on both sides of hard_sigmoid.
    corners = np.array([0, 6, 3, -3])
    smooth = (np.abs(z[:, None] - corners) > 2 * h).all(axis=1)
    np.testing.assert_allclose(derivative[smooth], rise[smooth], atol=5e-3)


@pytest.mark.parametrize(
    "name", ["softmax", "sigmoid", "linear", "relu", "squared_sigmoid", "gelu"]
)
def test_slopes_of_objectives(name: str) -> None:
    """The slope of a loss is its finite difference, and zero at the target's own logits."""
    rng = np.random.default_rng(0)
    own, other = (rng.standard_normal((5, 4)).astype(np.float32) for _ in range(2))
    objective = Objective(name)
    target = objective.target(own.copy())
    direction, h = rng.standard_normal((5, 4)).astype(np.float32), np.float32(1e-2)

    def loss(z: NDArray[np.float32]) -> float:
        return objective.loss_and_slope(z.copy(), target)[0]

    slope = objective.loss_and_slope(other.copy(), target)[1]
    rise = (loss(other + h * direction) - loss(other - h * direction)) / (2 * h)

    assert float((slope * direction).sum()) == pytest.approx(rise, rel=2e-2, abs=2e-2)
    np.testing.assert_allclose(objective.loss_and_slope(own.copy(), target)[1], 0, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "softmax", "is_head", "head"),
    [
        ("softmax", True, True, "softmax"),
        ("linear", True, True, "softmax"),
        ("sigmoid", False, True, "sigmoid"),
        ("sigmoid", False, False, "squared_sigmoid"),
        ("linear", False, True, "linear"),
        ("relu", False, False, "relu"),
        ("tanh", False, True, "tanh"),
        ("my_own", False, False, "linear"),
        ("linear", True, False, "linear"),
    ],
)
def test_objectives_of_layers(activation: str, softmax: bool, is_head: bool, head: str) -> None:
    """The objective is that of what the layer is for."""
    assert head_of(activation, softmax=softmax, is_head=is_head) == head


def _problem(rows: int) -> Imitated:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 12), dtype=np.float32)
    return imitated(x, rng.standard_normal((12, 5), dtype=np.float32), None, "softmax")


@pytest.mark.parametrize("rows", [0, 1, 2047, 2048, 4096, 8191, 8192, 10_001, 50_000])
@pytest.mark.parametrize("count", [1, 2, 3, 64])
def test_shares_cover_every_row_once(
    rows: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of all shares begin at every 2,048th row, in order."""
    monkeypatch.setattr(matrix, "core_count", lambda: count)

    shares = matrix.over_shares(rows, list, 2048)

    assert [start for share in shares for start in share] == list(range(0, rows, 2048))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_gradient_does_not_depend_on_cores(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradient over shares are those over all rows at once, up to rounding."""
    problem = _problem(30_000)
    rng = np.random.default_rng(1)
    head = (
        rng.standard_normal((12, 3), dtype=np.float32),
        rng.standard_normal((3, 5), dtype=np.float32),
        rng.standard_normal(5, dtype=np.float32),
    )
    x, p = problem.x.astype(np.float64), problem.target.astype(np.float64)
    z = x @ head[0] @ head[1] + head[2]
    log_q = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    slope = (np.exp(log_q) - p) / len(x)
    monkeypatch.setattr(matrix, "core_count", lambda: count)

    loss, (by_first, by_second, by_bias) = problem.loss_and_gradient(*head)

    assert loss == pytest.approx(-(p * log_q).sum() / len(x), rel=1e-6)
    assert problem.loss(*head) == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(by_first, x.T @ slope @ head[1].T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_second, (x @ head[0]).T @ slope, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(by_bias, slope.sum(axis=0), rtol=1e-4, atol=1e-5)


def test_heads_with_many_classes_are_worked_on_in_small_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A few thousand rows of many logits are shared out too; targets and loss are the same."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 12), dtype=np.float32)
    kernel = rng.standard_normal((12, 5), dtype=np.float32)
    head = (kernel[:, :3], kernel[:3], np.ones(5, np.float32))
    whole = imitated(x, kernel, None, "softmax")
    loss = whole.loss(*head)
    monkeypatch.setattr("lrcompress.lowrank.objectives.BLOCK_OUTPUTS", 200)
    monkeypatch.setattr(matrix, "core_count", lambda: 3)

    parts = imitated(x, kernel, None, "softmax")

    assert parts.block == 40
    assert len(matrix.over_shares(300, list, parts.block)) == 3
    np.testing.assert_allclose(parts.target, whole.target, rtol=1e-5)
    assert parts.loss(*head) == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(parts.picked(*head), whole.picked(*head), rtol=1e-5)


def test_one_blas_thread_for_a_while() -> None:
    """BLAS has one thread inside and its own number after."""
    before = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with matrix.one_blas_thread():
        inside = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    after = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    assert set(inside) == {1}
    assert after == before


def test_an_activation_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry is enough for a layer to be judged by its own outputs; without it, it is taken for linear."""
    before = head_of("square", softmax=False, is_head=False)
    monkeypatch.setitem(ACTIVATIONS, "square", lambda z: (z * z, 2 * z))
    z = np.array([[1.0, -3.0]], np.float32)

    objective = Objective(head_of("square", softmax=False, is_head=False))
    loss, slope = objective.loss_and_slope(z.copy(), objective.target(2 * z))

    assert (before, objective.head) == ("linear", "square")
    assert loss == ((1 - 4) ** 2 + (9 - 36) ** 2) / 2
    np.testing.assert_allclose(slope, (z**2 - 4 * z**2) * 2 * z)
