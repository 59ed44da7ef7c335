"""The methods through their one door: what each promises, which one is taken, what guards them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lrcompress import lowrank
from lrcompress.errors import KernelError, RankError
from lrcompress.lowrank import METHODS, Factors, InputMoments, Problem, Setting, choose_method
from lrcompress.lowrank.methods.problem import better, loss_of
from lrcompress.lowrank.objectives import ACTIVATIONS
from tests.lowrank.layers import Layer, moments_of, solve


@pytest.fixture(scope="module")
def layer() -> Layer:
    """Return the layer that most tests share."""
    return Layer()


def test_whitened_is_reduced_rank_regression(layer: Layer) -> None:
    """The error is that of projecting the outputs on their own leading directions."""
    target = layer.logits() - layer.logits().mean(axis=0)
    s = np.linalg.svd(target, compute_uv=False)

    factors = layer.at(3, "whitened", moments=layer.moments, softmax=False)

    error = np.square(layer.logits() - layer.logits(factors)).sum()
    assert error == pytest.approx(np.square(s[3:]).sum(), rel=5e-3)


def test_whitened_without_a_bias(layer: Layer) -> None:
    """A layer without a bias keeps none, and the best solution without one is returned."""
    x = layer.x.astype(np.float64)
    target = x @ layer.kernel

    factors, allowed = (
        solve(
            layer.kernel, None, 3, "whitened",
            moments=layer.moments, softmax=False, allow_bias=allow,
        )
        for allow in (False, True)
    )  # fmt: skip

    assert factors.bias is None
    assert allowed.bias is not None
    s = np.linalg.svd(target, compute_uv=False)
    assert np.square(target - x @ factors.product()).sum() == pytest.approx(
        np.square(s[3:]).sum(), rel=5e-3
    )


@pytest.mark.parametrize("samples", [1, 5, 20])
def test_few_samples_and_constant_inputs(samples: int) -> None:
    """Fewer samples than features, and inputs that never vary, give finite factors."""
    few = Layer(samples=samples)

    for moments in (few.moments, moments_of(np.ones((samples, 24)))):
        factors = few.at(3, "whitened", moments=moments)
        assert np.isfinite(factors.B).all()
        assert np.isfinite(factors.C).all()


def test_moments_that_do_not_serve(layer: Layer) -> None:
    """No inputs, inputs of another size and inputs that are not finite are refused."""
    for moments, code in (
        (InputMoments(24), "moments"), (InputMoments(5), "moments"),
        (moments_of(np.full((3, 24), np.nan)), "activations_not_finite"),
    ):  # fmt: skip
        with pytest.raises(KernelError) as refused:
            layer.at(3, "whitened", moments=moments)
        assert refused.value.code == code


def test_inputs_that_are_not_finite(layer: Layer) -> None:
    """They are refused by each method that learns from them."""
    broken = np.where(np.arange(800)[:, None] == 3, np.nan, layer.x)

    for method in ("whitened", "weighted", "refined"):
        with pytest.raises(KernelError) as refused:
            layer.at(3, method, inputs=broken)
        assert refused.value.code == "activations_not_finite"


@pytest.mark.parametrize("method", ["svd", "centered", "whitened"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_closed_forms_of_all_ranks_are_those_of_each(layer: Layer, method: str, dtype: str) -> None:
    """One decomposition gives at every rank what asking for that rank alone gives."""
    kernel, bias = layer.kernel.astype(dtype), layer.bias.astype(dtype)
    problem = Problem(kernel, bias, softmax=True, moments=layer.moments)

    together = lowrank.factorize_ranks(problem, [5, 1, 7, 3], method)

    assert sorted(together) == [1, 3, 5, 7]
    tolerance = 3e-3 if dtype == "float16" else 1e-5
    for rank, found in together.items():
        alone = solve(kernel, bias, rank, method, moments=layer.moments)
        assert found.rank == rank
        assert found.method == method
        assert found.B.dtype == np.dtype(dtype)
        np.testing.assert_allclose(found.product(), alone.product(), atol=tolerance)
        ours, theirs = found.certificate, alone.certificate
        assert ours.frobenius_error == pytest.approx(theirs.frobenius_error, abs=tolerance)
        assert ours.optimum_frobenius_error == pytest.approx(
            theirs.optimum_frobenius_error, abs=tolerance
        )


def test_no_ranks_no_factors(layer: Layer) -> None:
    """Asked for nothing, nothing is computed."""
    assert lowrank.factorize_ranks(Problem(layer.kernel), [], "svd") == {}


@pytest.mark.parametrize(
    ("softmax_follows", "has_data", "is_head", "method", "why"),
    [
        (True, True, True, "refined", "the best method, since there is data to calibrate on"),
        (False, True, True, "refined", "the best method, since there is data to calibrate on"),
        (True, False, True, "centered",
         "the best method without data; softmax does not see what it removes"),
        (False, False, True, "svd",
         "the best method without data for a layer that softmax does not follow"),
        (False, True, False, "whitened",
         "the best method for a hidden layer, since there is data to calibrate on"),
        (True, False, False, "svd", "the best method without data for a hidden layer"),
    ],
)  # fmt: skip
def test_auto(
    layer: Layer, softmax_follows: bool, has_data: bool, is_head: bool, method: str, why: str
) -> None:
    """`auto` takes the best that the data and the layer allow, says why, and the door takes it."""
    problem = Problem(
        layer.kernel, layer.bias, softmax=softmax_follows, is_head=is_head,
        inputs=layer.x if has_data else None,
    )  # fmt: skip

    assert choose_method("auto", problem.setting) == (method, why)
    assert lowrank.factorize_ranks(problem, [2])[2].method == method


@pytest.mark.parametrize(
    ("method", "setting", "found"),
    [
        ("svd", Setting(softmax=True), ("svd", "as asked")),
        ("refined", Setting(is_head=False, given="inputs"), ("refined", "as asked")),
        ("centered", Setting(softmax=True), ("centered", "as asked")),
        ("centered", Setting(softmax=False), (
            "centered", "as asked; no softmax follows, so the outputs are moved by their mean")),
        ("centered", Setting(has_bias=False), (
            "centered", "as asked; no softmax follows, so the outputs lose their mean over the classes")),
        ("centered", Setting(softmax=True, is_head=False, given="inputs"), (
            "svd", "instead of centered, which would move the outputs of a hidden layer")),
    ],
)  # fmt: skip
def test_methods_as_asked(method: str, setting: Setting, found: tuple[str, str]) -> None:
    """Each is taken as asked, and what speaks against it is said."""
    assert choose_method(method, setting) == found


def test_hidden_layers_are_not_centred(layer: Layer) -> None:
    """Asked for centred, a hidden layer gets the literal truncated SVD."""
    found = layer.at(3, "centered", is_head=False)

    assert found.method == "svd"
    assert found.bias is None


@pytest.mark.parametrize("method", ["whitened", "weighted", "refined"])
def test_methods_that_need_data(layer: Layer, method: str) -> None:
    """Without data they are refused with the option that gives them; some want inputs."""
    given: Any = {} if method == "whitened" else {"moments": layer.moments}
    with pytest.raises(RankError, match="--dataset") as refused:
        choose_method(method, Setting(softmax=True))
    with pytest.raises(RankError):
        layer.at(3, method, **given)

    assert refused.value.code == "needs_data"


def test_single_door(layer: Layer) -> None:
    """Each method is reached through it, and says its name."""
    for method in lowrank.METHODS:
        found = layer.at(3, method, moments=layer.moments, inputs=layer.x)
        assert found.method == method
        assert found.B.dtype == np.float32
    with pytest.raises(
        RankError, match=r"expected auto, svd, centered, whitened, weighted, refined\."
    ):
        choose_method("magic", Setting())


@pytest.mark.parametrize("method", ["whitened", "refined"])
def test_door_gathers_the_moments_itself(layer: Layer, method: str) -> None:
    """Inputs alone are enough, and give the same bytes as with their moments."""
    alone = layer.at(3, method, inputs=layer.x)
    both = layer.at(3, method, inputs=layer.x, moments=layer.moments)

    assert alone.B.tobytes() == both.B.tobytes()
    assert alone.C.tobytes() == both.C.tobytes()


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", "softplus"])
def test_hidden_layers_keep_their_own_output(activation: str) -> None:
    """Refined is nearer than whitened to what a hidden layer hands on; neither is centred."""
    layer = Layer(20, 12, 2000)
    bias = layer.bias - 1
    value = ACTIVATIONS[activation]

    def error(found: Factors) -> float:
        z = (layer.x @ found.product() + found.bias).astype(np.float32)
        return float(np.square(value(z)[0] - value(layer.x @ layer.kernel + bias)[0]).mean())

    found = {
        method: solve(
            layer.kernel, bias, 4, method,
            softmax=False, activation=activation, is_head=False, inputs=layer.x,
        )
        for method in ("whitened", "refined")
    }  # fmt: skip

    assert found["refined"].method == "refined"
    assert error(found["refined"]) < 0.9 * error(found["whitened"])


@pytest.mark.parametrize("method", ["whitened", "refined"])
@pytest.mark.parametrize("softmax", [True, False])
def test_a_bias_only_where_it_is_allowed(layer: Layer, method: str, softmax: bool) -> None:
    """A layer without bias keeps none unless allowed, and one that is allowed helps."""
    problem = Problem(layer.kernel, None, softmax=softmax, inputs=layer.x)

    without, allowed = (
        solve(
            layer.kernel, None, 3, method, softmax=softmax, inputs=layer.x, allow_bias=allow
        )
        for allow in (False, True)
    )  # fmt: skip

    assert without.bias is None
    assert allowed.bias is not None
    assert allowed.bias.shape == (7,)
    assert loss_of(allowed, problem) < loss_of(without, problem)


def test_the_guard_returns_the_better_one(layer: Layer) -> None:
    """Factors that are worse on the held-out inputs than those without data give way to them."""
    problem = Problem(layer.kernel, layer.bias, softmax=True, inputs=layer.x)
    good, bad = layer.at(4, "centered"), solve(-layer.kernel, layer.bias, 4, "centered")

    assert better({4: bad}, {4: good}, problem) == {4: good}
    assert better({4: good}, {4: bad}, problem) == {4: good}


@pytest.mark.parametrize("samples", [1, 3, 10, 15, 19])
@pytest.mark.parametrize("softmax", [True, False])
def test_few_samples_never_worse_on_those_held_out(samples: int, softmax: bool) -> None:
    """With fewer inputs than features no method loses to the best without data."""
    layer = Layer(20, 8, samples)
    problem = Problem(layer.kernel, layer.bias, softmax=softmax, inputs=layer.x)

    for rank in (1, 3, 6):
        base = layer.at(rank, "centered" if softmax else "svd", softmax=softmax)
        for method in ("whitened", "weighted", "refined"):
            found = layer.at(rank, method, softmax=softmax, inputs=layer.x)
            assert loss_of(found, problem) <= loss_of(base, problem)


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
    found = lowrank.calibration_warnings((20, 8), count, method)

    assert len(found) == bool(words)
    for word in words:
        assert word in found[0]
        assert "\n" not in found[0]


def test_methods_need_what_is_said_of_them_before_they_are_loaded() -> None:
    """The registry and each method name the same."""
    assert {name: METHODS.needs(name) for name in METHODS} == {
        name: method.needs for name, method in METHODS.items()
    }


@pytest.mark.parametrize("method", ["centered", "whitened", "weighted"])
def test_lower_ranks_are_cut_from_what_is_known(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search over ranks decomposes once, measures the certificate that is read, and finds the same."""
    from lrcompress.lowrank import certificate, factorize_ranks
    from lrcompress.lowrank.methods import centered, whitened

    rng = np.random.default_rng(0)
    kernel, inputs = rng.standard_normal((12, 30)).astype("f4"), rng.standard_normal((400, 12))
    problem = Problem(kernel, np.zeros(30, "f4"), softmax=True, inputs=inputs.astype("f4"))
    alone = factorize_ranks(replace(problem), [3], method)[3]
    counted: list[str] = []

    def counting(module: Any, name: str) -> None:
        whole = getattr(module, name)

        def count(*args: Any, **named: Any) -> Any:
            counted.append(name)
            return whole(*args, **named)

        monkeypatch.setattr(module, name, count)

    for module in (centered, whitened):
        counting(module, "truncated_svd")
    counting(certificate, "_norms")

    factorize_ranks(problem, [8, 5], method)
    decomposed = counted.count("truncated_svd")
    found = factorize_ranks(problem, [3], method)[3]

    assert counted.count("truncated_svd") == decomposed
    np.testing.assert_allclose(found.B @ found.C, alone.B @ alone.C, atol=1e-5)
    before = len(counted)
    optimality = found.certificate.optimality
    assert len(counted) > before
    assert optimality == pytest.approx(alone.certificate.optimality, rel=1e-5)
