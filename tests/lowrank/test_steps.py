"""Damped steps of large heads: what they gain, what they leave, and what they never make worse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.events import listening
from lrcompress.lowrank import Factors, Problem, factorize_ranks
from lrcompress.lowrank.methods.problem import loss_of
from lrcompress.lowrank.refinement import descent, steps
from lrcompress.lowrank.refinement.outputs import Outputs, outputs_of
from lrcompress.lowrank.refinement.steps import Steps
from tests.lowrank.layers import solve


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let heads of sixty classes count as large."""
    monkeypatch.setattr(descent, "MOST_OUTPUTS", 1000)


def head(samples: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return kernel and bias of 60 classes of different frequency, and inputs."""
    rng = np.random.default_rng(100)
    mix = rng.standard_normal((20, 20)) / np.arange(1, 21)
    kernel = (rng.standard_normal((20, 60)) / 2).astype(np.float32)
    bias = -np.log(np.arange(1, 61, dtype=np.float32))
    z = np.random.default_rng(seed).standard_normal((samples, 20)) @ mix * 2
    return kernel, bias, np.maximum(z + 0.3, 0).astype(np.float32)


def fresh_loss(found: Factors, activation: str, bias: NDArray[Any]) -> float:
    """Return the KL on inputs that nothing was fitted to."""
    kernel, own, x = head(3000, seed=1)
    return outputs_of(x, kernel, own, activation).loss(
        found.B, found.C, bias if found.bias is None else found.bias
    )


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("has_bias", [True, False])
def test_steps_pay_on_fresh_inputs(activation: str, has_bias: bool) -> None:
    """They bring a head nearer to the original than the closed form does, also one without a bias."""
    kernel, bias, x = head(4000)
    given: Any = {"softmax": activation == "softmax", "activation": activation, "inputs": x}
    own = bias if has_bias else None

    refined, closed = (solve(kernel, own, 4, name, **given) for name in ("refined", "weighted"))

    assert refined.method == "refined"
    assert (refined.bias is None) is not has_bias
    unseen = Problem(kernel, own, **given)
    assert loss_of(refined, unseen) < 0.95 * loss_of(closed, unseen)
    if has_bias:
        assert fresh_loss(refined, activation, bias) < 0.95 * fresh_loss(closed, activation, bias)


@pytest.mark.parametrize("samples", [12, 40, 150])
def test_never_worse_than_the_closed_form_on_unseen_inputs(samples: int) -> None:
    """Where inputs are few the closed form, or the best without data, is returned under its own name."""
    kernel, bias, x = head(samples)
    problem = Problem(kernel, bias, softmax=True, inputs=x)

    for rank, found in factorize_ranks(problem, [1, 3, 8], "refined").items():
        best = loss_of(solve(kernel, bias, rank, "centered", inputs=x), problem)
        assert loss_of(found, problem) <= best


def test_a_step_minimises_its_model() -> None:
    """With heavy damping the way of the step is down, and the loss on its own inputs falls as the model says."""
    kernel, bias, x = head(3000)
    seen = outputs_of(x, kernel, bias, "softmax")
    found = solve(kernel, bias, 4, "weighted", inputs=x)
    walk = Steps(seen, seen, has_bias=True)
    start = walk._enter((found.B, found.C, found.bias))
    assert isinstance(seen, Outputs)

    step = walk._step(start, 1.0)

    slope = sum(float(np.vdot(g, s)) for g, s in zip(walk._gradient(start), step, strict=True))
    short = tuple(part + np.float32(0.1) * change for part, change in zip(start, step, strict=True))
    before, after = walk._loss(start), walk._loss(short)  # type: ignore[arg-type]
    assert slope < 0
    # The slope of the first tenth, less what the curvature takes away of it.
    assert 0.8 * 0.1 * slope > after - before > 1.05 * 0.1 * slope


def test_progress_ends_and_few_curved_inputs_mean_no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are told of to the last; where classes are too many for the inputs there are none."""
    kernel, bias, x = head(2000)
    told: list[tuple[int, int]] = []

    with listening(lambda task, done, total, figures: told.append((done, total))):
        solve(kernel, bias, 4, "refined", inputs=x)
    monkeypatch.setattr(steps, "MOST_CURVED", 60 * 60)
    without = solve(kernel, bias, 4, "refined", inputs=x)

    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1][0] == told[-1][1]
    assert without.method in ("weighted", "whitened")


def test_steps_do_not_depend_on_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one core and on several the result is the same to the byte."""
    kernel, bias, x = head(2000)
    found = []
    for count in (1, 3):
        monkeypatch.setattr("lrcompress.lowrank.matrix.core_count", lambda count=count: count)
        found.append(solve(kernel, bias, 4, "refined", inputs=x))

    assert found[0].method == "refined"
    assert found[0].C.tobytes() == found[1].C.tobytes()
