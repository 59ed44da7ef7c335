"""What a model is measured by: errors for classes and labels, distances for numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError
from lrcompress.measure.by_class import ByClass, of_classes, of_labels
from lrcompress.measure.scores import Kind, Scores
from lrcompress.measure.statistics import (
    Z95,
    Weights,
    effective_samples,
    macro_area,
    mean_and_error,
    wilson_interval,
)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of running a model over labelled inputs.

    Attributes:
        samples: Number of predictions (samples, or samples x steps), without those of weight 0.
        loss: Mean over them, weighted where the data have weights.
        each_weight: Their weights, (samples,); None where all weigh alike.
        padding: Positions that the model's mask leaves out, in percent; None without a mask.
        by_class: Each class or label alone; None where there are many.
        measure: Key of the main figure in `to_json`.
        counts_errors: Whether that is what is wrong, in percent.
        figures: What `to_json` tells, in its order; what is None by default is told where it is known.
    """

    measure: ClassVar[str]
    figures: ClassVar[tuple[str, ...]]
    counts_errors: ClassVar[bool] = False

    samples: int
    loss: float
    each_weight: Weights | None = field(default=None, repr=False)
    padding: float | None = None
    by_class: ByClass | None = field(default=None, repr=False)

    @property
    def value(self) -> float:
        """The main figure: what `measure` names, or the loss where there are several outputs."""
        return float(getattr(self, self.measure))

    @property
    def merit(self) -> tuple[float, ...]:
        """What epochs are chosen by: lower is better, ties go to the next entry."""
        return self.value, self.loss

    @property
    def percent_wrong(self) -> float | None:
        """What is wrong, in percent; None where nothing is right or wrong."""
        return self.value if self.counts_errors else None

    def to_json(self) -> dict[str, Any]:
        """Return everything but the single predictions; the key ``measure`` names the main figure."""
        optional = {each.name for each in fields(self) if each.default is None}
        told = {name: getattr(self, name) for name in self.figures}
        known = {k: found for k, found in told.items() if found is not None or k not in optional}
        by_class = {} if self.by_class is None else self.by_class.to_json()
        return {"measure": self.measure, **known, **by_class}


@dataclass(frozen=True, kw_only=True)
class ClassEvaluation(Evaluation):
    """How often the likeliest class is another one.

    Attributes:
        errors: Number of wrong predictions.
        error_rate: In percent, weighted where the data have weights, with its 95 % interval (Wilson).
        wrong: Which predictions are wrong, (samples,), for paired comparisons.
        top5_error_rate: How often the class is none of the five likeliest, in percent; None for
            fewer than 100 classes.
        auc: Of two classes, the probability that a sample of the second ranks above one of the
            first; None for more classes, or where one is missing.
        each_step: Whether the predictions stand at the steps of sequences.
    """

    measure, counts_errors = "error_rate", True
    figures = (
        "samples", "errors", "error_rate", "error_rate_low", "error_rate_high", "loss",
        "top5_error_rate", "padding", "auc",
    )  # fmt: skip

    errors: int
    error_rate: float
    error_rate_low: float
    error_rate_high: float
    wrong: NDArray[np.bool_] = field(repr=False)
    top5_error_rate: float | None = None
    auc: float | None = None
    each_step: bool = field(default=False, repr=False)

    @property
    def merit(self) -> tuple[float, ...]:
        """Error rate, then loss; the other way round at the steps of sequences.

        Most next words cannot be known: a language model is as good as its probabilities, which can
        get much worse while the likeliest word stays the same.
        """
        return super().merit[::-1] if self.each_step else super().merit


@dataclass(frozen=True, kw_only=True)
class LabelEvaluation(Evaluation):
    """How often one label of a multi-label model is predicted wrongly.

    Attributes:
        labels: n, of each prediction.
        binary_error: Labels decided wrongly, in percent of all, with its 95 % interval (Wilson; a
            prediction's labels are taken to err together as much as they were seen to).
        auc: Mean over labels of the probability that a sample that has the label ranks above one
            that has not; labels that all samples have, or none, are left out. None if all are.
        each_wrong: Share of labels decided wrongly, (samples,).
    """

    measure, counts_errors = "binary_error", True
    figures = (
        "samples", "labels", "binary_error", "binary_error_low", "binary_error_high", "auc", "loss",
        "padding",
    )  # fmt: skip

    labels: int
    binary_error: float
    binary_error_low: float
    binary_error_high: float
    auc: float | None
    each_wrong: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class RegressionEvaluation(Evaluation):
    """How far numbers are off.

    Attributes:
        rmse: Root of the mean squared error, in the labels' unit, with its 95 % interval from the
            standard error of the squared errors.
        mae: Mean absolute error.
        each_squared: Squared errors, (samples,), whose mean is the loss.
    """

    measure = "rmse"
    figures = ("samples", "rmse", "rmse_low", "rmse_high", "mae", "loss", "padding")

    rmse: float
    rmse_low: float
    rmse_high: float
    mae: float
    each_squared: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class OutputsEvaluation(Evaluation):
    """A model with several outputs: one evaluation each, by name.

    Its loss is the sum of theirs, each times its weight in the model's own loss.
    """

    measure = "outputs"
    figures = ("samples", "loss")

    outputs: dict[str, Evaluation]

    @property
    def value(self) -> float:
        """The loss."""
        return self.loss

    def to_json(self) -> dict[str, Any]:
        """Return the figures by output, and the loss of all."""
        outputs = {name: found.to_json() for name, found in self.outputs.items()}
        return super().to_json() | {"outputs": outputs}


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
    return _SUMMARIES[kind](scores, weights)


def _classes(scores: Scores, weights: Weights | None) -> Evaluation:
    wrong = np.asarray(scores["wrong"], np.bool_)
    errors, beyond, auc = int(wrong.sum()), scores.get("beyond5"), None
    if weights is None:
        rate, (low, high) = 100 * errors / wrong.size, wilson_interval(errors, wrong.size)
    else:
        samples, share = effective_samples(weights), float(np.average(wrong, weights=weights))
        rate, (low, high) = 100 * share, wilson_interval(share * samples, samples)
    if "scores" in scores:
        auc = macro_area(scores["scores"][:, None], scores["true"][:, None] == 1, weights)
    return ClassEvaluation(
        samples=wrong.size,
        errors=errors,
        error_rate=rate,
        error_rate_low=low,
        error_rate_high=high,
        loss=float(np.average(scores["loss"], weights=weights)),
        wrong=wrong,
        each_weight=weights,
        top5_error_rate=(
            None if beyond is None else 100 * float(np.average(beyond, weights=weights))
        ),
        auc=auc,
        by_class=of_classes(scores, weights),
    )


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


def _numbers(scores: Scores, weights: Weights | None) -> Evaluation:
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


_SUMMARIES = {"classes": _classes, "labels": _labels, "regression": _numbers}
