"""What a changed classifier loses: by labels, in the original's own eyes, and where a class is rare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lrcompress.measure import Judge
from lrcompress.measure.drop import EVERYTHING, has_rare, temperature
from lrcompress.measure.several import judge_labels


def classifier(
    rng: np.random.Generator, k: int = 20_000, n: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, (k, n), and labels drawn by their probabilities."""
    logits = rng.normal(scale=2, size=(k, n)).astype(np.float32)
    noise = rng.gumbel(size=(k, n))
    return logits, (logits + noise).argmax(axis=-1)


def judged(judge: Judge, logits: np.ndarray, picked: np.ndarray) -> object:
    """Return what a judge says of picked classes."""
    return judge(picked, np.take_along_axis(logits, picked[:, None], axis=-1)[:, 0])


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_undoes_a_scale(scale: float) -> None:
    """Of logits that are too large or too small by a factor it is that factor."""
    logits, labels = classifier(np.random.default_rng(0))

    assert temperature(scale * logits, labels) == pytest.approx(scale, rel=0.03)


def test_both_ways_of_judging_agree_where_labels_are_new() -> None:
    """Of labels that are drawn by the probabilities, the expected drop is the counted one."""
    rng = np.random.default_rng(1)
    logits, labels = classifier(rng)
    own, other = logits.argmax(-1), (logits + rng.normal(size=logits.shape)).argmax(-1)
    drops = []
    for by_labels in (True, False):
        judge = Judge(labels, (2 * logits).__getitem__, by_labels=by_labels)
        drops.append(judged(judge, 2 * logits, own).drop_to(judged(judge, 2 * logits, other)))

    counted = 100 * ((other != labels).mean() - (own != labels).mean())
    assert drops[0] == pytest.approx(counted)
    assert drops[1] == pytest.approx(counted, abs=0.7)
    assert counted > 5


def test_labels_learned_by_heart_do_not_decide() -> None:
    """Where the original knows some labels of which its probabilities say little, those are not believed."""
    rng = np.random.default_rng(2)
    logits, labels = classifier(rng)
    memory = rng.random(len(labels)) < 0.5
    # Nearly undecided, and yet always right: what a smaller head forgets first.
    logits[memory] = 0.01 * rng.normal(size=(memory.sum(), 5))
    labels[memory] = logits[memory].argmax(-1)
    own, other = logits.argmax(-1), np.where(memory, (logits.argmax(-1) + 1) % 5, logits.argmax(-1))
    drops = {}
    for by_labels in (True, False):
        judge = Judge(labels, logits.__getitem__, by_labels=by_labels)
        drops[by_labels] = judged(judge, logits, own).drop_to(judged(judge, logits, other))

    assert drops[True] == pytest.approx(100 * memory.mean())
    assert 0 <= drops[False] < 1


@pytest.mark.parametrize("by_labels", [True, False])
def test_a_rare_class_counts_like_the_others(by_labels: bool) -> None:
    """A result that misses most of the rare class loses little error and much balanced error."""
    rng = np.random.default_rng(3)
    labels = (rng.random(20_000) < 0.02).astype(np.int64)
    yes = np.where(labels, 3.0, -6.0).astype(np.float32) + rng.normal(size=20_000).astype("f4")
    logits = np.stack([np.zeros_like(yes), yes], axis=-1)
    judge = Judge(labels, logits.__getitem__, by_labels=by_labels)
    before = judged(judge, logits, (yes > 0).astype(np.int64))
    after = judged(judge, logits, (yes > 4).astype(np.int64))
    never = judged(judge, logits, np.zeros(20_000, np.int64))

    assert after.error - before.error < 2
    assert before.drop_to(after) > 30
    assert before.drop_to(never) == EVERYTHING
    assert never.drop_to(before) < 0


def test_rare_labels_count_like_the_others() -> None:
    """Of several labels likewise: never deciding for any is losing everything."""
    rng = np.random.default_rng(4)
    holds = rng.random((5_000, 4)) < [0.5, 0.3, 0.02, 0.4]
    forgets = holds & [True, True, False, True]

    before, after = (judge_labels(decided, holds.astype(float)) for decided in (holds, forgets))
    never = judge_labels(np.zeros_like(holds), holds.astype(float))

    assert before.error == before.balanced == 0
    assert after.error == pytest.approx(100 * holds[:, 2].mean() / 4)
    assert before.drop_to(after) == pytest.approx(100 / 8)
    assert before.drop_to(never) == EVERYTHING


@pytest.mark.parametrize(
    ("masses", "rare"),
    [([50, 50], False), ([90, 10], True), ([70, 30], False), ([10] * 100, False), ([10] * 9 + [4], True),
     ([5, 0], False), ([0, 10, 10], False), ([1] * 5_000, False)],
)  # fmt: skip
def test_what_is_rare(masses: list[int], rare: bool) -> None:
    """Less than half of an equal share among the classes that occur, of up to a hundred."""
    assert has_rare(np.array(masses)) == rare


def test_weights_count() -> None:
    """Samples of weight 3 are those that stand there three times."""
    rng = np.random.default_rng(5)
    logits, labels = classifier(rng, k=400)
    weights, picked = rng.integers(1, 4, 400), rng.integers(0, 5, 400)
    again = np.repeat(np.arange(400), weights)

    once = Judge(labels, logits.__getitem__, by_labels=True, weights=weights)
    thrice = Judge(labels[again], logits[again].__getitem__, by_labels=True)

    assert judged(once, logits, picked) == judged(thrice, logits[again], picked[again])


def test_the_documented_numbers_are_the_measured_ones() -> None:
    """The table of docs/datasets.md is that of benchmarks/results/held-out.json."""
    root = Path(__file__).parents[2]
    document = json.loads((root / "benchmarks/results/held-out.json").read_text(encoding="utf-8"))
    page = (root / "docs" / "datasets.md").read_text(encoding="utf-8")

    for network in document["networks"]:
        cells = [f"{network['held_out_error']:.2f} %", f"{network['test_error']:.2f} %"]
        rows = [row for row in network["rows"] if 0 < row["test"] < 3]
        for rule in ("labels", "probabilities", "calibrated", "disagreement"):
            apart = [row[rule] - row["test"] for row in rows]
            cells.append(f"{np.abs(apart).mean():.2f} ({min(apart):+.2f})")
        assert f"| `{network['network']}` | {' | '.join(cells)} |" in page
