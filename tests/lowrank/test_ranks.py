"""Every rank from one decomposition; hidden layers; biases that are added; the guard."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress import lowrank
from lrcompress.lowrank import Factors, InputMoments
from lrcompress.lowrank.activations import ACTIVATIONS
from lrcompress.lowrank.guarding import better, held_out_problem, loss_of
from lrcompress.lowrank.objectives import Objective, head_of


def inputs(samples: int = 600, m: int = 20, seed: int = 0) -> NDArray[np.float32]:
    """Return correlated inputs as after a relu."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((samples, m)) @ rng.standard_normal((m, m)) / np.sqrt(m)
    return np.maximum(mixed + 0.3, 0).astype(np.float32)


def layer(
    m: int = 20, n: int = 8, seed: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a kernel and a bias."""
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((m, n)).astype(np.float32),
        rng.standard_normal(n).astype(np.float32),
    )


@pytest.mark.parametrize("method", ["svd", "centered", "whitened"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_closed_forms_of_all_ranks_are_those_of_each(method: str, dtype: str) -> None:
    """One decomposition gives at every rank what asking for that rank alone gives."""
    kernel, bias = (part.astype(dtype) for part in layer())
    moments = InputMoments(20)
    moments.update(inputs())

    together = lowrank.factorize_ranks(
        kernel, bias, [5, 1, 8, 3], method, softmax=True, moments=moments
    )

    assert sorted(together) == [1, 3, 5, 8]
    tolerance = 3e-3 if dtype == "float16" else 1e-5
    for rank, found in together.items():
        alone = lowrank.factorize_kernel(kernel, bias, rank, method, softmax=True, moments=moments)
        assert found.rank == rank
        assert found.method == method
        assert found.B.dtype == np.dtype(dtype)
        np.testing.assert_allclose(found.product(), alone.product(), atol=tolerance)
        ours, theirs = found.certificate, alone.certificate
        assert ours.frobenius_error == pytest.approx(theirs.frobenius_error, abs=tolerance)
        assert ours.optimum_frobenius_error == pytest.approx(
            theirs.optimum_frobenius_error, abs=tolerance
        )


def test_one_pass_gives_every_refined_rank() -> None:
    """Progress is told once a rank, and each rank is certified against the kernel."""
    kernel, bias = layer()
    told: list[tuple[int, int]] = []

    found = lowrank.factorize_ranks(
        kernel, bias, [2, 4], "refined", softmax=True, activations=inputs(),
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip

    assert sorted(found) == [2, 4]
    assert told == [(k + 1, len(told)) for k in range(len(told))]
    for rank, factors in found.items():
        assert factors.rank == rank
        assert factors.certificate.optimality >= 1


def test_no_ranks_no_factors() -> None:
    """Asked for nothing, nothing is computed."""
    assert lowrank.factorize_ranks(layer()[0], None, [], "svd", softmax=True) == {}


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


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", "softplus"])
def test_hidden_layers_keep_their_own_output(activation: str) -> None:
    """Refined is nearer than whitened to what a hidden layer hands on; neither is centred."""
    kernel, bias = layer(n=12)
    bias -= 1
    x = inputs(2000)
    value = ACTIVATIONS[activation]

    def error(found: Factors) -> float:
        z = (x @ found.product() + found.bias).astype(np.float32)
        return float(np.square(value(z)[0] - value(x @ kernel + bias)[0]).mean())

    found = {
        method: lowrank.factorize_kernel(
            kernel, bias, 4, method,
            softmax=False, activation=activation, is_head=False, activations=x,
        )
        for method in ("whitened", "refined")
    }  # fmt: skip

    assert found["refined"].method == "refined"
    assert error(found["refined"]) < 0.9 * error(found["whitened"])


def test_hidden_layers_are_not_centred() -> None:
    """Asked for centred, a hidden layer gets the literal truncated SVD, and is told why."""
    method, reason = lowrank.choose_method(
        "centered", softmax=False, has_bias=True, has_data=False, is_head=False
    )
    kernel, bias = layer()

    found = lowrank.factorize_kernel(kernel, bias, 3, "centered", softmax=True, is_head=False)

    assert method == found.method == "svd"
    assert "hidden" in reason
    assert found.bias is None


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


@pytest.mark.parametrize("method", ["whitened", "refined"])
@pytest.mark.parametrize("softmax", [True, False])
def test_a_bias_only_where_it_is_allowed(method: str, softmax: bool) -> None:
    """A layer without bias keeps none unless allowed, and one that is allowed helps."""
    kernel, x = layer()[0], inputs()
    held_out = held_out_problem(kernel, None, x, "softmax" if softmax else "linear")

    without, allowed = (
        lowrank.factorize_kernel(
            kernel, None, 3, method, softmax=softmax, activations=x, allow_bias=allow
        )
        for allow in (False, True)
    )

    assert without.bias is None
    assert allowed.bias is not None
    assert allowed.bias.shape == (8,)
    assert loss_of(held_out, allowed, None) < loss_of(held_out, without, None)


def test_the_guard_returns_the_better_one() -> None:
    """Factors that are worse on the held-out inputs than those without data give way to them."""
    kernel, bias = layer()
    x = inputs()
    good, bad = lowrank.centered(kernel, bias, 4), lowrank.centered(-kernel, bias, 4)

    held_out = held_out_problem(kernel, bias, x, "softmax")

    assert better({4: bad}, {4: good}, bias, held_out) == {4: good}
    assert better({4: good}, {4: bad}, bias, held_out) == {4: good}


@pytest.mark.parametrize("samples", [1, 3, 10, 15, 19])
@pytest.mark.parametrize("softmax", [True, False])
def test_few_samples_never_worse_on_those_held_out(samples: int, softmax: bool) -> None:
    """With fewer inputs than features no method loses to the best without data."""
    kernel, bias = layer()
    x = inputs(samples)
    without = "centered" if softmax else "svd"
    head = "softmax" if softmax else "linear"
    held_out = held_out_problem(kernel, bias, x, head)

    for rank in (1, 3, 6):
        base = lowrank.factorize_kernel(kernel, bias, rank, without, softmax=softmax)
        for method in ("whitened", "refined"):
            found = lowrank.factorize_kernel(
                kernel, bias, rank, method, softmax=softmax, activations=x
            )
            assert loss_of(held_out, found, bias) <= loss_of(held_out, base, bias)


@pytest.mark.parametrize(
    ("count", "method", "words"),
    [
        (10, "refined", ["10", "fewer inputs than features", "at least 100"]),
        (40, "whitened", ["40", "at least 100"]),
        (100, "refined", []),
        (1, "centered", []),
        (1, "svd", []),
    ],
)
def test_warnings(count: int, method: str, words: list[str]) -> None:
    """Few inputs are warned about, for the methods that learn from them."""
    found: Any = lowrank.calibration_warnings((20, 8), count, method)

    assert len(found) == bool(words)
    for word in words:
        assert word in found[0]
        assert "\n" not in found[0]
