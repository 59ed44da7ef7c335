"""The `refined` method: continuation, descent, and what calibration inputs may look like."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.events import listening
from lrcompress.lowrank import Factors, Problem, factorize_ranks
from lrcompress.lowrank.methods import refined as method
from lrcompress.lowrank.methods.refined import schedule
from lrcompress.lowrank.refinement import descent
from lrcompress.lowrank.refinement.descent import Head, Imitation, enlarged, rows, split
from tests.lowrank.layers import Layer, moments_of, solve


@pytest.fixture(scope="module")
def layer() -> Layer:
    """Return the layer that most tests share."""
    return Layer()


def head_of(factors: Factors, bias: NDArray[Any]) -> Head:
    """Return factors as a head."""
    return factors.B, factors.C, bias if factors.bias is None else factors.bias


@pytest.mark.parametrize("objective", ["softmax", "sigmoid"])
def test_descent_improves_and_never_worsens(layer: Layer, objective: str) -> None:
    """Descending lowers the objective, on the held-out tenth too."""
    start = head_of(layer.at(3, "svd"), layer.bias)
    imitation = Imitation(layer.kernel, layer.bias, layer.x, objective, has_bias=True)

    def loss(head: Head, part: slice) -> float:
        z, found = layer.logits()[part], layer.x[part].astype(float) @ head[0] @ head[1] + head[2]
        if objective == "sigmoid":
            p = 1 / (1 + np.exp(-z))
            return float((np.logaddexp(0, found) - p * found).sum(axis=-1).mean())
        p, q = log_softmax(z), log_softmax(found)
        return float((np.exp(p) * (p - q)).sum(axis=-1).mean())

    found, _ = imitation.nearest(start, 60)

    for part in (slice(720, None), slice(720)):
        assert loss(found, part) < loss(start, part)
    again, _ = imitation.nearest(found, 60)
    assert loss(again, slice(720, None)) <= loss(found, slice(720, None)) * (1 + 1e-6)


def test_refined_is_better_than_whitened(layer: Layer) -> None:
    """At every low rank it predicts nearer to the original than the closed forms."""
    problem = Problem(layer.kernel, layer.bias, softmax=True, inputs=layer.x)
    found = factorize_ranks(problem, [2, 3, 4], "refined")

    assert sorted(found) == [2, 3, 4]
    for rank, factors in found.items():
        closed = layer.at(rank, "whitened", moments=layer.moments)
        assert factors.method == "refined"
        assert factors.rank == rank
        assert layer.kl(factors) < layer.kl(closed)
        assert factors.certificate.optimality >= 1


def test_refined_linear_head_is_whitened(layer: Layer) -> None:
    """For squared errors the closed form is the optimum."""
    found, closed = (
        layer.at(3, name, inputs=layer.x, softmax=False) for name in ("refined", "whitened")
    )

    np.testing.assert_array_equal(found.product(), closed.product())
    assert found.method == "refined"


@pytest.mark.parametrize(("rank", "highest"), [(4, 9), (1, 9), (9, 9), (20, 99), (1, 1)])
def test_schedule(rank: int, highest: int) -> None:
    """The ranks fall, begin at most at the highest, and end in the wanted one."""
    ranks = schedule([rank], highest)

    assert ranks[-1] == rank
    assert ranks[0] <= max(highest, rank)
    assert all(a > b for a, b in itertools.pairwise(ranks))


def test_refined_reports_its_progress(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank of the continuation is told, under the name of the task."""
    monkeypatch.setattr(method, "ITERATIONS", 2)
    told: list[tuple[str, int, int]] = []

    with listening(lambda task, done, total, figures: told.append((task, done, total))):
        layer.at(4, "refined", inputs=layer.x, task="re-fitting")

    assert told == [("re-fitting", k + 1, len(told)) for k in range(len(told))]
    assert len(told) == len(schedule([4], 6))


@dataclass(frozen=True)
class Clusters:
    """A classifier of well separated classes, its inputs class by class, and fresh inputs."""

    kernel: NDArray[np.float32]
    by_class: NDArray[np.float32]
    fresh: NDArray[np.float32]

    def kl(self, head: Head, x: NDArray[Any] | None = None) -> float:
        """Return the mean KL from the original's predictions to the head's."""
        wide = (self.fresh if x is None else x).astype(np.float64)
        p, q = log_softmax(wide @ self.kernel), log_softmax(wide @ head[0] @ head[1] + head[2])
        return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def log_softmax(z: NDArray[Any]) -> NDArray[Any]:
    """Return the logarithms of the class probabilities."""
    low = z - z.max(axis=1, keepdims=True)
    return np.asarray(low - np.log(np.exp(low).sum(axis=1, keepdims=True)))


BIAS = np.zeros(10, np.float32)


# With these a last tenth held out, all of one class, is told apart by a factor of two at least.
@pytest.fixture(scope="module", params=[0, 2, 4])
def clusters(request: pytest.FixtureRequest) -> Clusters:
    """Draw ten classes of 40 features after a relu."""
    rng = np.random.default_rng(request.param)
    centres = 1.2 * rng.standard_normal((10, 40))

    def inputs(labels: NDArray[np.int64]) -> NDArray[np.float32]:
        noisy = centres[labels] + rng.standard_normal((len(labels), 40))
        return np.maximum(noisy, 0).astype(np.float32)

    by_class = inputs(np.repeat(np.arange(10), 150))
    kernel = (1.5 * centres.T).astype(np.float32)
    return Clusters(kernel, by_class, inputs(rng.integers(0, 10, 2000)))


def test_inputs_stored_class_by_class_serve_as_well(clusters: Clusters) -> None:
    """The held-out part is of every class, so the order of the inputs hardly matters."""
    shuffled = np.random.default_rng(0).permutation(clusters.by_class)

    ordered, mixed = (
        head_of(solve(clusters.kernel, BIAS, 3, "refined", inputs=x), BIAS)
        for x in (clusters.by_class, shuffled)
    )

    assert clusters.kl(ordered) < 1.7 * clusters.kl(mixed)


@pytest.mark.parametrize("has_bias", [True, False])
def test_never_worse_on_the_inputs_held_out(clusters: Clusters, has_bias: bool) -> None:
    """On every tenth input it is at least as near as what it began from; a bias moves if it may."""
    held_out = clusters.by_class[9::10]
    whitened = solve(
        clusters.kernel, BIAS if has_bias else None, 3, "whitened",
        moments=moments_of(clusters.by_class),
    )  # fmt: skip
    start = head_of(whitened, BIAS)
    imitation = Imitation(clusters.kernel, BIAS, clusters.by_class, "softmax", has_bias=has_bias)

    for iterations in (0, 1, 60):
        found, _ = imitation.nearest(start, iterations)
        assert clusters.kl(found, held_out) <= clusters.kl(start, held_out) * (1 + 1e-5)
    assert clusters.kl(found, held_out) < clusters.kl(start, held_out)
    assert np.allclose(found[2], 0) == (not has_bias)


@pytest.mark.parametrize(
    ("shape", "inner", "outer"),
    [((30, 5, 4), 27 * 5, 3 * 5), ((35, 4), 32, 3), ((2, 10, 4), 18, 2), ((9, 4), 9, 0)],
)
def test_split(shape: tuple[int, ...], inner: int, outer: int) -> None:
    """Whole sequences are held out; steps only where there are fewer than ten sequences."""
    inputs = np.arange(np.prod(shape)).reshape(shape)

    descend, held_out = split(inputs)

    assert descend.size // 4 == inner
    assert held_out.size // 4 == outer
    together = np.concatenate([descend.ravel(), held_out.ravel()])
    np.testing.assert_array_equal(np.sort(together), inputs.ravel())
    if shape[0] >= 10:
        np.testing.assert_array_equal(held_out, inputs[9::10])


def test_rows_are_thinned_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row whose outputs fit in memory is used; else some of them, of every step alike."""
    x = np.arange(400.0).reshape(50, 4, 2)
    monkeypatch.setattr(descent, "MOST_OUTPUTS", 200 * 5)
    assert rows(x, 5).shape == (200, 2)
    monkeypatch.setattr(descent, "MOST_OUTPUTS", 50 * 5)

    some = rows(x, 5)

    assert some.shape == (50, 2)
    np.testing.assert_array_equal(some, rows(x, 5))
    assert len(np.unique(some[:, 0])) == 50
    steps = np.bincount((some[:, 0] // 2 % 4).astype(int), minlength=4)
    assert steps.min() > 5


def test_few_inputs_are_joined_by_copies_of_themselves() -> None:
    """Copies keep the inputs' mean, drop a quarter of their entries, and are always the same."""
    x = np.random.default_rng(0).uniform(1, 2, (200, 30)).astype(np.float32)

    found = enlarged(x, 10)

    assert found.shape == (6 * 200, 30)
    np.testing.assert_array_equal(found[:200], x)
    np.testing.assert_array_equal(found, enlarged(x, 10))
    assert (found[200:] == 0).mean() == pytest.approx(descent.DROPPED, abs=0.01)
    assert found[200:].mean() == pytest.approx(x.mean(), rel=0.01)


def test_ample_inputs_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough inputs stay as they are, and so do those whose copies would not fit in memory."""
    ample, few = np.ones((601, 30), np.float32), np.ones((20, 30), np.float32)

    assert enlarged(ample, 10) is ample
    assert len(enlarged(few, 10)) == 9 * 20
    monkeypatch.setattr(descent, "MOST_OUTPUTS", 399)
    assert enlarged(few, 10) is few


def test_a_part_of_the_inputs_shows_the_way_through_other_ranks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only at ranks that are asked for are all inputs descended on, unless they are few."""
    layer = Layer(m=6, samples=2000)
    seen: list[int] = []
    descend = descent.descend

    def counting(train: Any, *others: Any, **options: Any) -> Any:
        seen.append(len(train.x))
        return descend(train, *others, **options)

    monkeypatch.setattr(descent, "descend", counting)
    monkeypatch.setattr(method, "ITERATIONS", 4)

    layer.at(2, "refined", inputs=layer.x)

    # Ranks 6, 4 and 3 are passed; then 2, and its last descent.
    assert sorted(set(seen)) == [300, 1800]
    assert seen[-2:] == [1800, 1800]
    monkeypatch.setattr(descent, "AMPLE", 1000)
    monkeypatch.setattr(descent, "MOST_COPIES", 0)
    seen.clear()
    layer.at(2, "refined", inputs=layer.x)
    assert set(seen) == {1800}
