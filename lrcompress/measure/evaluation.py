"""What a model is measured by: errors for classes and labels, distances for numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError
from lrcompress.measure.drop import has_rare
from lrcompress.measure.scores import MANY_CLASSES, Kind, Scores
from lrcompress.measure.several import judge_labels
from lrcompress.measure.statistics import (
    Z95,
    Weights,
    effective_samples,
    macro_area,
    mean_and_error,
    wilson_interval,
)

# Figures that say what is wrong, in percent.
ERRORS = ("error_rate", "binary_error")


@dataclass(frozen=True)
class ByClass:
    """How each of a few classes, or of several labels, fares: what an error rate hides where one is most data."""

    # In percent, the mean of the classes' own errors, or of each label's two sides; None unless a class is rare, or
    # there are two.
    balanced_error: float | None
    recall: list[float | None]  # of each one's samples, in percent; None where it has none
    samples: list[float]  # of each, weighted where the data are
    predicted: int  # how many are ever predicted

    def to_json(self) -> dict[str, Any]:
        """Return the figures, where they tell something that the error does not."""
        if self.balanced_error is None:
            return {}
        return {"balanced_error": self.balanced_error, "recall": self.recall}


@dataclass(frozen=True)
class Evaluation:
    """The result of running a model over labelled inputs; docs/cli.md has all figures."""

    # Key of the main figure: `error_rate` of classes, `perplexity` of many of them at each step of a sequence,
    # `binary_error` of labels, `rmse` of numbers; `outputs` of several outputs, whose main figure is the loss.
    measure: str
    # What is told, in its order, weighted where the data are; always the number of `samples`, which are
    # predictions of a weight above 0, and their mean `loss`.
    figures: dict[str, Any]
    # What the main figure is the mean of, (samples,).
    each: NDArray[Any] = field(default_factory=lambda: np.empty(0), repr=False)
    weights: Weights | None = field(default=None, repr=False)  # None where all weigh alike
    by_class: ByClass | None = field(default=None, repr=False)  # None where there are many
    outputs: dict[str, Evaluation] = field(default_factory=dict)  # by name, where there are several
    each_step: bool = False  # of sequences
    # Where the main figure is perplexity, which predictions are wrong.
    missed: NDArray[np.bool_] | None = field(default=None, repr=False)

    @property
    def samples(self) -> int:
        """Number of predictions."""
        return int(self.figures["samples"])

    @property
    def loss(self) -> float:
        """Cross-entropy in nats, or squared error; of several outputs the weighted sum of theirs."""
        return float(self.figures["loss"])

    @property
    def value(self) -> float:
        """The main figure."""
        return float(self.figures.get(self.measure, self.loss))

    @property
    def merit(self) -> tuple[float, float]:
        """What epochs are chosen by: lower is better, ties go to the next entry."""
        # Probabilities of the next word can get much worse while the likeliest stays the same.
        return (self.loss, self.value) if self.each_step else (self.value, self.loss)

    @property
    def error_rate(self) -> float | None:
        """Of a classifier with one output, in percent."""
        return self.figures.get("error_rate")

    @property
    def percent_wrong(self) -> float | None:
        """What is wrong, in percent; None where nothing is right or wrong."""
        return next((self.figures[key] for key in ERRORS if key in self.figures), None)

    @property
    def wrong(self) -> NDArray[np.bool_] | None:
        """Which predictions of a classifier are wrong, (samples,); None of others, and with weights."""
        wrong = self.each if self.measure == "error_rate" else self.missed
        return wrong if self.weights is None else None

    def to_json(self) -> dict[str, Any]:
        """Return everything but the single predictions."""
        by_class = {} if self.by_class is None else self.by_class.to_json()
        outputs = {name: found.to_json() for name, found in self.outputs.items()}
        told = {"measure": self.measure, **self.figures, **by_class}
        return told | ({"outputs": outputs} if outputs else {})


def summarize(
    kind: Kind,
    scores: Scores,
    weights: Weights | None,
    *,
    axes: int = 1,
    units: int = 0,
    decided: bool = False,
) -> Evaluation:
    """Turn the scores of all predictions of an output, (k, ...), with so many `axes` into an evaluation."""
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
    if kind == "labels":
        return _labels(scores, weights, units)
    if kind == "regression":
        return _numbers(scores, weights)
    found = _classes(scores, weights)
    if axes > 1:
        found = replace(found, each_step=True)
    # What the original decides says nothing of its perplexity.
    if decided or not tells_perplexity(units, axes):
        return found
    losses = np.asarray(scores["loss"], np.float64)
    return _with_perplexity(found, losses, is_main=is_language(units, axes))


def tells_perplexity(units: int, axes: int) -> bool:
    """Return whether classes are many, or more than two stand at each step of a sequence."""
    return units >= MANY_CLASSES or (units > 2 and axes == 2)


def is_language(units: int, axes: int) -> bool:
    """Return whether many classes stand at each step of a sequence."""
    # Most next words cannot be known, and a language model is as good as its probabilities.
    return units >= MANY_CLASSES and axes == 2


def _with_perplexity(
    found: Evaluation, losses: NDArray[np.float64], *, is_main: bool
) -> Evaluation:
    """Tell perplexity, exp of the mean loss, too, first and with its 95 % interval where it is the main figure."""
    mean, error = mean_and_error(losses, found.weights)
    # Beyond the largest exponent nothing is told apart.
    ends = [math.exp(min(mean + z * error, 700.0)) for z in (0, -Z95, Z95)]
    told = dict(zip(("perplexity", "perplexity_low", "perplexity_high"), ends, strict=True))
    if not is_main:
        return replace(found, figures={**found.figures, "perplexity": told["perplexity"]})
    return replace(
        found, measure="perplexity", figures={"samples": found.samples, **told, **found.figures},
        each=losses, missed=found.each,
    )  # fmt: skip


def _classes(scores: Scores, weights: Weights | None) -> Evaluation:
    """Tell how often the likeliest class is another one (Wilson), and what else is known of many or of two classes."""
    wrong = np.asarray(scores["wrong"], np.bool_)
    errors = int(wrong.sum())
    if weights is None:
        rate, (low, high) = 100 * errors / wrong.size, wilson_interval(errors, wrong.size)
    else:
        samples, share = effective_samples(weights), float(np.average(wrong, weights=weights))
        rate, (low, high) = 100 * share, wilson_interval(share * samples, samples)
    figures = {
        "samples": wrong.size, "errors": errors,
        "error_rate": rate, "error_rate_low": low, "error_rate_high": high,
        "loss": float(np.average(scores["loss"], weights=weights)),
    }  # fmt: skip
    if "beyond5" in scores:
        figures["top5_error_rate"] = 100 * float(np.average(scores["beyond5"], weights=weights))
    if "scores" in scores:
        area = macro_area(scores["scores"][:, None], scores["true"][:, None] == 1, weights)
        figures |= {} if area is None else {"auc": area}
    return Evaluation("error_rate", figures, wrong, weights, _by_class(scores, weights))


def _labels(scores: Scores, weights: Weights | None, units: int) -> Evaluation:
    """Tell how often one label is decided wrongly (Wilson), and how well each ranks samples."""
    wrong = np.asarray(scores["wrong"], np.float64)
    share, error = mean_and_error(wrong, weights)
    each = float(wrong.size) if weights is None else effective_samples(weights)
    # As many independent labels as would leave the error that was seen, so that a prediction's err together as
    # much as they did; without any wrong one nothing was seen, and a prediction counts once.
    most = each * units
    independent = each if error == 0 else min(max(share * (1 - share) / error**2, 1.0), most)
    low, high = wilson_interval(share * independent, independent)
    figures: dict[str, Any] = {
        "samples": wrong.size, "labels": units,
        "binary_error": 100 * share, "binary_error_low": low, "binary_error_high": high,
        "loss": float(np.average(scores["loss"], weights=weights)),
    }  # fmt: skip
    for key, name in (("beyond1", "top1_error_rate"), ("beyond5", "top5_error_rate")):
        if key in scores:
            figures[name] = 100 * float(np.average(scores[key], weights=weights))
    if "holds" not in scores:
        return Evaluation("binary_error", figures, wrong, weights)
    holds = np.asarray(scores["holds"], np.bool_)
    figures["auc"] = macro_area(scores["outputs"], holds, weights)
    return Evaluation("binary_error", figures, wrong, weights, _by_label(scores, weights))


def _numbers(scores: Scores, weights: Weights | None) -> Evaluation:
    """Tell how far numbers are off, in the labels' unit; the interval is that of the squared errors."""
    squared = np.asarray(scores["squared"], np.float64)
    mean, error = mean_and_error(squared, weights)
    figures = {
        "samples": squared.size,
        "rmse": math.sqrt(mean),
        "rmse_low": math.sqrt(max(mean - Z95 * error, 0.0)),
        "rmse_high": math.sqrt(mean + Z95 * error),
        "mae": float(np.average(scores["absolute"], weights=weights)),
        "loss": mean,
    }
    return Evaluation("rmse", figures, squared, weights)


def _by_class(scores: Scores, weights: NDArray[Any] | None) -> ByClass | None:
    """Return how each class fares; None where there are many."""
    if "true" not in scores:
        return None
    true, picked = scores["true"], scores["picked"]
    n = int(max(true.max(), picked.max())) + 1
    samples = np.bincount(true, weights, n).astype(np.float64)
    found = np.bincount(true, (picked == true) * (1 if weights is None else weights), n)
    recall = _shares(found, samples)
    known = [share for share in recall if share is not None]
    counts = "scores" in scores or has_rare(samples)
    balanced = 100 - float(np.mean(known)) if counts else None
    return ByClass(balanced, recall, samples.tolist(), len(np.unique(picked)))


def _by_label(scores: Scores, weights: NDArray[Any] | None) -> ByClass:
    """Return how each of several labels fares; see `scores.label_scores`."""
    holds, decided = scores["holds"], scores["decided"]
    wide = np.ones((len(holds), 1)) if weights is None else weights[:, None]
    samples = (holds * wide).sum(axis=0).astype(np.float64)
    recall = _shares(((holds & decided) * wide).sum(axis=0), samples)
    balanced = judge_labels(decided, holds.astype(np.float64), weights).balanced
    return ByClass(balanced, recall, samples.tolist(), int(decided.any(axis=0).sum()))


def _shares(found: NDArray[Any], samples: NDArray[Any]) -> list[float | None]:
    return [100 * float(f / s) if s else None for f, s in zip(found, samples, strict=True)]
