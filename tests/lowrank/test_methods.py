"""Centred, whitened and refined heads, moments, and the rank rules."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lrcompress import lowrank
from lrcompress.errors import KernelError, RankError
from lrcompress.lowrank import InputMoments
from lrcompress.lowrank.refine import schedule


def softmax(z: NDArray[Any]) -> NDArray[Any]:
    """Return class probabilities."""
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def centre(matrix: NDArray[Any]) -> NDArray[Any]:
    """Return a matrix whose rows have mean zero."""
    return np.asarray(matrix - matrix.mean(axis=-1, keepdims=True))


class Head:
    """A head with correlated, uncentred, partly dead inputs, as after a relu."""

    def __init__(self, m: int = 24, n: int = 7, samples: int = 800, seed: int = 0) -> None:
        """Draw it."""
        rng = np.random.default_rng(seed)
        mixed = rng.standard_normal((samples, m)) @ rng.standard_normal((m, m)) / np.sqrt(m)
        self.x = np.maximum(mixed + 0.3, 0).astype(np.float32)
        self.x[:, 0] = 0
        self.kernel = rng.standard_normal((m, n)).astype(np.float32)
        self.bias = rng.standard_normal(n).astype(np.float32)
        self.moments = InputMoments(m)
        self.moments.update(self.x)

    def logits(self, factors: lowrank.Factors | None = None) -> NDArray[Any]:
        """Return the outputs on the inputs, before the activation."""
        x = self.x.astype(np.float64)
        if factors is None:
            return np.asarray(x @ self.kernel + self.bias)
        bias = self.bias if factors.bias is None else factors.bias
        return np.asarray(x @ factors.product() + bias)

    def output_error(self, factors: lowrank.Factors) -> float:
        """Return the mean square of what the mean-free logits lose."""
        return float(np.square(centre(self.logits() - self.logits(factors))).mean())

    def kl(self, factors: lowrank.Factors, part: slice = slice(None)) -> float:
        """Return the mean KL from the original's predictions to the factors'."""
        p, q = softmax(self.logits())[part], softmax(self.logits(factors))[part]
        return float((p * (np.log(p) - np.log(q))).sum(axis=-1).mean())


@pytest.fixture(scope="module")
def head() -> Head:
    """Return the head that most tests share."""
    return Head()


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 12), m=st.integers(2, 30))
@settings(max_examples=40)
def test_centred_is_exact_below_full_rank(seed: int, n: int, m: int) -> None:
    """At rank n - 1 the probabilities are the original's."""
    drawn = Head(max(m, n), n, 30, seed)

    factors = lowrank.centered(drawn.kernel, drawn.bias, n - 1)

    np.testing.assert_allclose(
        softmax(drawn.logits(factors)), softmax(drawn.logits()), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("rank", [1, 2, 4, 6])
def test_centred_is_best_for_the_mean_free_kernel(head: Head, rank: int) -> None:
    """In the Frobenius norm of the mean-free kernel no method is nearer."""
    target = centre(head.kernel.astype(np.float64))

    ours = lowrank.centered(head.kernel, head.bias, rank)
    literal = lowrank.truncated_svd(head.kernel, rank)

    sigma = np.linalg.svd(target, compute_uv=False)
    error = np.linalg.norm(target - centre(ours.product()))
    assert error == pytest.approx(np.sqrt(np.square(sigma[rank:]).sum()), rel=1e-5, abs=1e-5)
    assert error <= np.linalg.norm(target - centre(literal.product())) * (1 + 1e-6)
    assert ours.certificate.optimality >= 1


@pytest.mark.parametrize("rank", range(1, 8))
def test_whitened_is_best_on_the_outputs(head: Head, rank: int) -> None:
    """On the calibration inputs whitened is at most svd and at most centred, at every rank."""
    whitened = lowrank.whitened(head.kernel, head.bias, rank, head.moments, softmax=True)

    error = head.output_error(whitened)
    for other in (
        lowrank.truncated_svd(head.kernel, rank),
        lowrank.centered(head.kernel, head.bias, rank),
    ):
        assert error <= head.output_error(other) * (1 + 1e-3) + 1e-6


def test_whitened_is_reduced_rank_regression(head: Head) -> None:
    """The error is that of projecting the outputs on their own leading directions."""
    target = head.logits() - head.logits().mean(axis=0)
    s = np.linalg.svd(target, compute_uv=False)

    factors = lowrank.whitened(head.kernel, head.bias, 3, head.moments, softmax=False)

    error = np.square(head.logits() - head.logits(factors)).sum()
    assert error == pytest.approx(np.square(s[3:]).sum(), rel=5e-3)


def test_whitened_without_a_bias(head: Head) -> None:
    """A layer without a bias keeps none, and the best solution without one is returned."""
    x = head.x.astype(np.float64)
    target = x @ head.kernel

    factors = lowrank.whitened(head.kernel, None, 3, head.moments, softmax=False)
    allowed = lowrank.whitened(head.kernel, None, 3, head.moments, softmax=False, allow_bias=True)

    assert factors.bias is None
    assert allowed.bias is not None
    s = np.linalg.svd(target, compute_uv=False)
    assert np.square(target - x @ factors.product()).sum() == pytest.approx(
        np.square(s[3:]).sum(), rel=5e-3
    )


@pytest.mark.parametrize("samples", [1, 5, 20])
def test_few_samples_and_constant_inputs(samples: int) -> None:
    """Fewer samples than features, and inputs that never vary, give finite factors."""
    few = Head(samples=samples)
    constant = InputMoments(24)
    constant.update(np.ones((samples, 24)))

    for moments in (few.moments, constant):
        factors = lowrank.whitened(few.kernel, few.bias, 3, moments, softmax=True)
        assert np.isfinite(factors.B).all()
        assert np.isfinite(factors.C).all()


def test_moments_that_do_not_serve(head: Head) -> None:
    """No inputs, inputs of another size and inputs that are not finite are refused."""
    broken = InputMoments(24)
    broken.update(np.full((3, 24), np.nan))

    for moments, code in (
        (InputMoments(24), "moments"), (InputMoments(5), "moments"),
        (broken, "activations_not_finite"),
    ):  # fmt: skip
        with pytest.raises(KernelError) as refused:
            lowrank.whitened(head.kernel, head.bias, 3, moments, softmax=True)
        assert refused.value.code == code


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 60), max_size=5))
@settings(max_examples=40)
def test_moments_do_not_depend_on_the_batches(seed: int, cuts: list[int]) -> None:
    """Any split into batches, merged in any grouping, gives NumPy's mean and covariance."""
    x = 100 + np.random.default_rng(seed).standard_normal((60, 4))
    whole, left, right = InputMoments(4), InputMoments(4), InputMoments(4)
    edges = [0, *sorted(cuts), 60]
    whole.update(x.reshape(6, 10, 4))
    for k, (a, b) in enumerate(itertools.pairwise(edges)):
        (left if k % 2 else right).update(x[a:b])
    left.merge(right)

    for found in (whole, left):
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


@pytest.mark.parametrize("objective", ["softmax", "sigmoid"])
def test_refine_improves_and_never_worsens(head: Head, objective: Any) -> None:
    """Refining lowers the objective, on the held-out tenth too."""
    start = lowrank.truncated_svd(head.kernel, 3)

    found = lowrank.refine(start, head.kernel, head.bias, head.x, head=objective)

    def loss(factors: lowrank.Factors, part: slice) -> float:
        if objective == "softmax":
            return head.kl(factors, part)
        p = 1 / (1 + np.exp(-head.logits()[part]))
        z = head.logits(factors)[part]
        return float((np.logaddexp(0, z) - p * z).sum(axis=-1).mean())

    held_out, train = slice(720, None), slice(720)
    assert loss(found, held_out) < loss(start, held_out)
    assert loss(found, train) < loss(start, train)
    assert found.method == "refined"
    again = lowrank.refine(found, head.kernel, head.bias, head.x, head=objective)
    assert loss(again, held_out) <= loss(found, held_out) * (1 + 1e-6)


def test_refined_is_better_than_whitened(head: Head) -> None:
    """At every low rank the refined head predicts nearer to the original than the closed forms."""
    for rank in (2, 3, 4):
        found = lowrank.refined(head.kernel, head.bias, rank, head.x, head="softmax")
        closed = lowrank.whitened(head.kernel, head.bias, rank, head.moments, softmax=True)
        assert head.kl(found) < head.kl(closed)
        assert found.rank == rank
        assert found.certificate.optimality >= 1


def test_refined_linear_head_is_whitened(head: Head) -> None:
    """For squared errors the closed form is the optimum."""
    found = lowrank.refined(head.kernel, head.bias, 3, head.x, head="linear")

    closed = lowrank.whitened(head.kernel, head.bias, 3, head.moments, softmax=False)
    np.testing.assert_array_equal(found.product(), closed.product())
    assert found.method == "refined"


@pytest.mark.parametrize(("rank", "highest"), [(4, 9), (1, 9), (9, 9), (20, 99), (1, 1)])
def test_schedule(rank: int, highest: int) -> None:
    """The ranks fall, begin at most at the highest, and end in the wanted one."""
    ranks = schedule([rank], highest)

    assert ranks[-1] == rank
    assert ranks[0] <= max(highest, rank)
    assert all(a > b for a, b in itertools.pairwise(ranks))


def test_refined_reports_its_progress(head: Head) -> None:
    """Each rank of the continuation is told."""
    told: list[tuple[int, int]] = []

    lowrank.refined(
        head.kernel, head.bias, 4, head.x, head="softmax", iterations=2,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip

    assert told == [(k + 1, len(told)) for k in range(len(told))]
    assert len(told) == len(schedule([4], 6))


@pytest.mark.parametrize(
    ("softmax_follows", "has_data", "method"),
    [
        (True, True, "refined"),
        (False, True, "refined"),
        (True, False, "centered"),
        (False, False, "svd"),
    ],
)
def test_auto(softmax_follows: bool, has_data: bool, method: str) -> None:
    """`auto` takes the best that the data and the layer allow, and says why."""
    chosen, reason = lowrank.choose_method(
        "auto", softmax=softmax_follows, has_bias=True, has_data=has_data
    )

    assert chosen == method
    assert reason


@pytest.mark.parametrize("method", ["whitened", "refined"])
def test_methods_that_need_data(head: Head, method: str) -> None:
    """Without data they are refused with the option that gives them."""
    with pytest.raises(RankError, match="--dataset") as refused:
        lowrank.choose_method(method, softmax=True, has_bias=True, has_data=False)
    with pytest.raises(RankError):
        lowrank.factorize_kernel(head.kernel, head.bias, 3, method, softmax=True)

    assert refused.value.code == "needs_data"


def test_single_door(head: Head) -> None:
    """Each method is reached through `factorize_kernel`, and says its name."""
    for method in lowrank.METHODS:
        found = lowrank.factorize_kernel(
            head.kernel, head.bias, 3, method, softmax=True,
            moments=head.moments, activations=head.x,
        )  # fmt: skip
        assert found.method == method
        assert found.B.dtype == np.float32
    with pytest.raises(RankError, match="Unknown method"):
        lowrank.choose_method("magic", softmax=True, has_bias=True, has_data=True)


@pytest.mark.parametrize(
    ("m", "n", "rank"), [(512, 100, 83), (256, 10, 9), (50, 1, 0), (2, 2, 0), (4, 4, 1), (3, 6, 1)]
)
def test_break_even(m: int, n: int, rank: int) -> None:
    """It is the largest rank that saves anything."""
    found = lowrank.break_even_rank(m, n)

    assert found == rank
    assert found == 0 or lowrank.parameters(m, n, found) < lowrank.parameters(m, n)
    assert lowrank.parameters(m, n, found + 1) >= lowrank.parameters(m, n)


@pytest.mark.parametrize(
    ("rank", "m", "n", "code", "words"),
    [
        (0, 256, 10, "rank_out_of_range", ["between 1 and 10", "rank=0"]),
        (11, 256, 10, "rank_out_of_range", ["between 1 and 10", "up to 9"]),
        (10, 256, 10, "rank_saves_nothing", ["at most 9", "--force"]),
        (84, 512, 100, "rank_saves_nothing", ["at most 83"]),
        (1, 50, 1, "nothing_to_gain", ["(50, 1)"]),
    ],
)
def test_ranks_that_are_refused(rank: int, m: int, n: int, code: str, words: list[str]) -> None:
    """Each refusal is one line with the bound."""
    with pytest.raises(RankError) as refused:
        lowrank.check_rank(rank, m, n)

    assert refused.value.code == code
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


def test_ranks_that_are_allowed() -> None:
    """Ranks that save pass, and with force those that the kernel has."""
    lowrank.check_rank(9, 256, 10)
    lowrank.check_rank(10, 256, 10, force=True)
    lowrank.check_rank(1, 50, 1, force=True)
    with pytest.raises(RankError):
        lowrank.check_rank(11, 256, 10, force=True)


def test_energy_rule() -> None:
    """The smallest rank that reaches the share, exact at the boundary."""
    sigma = np.array([2.0, 1.0, 1.0])

    np.testing.assert_allclose(lowrank.energy(sigma), [4 / 6, 5 / 6, 1])
    assert lowrank.rank_for_energy(sigma, 4 / 6) == 1
    assert lowrank.rank_for_energy(sigma, 0.67) == 2
    assert lowrank.rank_for_energy(sigma, 1.0) == 3
    assert lowrank.rank_for_energy(np.array([1.0, 1e-9]), 1.0) == 1
    assert lowrank.rank_for_energy(np.zeros(3), 0.5) == 1


def test_reduction_rule() -> None:
    """The largest rank that saves at least the share; a rank's own share gives it back."""
    for rank in (1, 5, 40, 83):
        share = 1 - rank * 612 / 51_200
        assert lowrank.rank_for_reduction(512, 100, share) == rank
    assert lowrank.rank_for_reduction(512, 100, 1e-9) == 83
    with pytest.raises(RankError, match=r"rank 1 saves 98\.8 %") as refused:
        lowrank.rank_for_reduction(512, 100, 0.99)
    assert refused.value.code == "reduction_unreachable"


@pytest.mark.parametrize("share", [0, -0.1, 1.1, float("nan")])
def test_shares_that_are_none(share: float) -> None:
    """A share is above 0 and at most 1."""
    with pytest.raises(RankError):
        lowrank.rank_for_energy(np.ones(3), share)
    with pytest.raises(RankError):
        lowrank.rank_for_reduction(10, 10, share)
