"""Measures of classes, labels and numbers, against definitions written out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lrcompress.errors import DatasetError
from lrcompress.measure import compare, wilson_interval
from lrcompress.measure.paired import compare_means, compare_roots
from lrcompress.measure.statistics import area_under_curve, macro_area, mean_and_error
from tests.measure.scoring import score

pytestmark = pytest.mark.keras
Refuses = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a seeded generator."""
    return np.random.default_rng(0)


def pairs_in_order(scores: NDArray[Any], holds: NDArray[np.bool_]) -> float:
    """Return the share of pairs, one with the label and one without, that are ranked so."""
    pairs = list(product(scores[holds], scores[~holds]))
    return float(np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs]))


@pytest.mark.parametrize("ties", [False, True])
def test_area_is_the_share_of_pairs_in_order(rng: np.random.Generator, ties: bool) -> None:
    """The area under the curve is what counting all pairs gives, ties half."""
    scores = rng.integers(0, 5, 40) if ties else rng.normal(size=40)
    holds = rng.random(40) < 0.3

    found = area_under_curve(scores, holds, np.ones(40))

    assert found == pytest.approx(pairs_in_order(scores, holds))


def test_weights_of_whole_numbers_are_repetitions(rng: np.random.Generator) -> None:
    """A sample of weight 3 counts as three of weight 1, in every measure."""
    times = rng.integers(0, 4, 60)
    outputs = rng.normal(size=(60, 5)).astype(np.float32)
    kinds = [rng.integers(0, 5, 60), rng.random((60, 5)) < 0.4, outputs + rng.normal(size=(60, 5))]

    for y in (kinds[0], kinds[1], kinds[2].astype(np.float32)):
        weighted = score(outputs, y, is_logits=True, sample_weight=times)
        repeated = score(np.repeat(outputs, times, 0), np.repeat(y, times, 0), is_logits=True)

        for key in ("error_rate", "binary_error", "auc", "rmse", "mae", "loss"):
            if key in repeated.to_json():
                assert weighted.to_json()[key] == pytest.approx(repeated.to_json()[key]), key
        assert weighted.samples == int((times > 0).sum())


def test_labels_that_all_or_none_have_are_left_out(rng: np.random.Generator) -> None:
    """Such a label has no area; without any other there is none, and none for outputs of NaN."""
    scores, holds = rng.normal(size=(30, 3)), rng.random((30, 3)) < 0.5
    holds[:, 0], holds[:, 1] = True, False

    assert macro_area(scores, holds) == pytest.approx(pairs_in_order(scores[:, 2], holds[:, 2]))
    assert macro_area(scores[:, :2], holds[:, :2]) is None
    assert macro_area(np.where(scores > 1, np.nan, scores), holds) is None


def test_labels_are_measured_one_by_one(rng: np.random.Generator) -> None:
    """The binary error and the loss are means over all labels, alike for logits and probabilities."""
    logits = rng.normal(size=(50, 4)).astype(np.float32)
    y = rng.random((50, 4)) < 0.4
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))

    by_logits = score(logits, y, is_logits=True)
    by_p = score(p.astype(np.float32), y, is_logits=False)

    expected = -np.where(y, np.log(p), np.log(1 - p)).mean()
    for found in (by_logits.to_json(), by_p.to_json()):
        assert found["measure"] == "binary_error"
        assert found["binary_error"] == pytest.approx(100 * ((p > 0.5) != y).mean())
        assert found["loss"] == pytest.approx(expected, rel=1e-5)
        assert (found["samples"], found["labels"]) == (50, 4)


def test_labels_that_err_together_tell_no_more_than_one(rng: np.random.Generator) -> None:
    """The interval of ten copies of a label is that of the label; of ten others it is narrower."""
    one = np.where(rng.random((200, 1)) < 0.2, -1.0, 1.0).astype(np.float32)
    others = np.where(rng.random((200, 10)) < 0.2, -1.0, 1.0).astype(np.float32)

    copies, independent = (
        score(outputs, np.ones((200, 10), bool), is_logits=True).to_json()
        for outputs in (np.repeat(one, 10, axis=1), others)
    )

    low, high = wilson_interval(int((one < 0).sum()), 200)
    assert copies["binary_error_low"] == pytest.approx(low, abs=0.1)
    assert copies["binary_error_high"] == pytest.approx(high, abs=0.1)
    width = independent["binary_error_high"] - independent["binary_error_low"]
    assert width < 0.5 * (high - low)


def test_root_of_the_mean_squared_error(rng: np.random.Generator) -> None:
    """The figures are NumPy's; the interval covers the true error in about 95 of 100 samples."""
    y = rng.normal(size=(40, 3)).astype(np.float32)
    outputs = (y + 0.5 * rng.normal(size=y.shape)).astype(np.float32)

    found = score(outputs, y, is_logits=True).to_json()

    assert found["rmse"] == pytest.approx(math.sqrt(np.mean((outputs - y) ** 2)), rel=1e-6)
    assert found["mae"] == pytest.approx(np.abs(outputs - y).mean(), rel=1e-6)
    assert found["loss"] == pytest.approx(found["rmse"] ** 2)
    zeros = np.zeros((400, 1), np.float32)
    covered = 0
    for _ in range(300):
        again = score(
            rng.normal(0, 2, (400, 1)).astype(np.float32), zeros, is_logits=True
        ).to_json()
        covered += again["rmse_low"] <= 2 <= again["rmse_high"]
    assert 0.91 < covered / 300 < 0.99


def test_one_prediction_is_measured(rng: np.random.Generator) -> None:
    """A single prediction has no spread: its interval is its figure."""
    found = score(
        np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32), is_logits=True
    ).to_json()

    assert found["rmse"] == found["rmse_low"] == found["rmse_high"] == 1.0


@pytest.mark.parametrize("classes", [99, 100])
def test_top_five_of_many_classes(rng: np.random.Generator, classes: int) -> None:
    """From 100 classes up the class is sought among the five likeliest, as sorting does."""
    logits = rng.normal(size=(80, classes)).astype(np.float32)
    y = rng.integers(0, classes, 80)
    logits[np.arange(0, 80, 2), y[::2]] += 2

    found = score(logits, y, is_logits=True).to_json()

    beyond = [k not in row.argsort()[-5:] for row, k in zip(logits, y, strict=True)]
    assert found.get("top5_error_rate") == (100 * np.mean(beyond) if classes == 100 else None)


def test_outputs_that_are_not_numbers_are_wrong() -> None:
    """NaN is never among the five likeliest."""
    found = score(np.full((4, 100), np.nan, np.float32), np.arange(1, 5), is_logits=True).to_json()

    assert found["top5_error_rate"] == 100


def test_weights_of_zero_take_predictions_out(rng: np.random.Generator) -> None:
    """Padded steps of weight 0 count nowhere, also not in the comparison of two models."""
    logits, other = rng.normal(size=(2, 6, 4, 3)).astype(np.float32)
    y = rng.integers(0, 3, (6, 4))
    weights = np.ones((6, 4))
    weights[:, 2:] = 0

    first, second = (score(o, y, is_logits=True, sample_weight=weights) for o in (logits, other))

    short, short_other = (score(o[:, :2], y[:, :2], is_logits=True) for o in (logits, other))
    assert first.to_json() == short.to_json()
    assert compare(first, second) == compare(short, short_other)


def test_no_weight_at_all_is_refused(refuses: Refuses) -> None:
    """Where every sample weighs nothing, nothing can be measured."""
    with refuses(DatasetError, "sample_weight", "0"):
        score(
            np.zeros((2, 3), np.float32),
            np.zeros(2, int),
            is_logits=True,
            sample_weight=np.zeros(2),
        )


def test_paired_difference_of_roots(rng: np.random.Generator) -> None:
    """The standard error behind the interval is near the jackknife's; pairing makes it small."""
    common = rng.normal(size=300)
    first, second = np.square(common), np.square(common + 0.2 * rng.normal(size=300) + 0.1)

    found = compare_roots("rmse", first, second)
    back = compare_roots("rmse", second, first)

    left_out = [
        math.sqrt(np.delete(second, i).mean()) - math.sqrt(np.delete(first, i).mean())
        for i in range(300)
    ]
    jackknife = math.sqrt(299 / 300 * np.square(left_out - np.mean(left_out)).sum())
    assert found.difference == pytest.approx(math.sqrt(second.mean()) - math.sqrt(first.mean()))
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(jackknife, rel=0.02)
    assert (back.difference, back.p_value) == pytest.approx((-found.difference, found.p_value))
    assert jackknife < 0.5 * mean_and_error(second)[1]


def test_equal_models_do_not_differ() -> None:
    """No difference has no spread and is no surprise; an exact one is certain."""
    same = compare_roots("rmse", np.ones(5), np.ones(5))
    exact = compare_means("binary_error", np.zeros(5), np.ones(5))

    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert (exact.difference, exact.p_value) == (1, 0)


def test_models_of_other_kinds_are_not_compared(rng: np.random.Generator, refuses: Refuses) -> None:
    """An error rate and a distance have no difference."""
    outputs = rng.normal(size=(9, 3)).astype(np.float32)
    errors = score(outputs, rng.integers(0, 3, 9), is_logits=True)
    distances = score(outputs, outputs, is_logits=True)

    with refuses(DatasetError, "measures_differ", "error_rate", "rmse"):
        compare(errors, distances)


def test_merit_orders_models(rng: np.random.Generator) -> None:
    """Lower merit is better: fewer errors first, then less loss; nearer numbers."""
    y = np.array([0, 1, 2])
    sure, unsure, wrong = (
        score(s * np.eye(3, dtype=np.float32), y, is_logits=True) for s in (5, 1, -1)
    )
    near, far = (
        score(np.full((3, 1), d, np.float32), np.zeros((3, 1), np.float32), is_logits=True)
        for d in (0.1, 1)
    )

    assert sure.merit < unsure.merit < wrong.merit
    assert near.merit < far.merit
    assert (wrong.value, far.value) == (100, 1)
