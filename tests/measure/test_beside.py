"""Outputs beside an original's, block by block, against what whole arrays give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.measure import Look, Original
from lrcompress.measure.drop import Judge
from lrcompress.measure.several import judge_labels

SAMPLES, STEPS, WORDS = 12, 5, 120


def softmax(logits: NDArray[Any]) -> NDArray[np.float32]:
    """Return probabilities of logits."""
    parts = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(parts / parts.sum(axis=-1, keepdims=True), np.float32)


def outputs_of(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]:
    """Return what an original gives at each step, what a changed model does, and the right words."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(SAMPLES, STEPS, WORDS))
    labels = rng.integers(0, WORDS, (SAMPLES, STEPS))
    return softmax(logits), softmax(logits + 0.3 * rng.normal(size=logits.shape)), labels


def looked(
    old: NDArray[Any], new: NDArray[Any], labels: Any, block: int = SAMPLES, every: int = 1, **how: Any
) -> Look:  # fmt: skip
    """Return a changed model beside an original whose every so-manieth block is held."""
    settings: dict[str, Any] = {"is_logits": False, "by_labels": False, "decided": False} | how
    original = Original(labels, settings.pop("weights", None), **settings)
    parts = [slice(i, min(i + block, SAMPLES)) for i in range(0, SAMPLES, block)]
    for number, rows in enumerate(parts):
        original.first.add(rows, old[rows], hold=number % every == 0)
    look = Look(original)
    for rows in parts:
        look.add(rows, new[rows])
    return look


def test_perplexity_leads_where_many_words_stand_at_each_step() -> None:
    """It is the exponential of the mean loss, and rises by labels or by the original's own probabilities."""
    old, new, labels = outputs_of()
    rows = np.arange(SAMPLES)[:, None], np.arange(STEPS), labels
    losses = [-np.log(p[rows].astype("f8")).mean() for p in (old, new)]
    divergence = (old * np.log(old / new)).sum(axis=-1).mean()

    known, unknown = (looked(old, new, labels, by_labels=by) for by in (True, False))

    assert known.evaluation is not None
    assert known.evaluation.measure == "perplexity"
    assert known.evaluation.value == pytest.approx(np.exp(losses[1]), rel=1e-5)
    assert known.evaluation.figures["perplexity_low"] < known.evaluation.value
    assert known.evaluation.figures["error_rate"] == known.evaluation.percent_wrong
    assert known.rise == pytest.approx(100 * np.expm1(losses[1] - losses[0]), rel=1e-4)
    assert unknown.rise == pytest.approx(100 * np.expm1(divergence), rel=1e-4)


def test_it_is_told_beside_errors_of_many_classes_and_of_few_at_steps() -> None:
    """A class a sample, and few classes at each step, are measured by their errors."""
    old, new, labels = outputs_of()
    few = softmax(np.log(old[..., :7])), softmax(np.log(new[..., :7]))

    many = looked(old[:, 0], new[:, 0], labels[:, 0]).evaluation
    steps = looked(*few, labels % 7).evaluation
    single = looked(few[0][:, 0], few[1][:, 0], labels[:, 0] % 7).evaluation

    for found in (many, steps, single):
        assert found is not None
        assert found.measure == "error_rate"
    assert many is not None and "perplexity" in many.figures
    assert steps is not None and "perplexity" in steps.figures
    assert single is not None and "perplexity" not in single.figures


def test_decisions_of_the_original_have_no_perplexity() -> None:
    """Labels that the original decided count agreement; how far its probabilities move is told all the same."""
    old, new, _ = outputs_of()

    found = looked(old, new, old.argmax(axis=-1), by_labels=True, decided=True)

    assert found.evaluation is not None
    assert found.evaluation.measure == "error_rate"
    assert "perplexity" not in found.evaluation.figures
    assert found.rise == pytest.approx(100 * np.expm1(found.distance))


@pytest.mark.parametrize("kind", ["classes", "labels", "regression"])
@pytest.mark.parametrize("by_labels", [True, False])
def test_blocks_do_not_change_the_figures(kind: str, by_labels: bool) -> None:
    """Blocks give what the whole does, with weights of 0 among them."""
    old, new, labels = outputs_of()
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 3, labels.shape).astype("f4")
    y: Any = {
        "classes": labels, "labels": rng.random(old.shape) < old, "regression": old + new,
    }[kind]  # fmt: skip
    how = {"weights": weights, "by_labels": by_labels, "is_logits": kind == "regression"}

    whole, parts = (looked(old, new, y, block, **how) for block in (SAMPLES, 5))

    assert parts.distance == pytest.approx(whole.distance)
    assert parts.agreement == (None if kind == "regression" else pytest.approx(whole.agreement))
    assert parts.drop == (None if kind == "regression" else pytest.approx(whole.drop))
    assert whole.evaluation is not None and parts.evaluation is not None
    assert parts.evaluation.loss == pytest.approx(whole.evaluation.loss)
    assert parts.evaluation.samples == int((weights > 0).sum())


def test_drops_are_those_of_judges_of_whole_arrays() -> None:
    """Classes by the original's own tempered probabilities, labels by theirs."""
    old, new, labels = outputs_of()
    flat, other, y = old.reshape(-1, WORDS), new.reshape(-1, WORDS), labels.reshape(-1)
    judge = Judge(y, np.log(flat).__getitem__, by_labels=False)
    credits = [
        judge(p.argmax(-1), np.log(flat)[np.arange(len(y)), p.argmax(-1)]) for p in (flat, other)
    ]
    units = [0.5 + p[..., :50] - 1 / WORDS for p in (old, new)]
    holds = np.random.default_rng(1).random(units[0].shape) < 0.3
    chances = holds.reshape(-1, 50).astype(float)
    told = [judge_labels(p.reshape(-1, 50) > 0.5, chances) for p in units]

    classes = looked(old, new, labels, 5)
    several = looked(units[0], units[1], holds, 5, by_labels=True)

    assert classes.drop == pytest.approx(credits[0].drop_to(credits[1]), abs=1e-3)
    assert several.drop == pytest.approx(told[0].drop_to(told[1]), abs=1e-6)


def test_only_what_is_held_is_compared() -> None:
    """Labels tell of all blocks; the original's outputs of every second one alone are there."""
    old, new, labels = outputs_of()
    new[3:6] = old[3:6][:, ::-1]

    half = looked(old, new, labels, 3, 2)

    kept = np.r_[0:3, 6:9]
    divergence = (old[kept] * np.log(old[kept] / new[kept])).sum(axis=-1).mean()
    assert half.distance == pytest.approx(divergence, rel=1e-5)
    assert half.evaluation is not None
    assert half.evaluation.samples == SAMPLES * STEPS


@pytest.mark.parametrize("by_labels", [True, False])
def test_many_labels_are_told_of_by_the_likeliest(by_labels: bool) -> None:
    """How often it does not hold, and none of the five likeliest does; a drop counts the first."""
    old, new, _ = outputs_of()
    old, new = 90 * old[:, 0], 90 * new[:, 0]
    rng = np.random.default_rng(1)
    holds = rng.random(old.shape) < old / old.max()
    top = [[row[o] for row, o in zip(holds, p.argmax(-1), strict=True)] for p in (old, new)]
    five = [row[np.argsort(-p)[:5]].any() for row, p in zip(holds, new, strict=True)]
    shuffled = rng.permuted(new, axis=-1)

    found = looked(old, new, holds, 5, by_labels=by_labels, is_logits=True)
    worse = looked(old, shuffled, holds, 5, by_labels=by_labels, is_logits=True)

    assert found.evaluation is not None and found.drop is not None and worse.drop is not None
    assert found.evaluation.figures["top1_error_rate"] == pytest.approx(100 * (1 - np.mean(top[1])))
    assert found.evaluation.figures["top5_error_rate"] == pytest.approx(100 * (1 - np.mean(five)))
    assert worse.drop > found.drop
    if by_labels:
        assert found.drop == pytest.approx(
            max(100 * (np.mean(top[0]) - np.mean(top[1])),
                100 * ((new > 0) != holds).mean() - 100 * ((old > 0) != holds).mean())
        )  # fmt: skip
