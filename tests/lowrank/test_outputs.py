"""What a layer says of its inputs, summed up, and the closed form that weighs classes by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.errors import KernelError
from lrcompress.events import listening
from lrcompress.lowrank import Factors, Problem, factorize_ranks
from lrcompress.lowrank.refinement import outputs, room
from lrcompress.lowrank.refinement.outputs import Outputs, output_weights, outputs_of
from tests.lowrank.layers import Layer, softmax, solve


def probabilities(z: NDArray[Any], head: str) -> NDArray[Any]:
    """Return what a head makes of logits."""
    return softmax(z) if head == "softmax" else np.asarray(1 / (1 + np.exp(-z)))


def divergence(z: NDArray[Any], found: NDArray[Any], head: str) -> float:
    """Return the mean KL between logits, summed over the units of a sigmoid."""
    p, q = probabilities(z, head), probabilities(found, head)
    each = p * np.log(p / q)
    if head == "sigmoid":
        each += (1 - p) * np.log((1 - p) / (1 - q))
    return float(each.sum(axis=1).mean())


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_sums_tell_the_divergence_of_any_layer(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block by block and class by class they are the sums over all outputs at once."""
    monkeypatch.setattr(outputs, "CHUNK", 3)
    monkeypatch.setattr(outputs, "MOST_ROWS", 70)
    layer = Layer()
    z = layer.logits()
    p = probabilities(z, head)

    seen = outputs_of(layer.x, layer.kernel, layer.bias, head)

    np.testing.assert_allclose(seen.crossed, layer.x.T @ p / len(p), atol=1e-6)
    np.testing.assert_allclose(seen.share, p.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(seen.spread, (p * (1 - p)).mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(
        output_weights(layer.x, layer.kernel, layer.bias, head), seen.weights
    )
    found = layer.at(3, "svd")
    loss = seen.loss(found.B, found.C, layer.bias)
    assert loss == pytest.approx(divergence(z, layer.logits(found), head), abs=1e-5)


def rare_classes(seed: int = 0) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return kernel, bias and inputs of 60 classes, of which a few make up most of the outputs."""
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((20, 60)).astype(np.float32) / np.float32(4)
    bias = (-2 * np.log(np.arange(1, 61))).astype(np.float32)
    return kernel, bias, rng.standard_normal((3000, 20)).astype(np.float32)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_weights_pay_where_classes_differ_in_frequency(activation: str) -> None:
    """On fresh inputs the weighted layer is far nearer to the original than the whitened one."""
    kernel, bias, x = rare_classes()
    fresh = outputs_of(rare_classes(1)[2], kernel, bias, activation)

    def loss(method: str) -> float:
        found = solve(
            kernel, bias, 8, method,
            softmax=activation == "softmax", activation=activation, inputs=x,
        )  # fmt: skip
        assert found.method in (method, "centered")
        return fresh.loss(found.B, found.C, np.asarray(found.bias))

    assert loss("weighted") < 0.7 * loss("whitened")


def test_the_weighted_layer_is_the_least_of_its_weighted_error() -> None:
    """No change of the factors makes the weighted error of the outputs smaller, and its certificate is 1."""
    kernel, bias, x = rare_classes()
    problem = Problem(kernel.astype(np.float64), bias.astype(np.float64), softmax=True, inputs=x)
    found = factorize_ranks(problem, [5], "weighted")[5]
    seen = problem.seen
    assert isinstance(seen, Outputs)
    w = seen.weights / seen.weights.sum()

    def error(factors: Factors, B: NDArray[Any], C: NDArray[Any]) -> float:
        apart = x @ (kernel - B @ C) + bias - factors.bias
        apart -= (apart @ w)[:, None]
        return float((np.square(apart) @ w).mean())

    least = error(found, found.B, found.C)
    rng = np.random.default_rng(0)
    for _ in range(20):
        B, C = (part + 1e-3 * rng.standard_normal(part.shape) for part in (found.B, found.C))
        assert least < error(found, B, C)
    assert found.certificate.minimised.optimality == pytest.approx(1, abs=1e-6)


def test_wide_layers_are_weighted_by_the_covariance_of_their_outputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both ways to the solution agree."""
    layer = Layer(m=30, n=12, samples=4000)
    direct = layer.at(4, "weighted", inputs=layer.x)
    monkeypatch.setattr("lrcompress.lowrank.moments.WIDE", 16)
    found = layer.at(4, "weighted", inputs=layer.x)

    np.testing.assert_allclose(found.product(), direct.product(), atol=2e-3)


def test_large_kernels_are_solved_in_their_own_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32 the result is the same but for rounding."""
    kernel, bias, x = rare_classes()
    exact = solve(kernel, bias, 6, "weighted", inputs=x)
    monkeypatch.setattr("lrcompress.lowrank.methods.whitened.EXACT", 0)
    found = solve(kernel, bias, 6, "weighted", inputs=x)

    np.testing.assert_allclose(found.product(), exact.product(), atol=1e-4)
    assert found.bias is not None
    assert exact.bias is not None
    np.testing.assert_allclose(found.bias, exact.bias, atol=1e-4)


def test_too_little_memory_is_an_error_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a large head takes is said, and refused where it does not fit; small ones are not looked at."""
    said: list[str] = []
    monkeypatch.setattr(room, "free_memory", lambda: 4 * 10**9)
    with listening(remark=said.append):
        room.check_room((512, 10_000), 64, 5_000)
        room.check_room((768, 50_257), 128, 20_000)
        with pytest.raises(
            KernelError, match=r"up to 5\.\d GB of memory, and 4\.0 GB are free"
        ) as refused:
            room.check_room((256, 1_000_000), 64, 5_000)

    assert refused.value.code == "memory"
    assert said == ["Calibrating a layer of 768 x 50,257 at rank 128 takes up to 1.3 GB of memory."]
    kernel, bias, x = rare_classes()
    monkeypatch.setattr(room, "WORTH_SAYING", 0)
    monkeypatch.setattr(room, "free_memory", lambda: 1000)
    with pytest.raises(KernelError, match="fewer inputs"):
        solve(kernel, bias, 4, "weighted", inputs=x)
