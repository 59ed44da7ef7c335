"""Heads measured alone, against formulas written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lrcompress.compression.head_trial import HeadTrial
from lrcompress.compression.trial import Outcome
from lrcompress.lowrank import Factors, truncated_svd

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 3, 8)).astype("float32")
KERNEL, BIAS = RNG.normal(size=(8, 6)).astype("float32"), RNG.normal(size=6).astype("float32")
Y = RNG.integers(0, 6, size=(50, 3))
SITE: Any = "the head"


def logits(factors: Factors | None = None) -> np.ndarray:
    """Return the logits of the original, or of factors, in float64."""
    kernel = KERNEL.astype("f8") if factors is None else factors.product()
    return X.reshape(-1, 8).astype("f8") @ kernel + BIAS


def tried(factors: Factors, ending: str = "softmax") -> Outcome:
    """Return what factors do in the place of the original head on a batch of sequences."""
    return HeadTrial(KERNEL, BIAS, X, Y, ending=ending)({SITE: factors})


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "linear"])
def test_output_error_is_the_divergence(kind: str) -> None:
    """Softmax: KL; sigmoid: Bernoulli KL summed over units; else squared error over variance."""
    factors = truncated_svd(KERNEL, 2)
    old, new = logits(), logits(factors)
    if kind == "softmax":
        p, q = (np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) for z in (old, new))
        expected = (p * np.log(p / q)).sum(axis=1).mean()
    elif kind == "sigmoid":
        p, q = (1 / (1 + np.exp(-z)) for z in (old, new))
        expected = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum(axis=1).mean()
    else:
        expected = np.square(old - new).sum() / np.square(old - old.mean(axis=0)).sum()

    found = tried(factors, kind)

    assert found.output_error == pytest.approx(expected, rel=1e-4)


def test_agreement_and_error_rate_count_every_step() -> None:
    """Predictions per time step count one by one."""
    factors = truncated_svd(KERNEL, 3)
    old, new = logits().argmax(axis=1), logits(factors).argmax(axis=1)

    found = tried(factors)

    assert found.agreement == pytest.approx(100 * (old == new).mean())
    assert found.error_rate == pytest.approx(100 * (new != Y.reshape(-1)).mean())
    original = HeadTrial(KERNEL, BIAS, X, Y, ending="softmax").original
    assert original.wrong is not None
    assert np.array_equal(original.wrong, old != Y.reshape(-1))


def test_negative_labels_leave_predictions_out() -> None:
    """Padded steps count in no figure."""
    factors, padded = truncated_svd(KERNEL, 3), Y.copy()
    padded[:, 1:] = -1

    found = HeadTrial(KERNEL, BIAS, X, padded, ending="softmax")({SITE: factors})

    first = HeadTrial(KERNEL, BIAS, X[:, 0], Y[:, 0], ending="softmax")({SITE: factors})
    assert found.wrong is not None
    assert np.array_equal(found.wrong, first.wrong)
    assert found.output_error == pytest.approx(first.output_error)
    assert found.agreement == first.agreement


def test_a_given_bias_replaces_the_own() -> None:
    """Factors with a bias of their own are measured with it."""
    full = truncated_svd(KERNEL, 6)
    moved = replace(full, bias=BIAS + np.float32(5) * (np.arange(6) == 2))

    assert tried(full).agreement == 100
    assert tried(moved).agreement < 100


def test_blocks_do_not_change_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs that come in many blocks give the same."""
    factors = truncated_svd(KERNEL, 2)
    whole = tried(factors)
    monkeypatch.setattr("lrcompress.compression.head_trial.BLOCK", 6 * 7)

    parts = tried(factors)

    assert parts.output_error == pytest.approx(whole.output_error, rel=1e-5)
    assert (parts.agreement, parts.error_rate) == (whole.agreement, whole.error_rate)


def test_one_unit_says_yes_or_no() -> None:
    """A single unit predicts class 1 where its logit is positive."""
    kernel = KERNEL[:, :1]
    labels = (X.reshape(-1, 8) @ kernel > 0).astype(int).reshape(50, 3)

    found = HeadTrial(kernel, None, X, labels, ending="sigmoid").original

    assert found.wrong is not None
    assert not found.wrong.any()


@pytest.mark.parametrize("ending", ["softmax", "linear"])
def test_perplexity_rises_by_labels_or_by_the_divergence(ending: str) -> None:
    """At the steps of sequences; also where a model leaves softmax to its loss."""
    factors, y = truncated_svd(KERNEL, 2), Y.reshape(-1)
    old, new = (
        z - np.log(np.exp(z).sum(axis=1, keepdims=True)) for z in (logits(), logits(factors))
    )
    rows = np.arange(len(y)), y
    divergence = (np.exp(old) * (old - new)).sum(axis=1).mean()

    new_labels = tried(factors, ending)
    known = HeadTrial(KERNEL, BIAS, X, Y, ending=ending, by_labels=False)({SITE: factors})

    assert new_labels.rise == pytest.approx(100 * np.expm1((old - new)[rows].mean()), rel=1e-3)
    assert known.rise == pytest.approx(100 * np.expm1(divergence), rel=1e-3)
    assert new_labels.evaluation is not None
    assert new_labels.evaluation.loss == pytest.approx(-new[rows].mean(), rel=1e-5)
    alone = HeadTrial(KERNEL, BIAS, X[:, 0], Y[:, 0], ending=ending)({SITE: factors})
    assert alone.rise is None


def test_sums_tell_the_divergence_of_many_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the original's logits are not computed again, all figures are the same."""
    factors = truncated_svd(KERNEL, 2)
    expected = tried(factors)
    monkeypatch.setattr("lrcompress.compression.head_trial.MANY", 2)

    found = tried(replace(factors, bias=BIAS))

    assert found.output_error == pytest.approx(expected.output_error, rel=1e-5)
    assert (found.agreement, found.drop) == (expected.agreement, expected.drop)
    assert found.wrong is not None
    assert np.array_equal(found.wrong, expected.wrong)
