"""From the scores of single predictions to what a model is measured by."""

from __future__ import annotations

import math

import numpy as np

from lrcompress.errors import DatasetError
from lrcompress.measure.evaluation import (
    ClassEvaluation,
    Evaluation,
    LabelEvaluation,
    RegressionEvaluation,
)
from lrcompress.measure.paired import Weights
from lrcompress.measure.rare import of_classes, of_labels
from lrcompress.measure.scores import Kind, Scores
from lrcompress.measure.statistics import (
    Z95,
    effective_samples,
    macro_area,
    mean_and_error,
    wilson_interval,
)


def summarize(kind: Kind, scores: Scores, weights: Weights | None) -> Evaluation:
    """Turn the scores of all predictions into an evaluation.

    Args:
        kind: What the labels mean.
        scores: Of every prediction, (k, ...).
        weights: Of every prediction, (k,); None weighs all alike. Those of weight 0 do not count.

    Raises:
        DatasetError: If all weights are 0.
    """
    if weights is not None:
        counted = weights > 0
        if not counted.any():
            msg = "All sample weights of this part are 0; expected at least one above."
            raise DatasetError(msg, code="sample_weight")
        if not counted.all():
            scores = {key: score[counted] for key, score in scores.items()}
            weights = weights[counted]
        if (weights == weights[0]).all():
            weights = None
    return {"classes": _classes, "labels": _labels, "regression": _regression}[kind](
        scores, weights
    )


def _classes(scores: Scores, weights: Weights | None) -> Evaluation:
    wrong = np.asarray(scores["wrong"], np.bool_)
    errors = int(wrong.sum())
    beyond = scores.get("beyond5")
    if weights is None:
        rate, (low, high) = 100 * errors / wrong.size, wilson_interval(errors, wrong.size)
    else:
        samples = effective_samples(weights)
        share = float(np.average(wrong, weights=weights))
        rate, (low, high) = 100 * share, wilson_interval(share * samples, samples)
    auc = None
    if "scores" in scores:
        auc = macro_area(scores["scores"][:, None], scores["true"][:, None] == 1, weights)
    return ClassEvaluation(
        wrong.size, errors, rate, low, high, float(np.average(scores["loss"], weights=weights)),
        wrong, weights,
        None if beyond is None else 100 * float(np.average(beyond, weights=weights)),
        auc=auc, by_class=of_classes(scores, weights),
    )  # fmt: skip


def _labels(scores: Scores, weights: Weights | None) -> Evaluation:
    wrong = np.asarray(scores["wrong"], np.float64)
    share, error = mean_and_error(wrong, weights)
    each = float(wrong.size) if weights is None else effective_samples(weights)
    n = scores["holds"].shape[-1]
    # As many independent labels as would leave the error that was seen; without any wrong one
    # nothing was seen, and a prediction counts once.
    independent = each if error == 0 else min(max(share * (1 - share) / error**2, 1.0), each * n)
    low, high = wilson_interval(share * independent, independent)
    return LabelEvaluation(
        samples=wrong.size,
        labels=n,
        binary_error=100 * share,
        binary_error_low=low,
        binary_error_high=high,
        auc=macro_area(scores["outputs"], np.asarray(scores["holds"], np.bool_), weights),
        loss=float(np.average(scores["loss"], weights=weights)),
        each_wrong=wrong,
        each_weight=weights,
        by_class=of_labels(scores, weights),
    )


def _regression(scores: Scores, weights: Weights | None) -> Evaluation:
    squared = np.asarray(scores["squared"], np.float64)
    mean, error = mean_and_error(squared, weights)
    return RegressionEvaluation(
        samples=squared.size,
        rmse=math.sqrt(mean),
        rmse_low=math.sqrt(max(mean - Z95 * error, 0.0)),
        rmse_high=math.sqrt(mean + Z95 * error),
        mae=float(np.average(scores["absolute"], weights=weights)),
        loss=mean,
        each_squared=squared,
        each_weight=weights,
    )
