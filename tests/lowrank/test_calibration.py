"""What calibration inputs may look like: stored class by class, without moments, without a bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress import lowrank
from lrcompress.errors import RankError
from lrcompress.lowrank import Factors, InputMoments, sampling
from lrcompress.lowrank.sampling import enlarged, rows, split


@dataclass(frozen=True)
class Clusters:
    """A classifier of well separated classes, its inputs class by class, and fresh inputs."""

    kernel: NDArray[np.float32]
    by_class: NDArray[np.float32]
    fresh: NDArray[np.float32]
    moments: InputMoments

    def kl(self, factors: Factors, x: NDArray[Any] | None = None) -> float:
        """Return the mean KL from the original's predictions to the factors'."""
        wide = (self.fresh if x is None else x).astype(np.float64)
        bias = 0 if factors.bias is None else factors.bias
        p, q = log_softmax(wide @ self.kernel), log_softmax(wide @ factors.product() + bias)
        return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def log_softmax(z: NDArray[Any]) -> NDArray[Any]:
    """Return the logarithms of the class probabilities."""
    low = z - z.max(axis=1, keepdims=True)
    return np.asarray(low - np.log(np.exp(low).sum(axis=1, keepdims=True)))


def draw(seed: int) -> Clusters:
    """Draw ten classes of 40 features after a relu."""
    rng = np.random.default_rng(seed)
    centres = 1.2 * rng.standard_normal((10, 40))

    def inputs(labels: NDArray[np.int64]) -> NDArray[np.float32]:
        noisy = centres[labels] + rng.standard_normal((len(labels), 40))
        return np.maximum(noisy, 0).astype(np.float32)

    by_class = inputs(np.repeat(np.arange(10), 150))
    moments = InputMoments(40)
    moments.update(by_class)
    kernel = (1.5 * centres.T).astype(np.float32)
    return Clusters(kernel, by_class, inputs(rng.integers(0, 10, 2000)), moments)


@pytest.fixture(scope="module", params=[0, 1, 3])
def clusters(request: pytest.FixtureRequest) -> Clusters:
    """Return one of three draws."""
    return draw(request.param)


def refined(clusters: Clusters, x: NDArray[Any]) -> Factors:
    """Refine to rank 3 with a bias."""
    bias = np.zeros(10, np.float32)
    return lowrank.refined(clusters.kernel, bias, 3, x, head="softmax")


def test_inputs_stored_class_by_class_serve_as_well(clusters: Clusters) -> None:
    """The held-out part is of every class, so the order of the inputs hardly matters."""
    shuffled = np.random.default_rng(0).permutation(clusters.by_class)

    ordered, mixed = refined(clusters, clusters.by_class), refined(clusters, shuffled)

    assert clusters.kl(ordered) < 1.7 * clusters.kl(mixed)


def test_never_worse_on_the_inputs_held_out(clusters: Clusters) -> None:
    """On every tenth input the refined head is at least as near as what it began from."""
    bias = np.zeros(10, np.float32)
    start = lowrank.whitened(clusters.kernel, bias, 3, clusters.moments, softmax=True)

    for iterations in (0, 1, 60):
        found = lowrank.refine(
            start, clusters.kernel, bias, clusters.by_class, head="softmax", iterations=iterations
        )
        held_out = clusters.by_class[9::10]
        assert clusters.kl(found, held_out) <= clusters.kl(start, held_out) * (1 + 1e-5)


@pytest.mark.parametrize(
    ("shape", "inner", "outer"),
    [((30, 5, 4), 27 * 5, 3 * 5), ((35, 4), 32, 3), ((2, 10, 4), 18, 2), ((9, 4), 9, 0)],
)
def test_split(shape: tuple[int, ...], inner: int, outer: int) -> None:
    """Whole sequences are held out; steps only where there are fewer than ten sequences."""
    activations = np.arange(np.prod(shape)).reshape(shape)

    descend, held_out = split(activations)

    assert descend.size // 4 == inner
    assert held_out.size // 4 == outer
    together = np.concatenate([descend.ravel(), held_out.ravel()])
    np.testing.assert_array_equal(np.sort(together), activations.ravel())
    if shape[0] >= 10:
        np.testing.assert_array_equal(held_out, activations[9::10])


def test_rows_are_thinned_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row whose outputs fit in memory is used; else some of them, of every step alike."""
    x = np.arange(400.0).reshape(50, 4, 2)
    monkeypatch.setattr(sampling, "MOST_OUTPUTS", 200 * 5)
    assert rows(x, 5).shape == (200, 2)
    monkeypatch.setattr(sampling, "MOST_OUTPUTS", 50 * 5)

    some = rows(x, 5)

    assert some.shape == (50, 2)
    np.testing.assert_array_equal(some, rows(x, 5))
    assert len(np.unique(some[:, 0])) == 50
    steps = np.bincount((some[:, 0] // 2 % 4).astype(int), minlength=4)
    assert steps.min() > 5


def test_bias_of_the_start_is_kept() -> None:
    """A start that was given a bias keeps one, and the head with it is nearer than the start."""
    few = draw(0)
    start = lowrank.whitened(few.kernel, None, 3, few.moments, softmax=True, allow_bias=True)

    found = lowrank.refine(start, few.kernel, None, few.by_class, head="softmax")

    assert start.bias is not None
    assert found.bias is not None
    assert found.bias.dtype == start.bias.dtype
    without = lowrank.refine(
        lowrank.whitened(few.kernel, None, 3, few.moments, softmax=True),
        few.kernel, None, few.by_class, head="softmax",
    )  # fmt: skip
    assert without.bias is None
    held_out = few.by_class[9::10]
    assert few.kl(found, held_out) < few.kl(start, held_out)


@pytest.mark.parametrize("method", ["whitened", "refined"])
def test_door_gathers_the_moments_itself(method: str) -> None:
    """Inputs alone are enough, and give the same bytes as with their moments."""
    few = draw(0)
    bias = np.zeros(10, np.float32)

    alone = lowrank.factorize_kernel(
        few.kernel, bias, 3, method, softmax=True, activations=few.by_class
    )
    both = lowrank.factorize_kernel(
        few.kernel, bias, 3, method,
        softmax=True, activations=few.by_class, moments=few.moments,
    )  # fmt: skip

    assert alone.B.tobytes() == both.B.tobytes()
    assert alone.C.tobytes() == both.C.tobytes()


def test_door_resolves_auto() -> None:
    """`auto` is resolved by what is there; refined from moments alone is refused."""
    few = draw(0)

    def method(*, softmax: bool, x: NDArray[Any] | None = None) -> str:
        door = lowrank.factorize_kernel
        return door(few.kernel, None, 3, "auto", softmax=softmax, activations=x).method

    assert method(softmax=True) == "centered"
    assert method(softmax=False) == "svd"
    assert method(softmax=True, x=few.by_class) == "refined"
    with pytest.raises(RankError) as refused:
        lowrank.factorize_kernel(few.kernel, None, 3, "refined", softmax=True, moments=few.moments)
    assert refused.value.code == "needs_data"


@pytest.mark.parametrize(("m", "n"), [(50, 1), (1, 50), (2, 2)])
def test_reduction_where_nothing_can_be_saved(m: int, n: int) -> None:
    """Where even rank 1 enlarges the layer, a share is refused for that reason."""
    with pytest.raises(RankError, match="nothing to gain") as refused:
        lowrank.rank_for_reduction(m, n, 0.3)

    assert refused.value.code == "nothing_to_gain"


def test_few_inputs_are_joined_by_copies_of_themselves() -> None:
    """Copies keep the inputs' mean, drop a quarter of their entries, and are always the same."""
    x = np.random.default_rng(0).uniform(1, 2, (200, 30)).astype(np.float32)

    found = enlarged(x, 10)

    assert found.shape == (6 * 200, 30)
    np.testing.assert_array_equal(found[:200], x)
    np.testing.assert_array_equal(found, enlarged(x, 10))
    assert (found[200:] == 0).mean() == pytest.approx(sampling.DROPPED, abs=0.01)
    assert found[200:].mean() == pytest.approx(x.mean(), rel=0.01)


def test_ample_inputs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough inputs stay as they are, and so do those whose copies would not fit in memory."""
    ample, few = np.ones((601, 30), np.float32), np.ones((20, 30), np.float32)

    assert enlarged(ample, 10) is ample
    assert len(enlarged(few, 10)) == 9 * 20
    monkeypatch.setattr(sampling, "MOST_OUTPUTS", 399)
    assert enlarged(few, 10) is few
