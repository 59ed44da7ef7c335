"""What a model is measured by: errors for classes and labels, distances for numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError
from lrcompress.measure.paired import (
    PairedComparison,
    PairedDifference,
    Weights,
    compare_means,
    compare_paired,
    compare_roots,
    compare_shares,
)


class Evaluation(ABC):
    """The result of running a model over labelled inputs.

    Attributes:
        samples: Number of predictions (samples, or samples x steps), without those of weight 0.
        loss: Mean over them, weighted where the data have weights.
    """

    samples: int
    loss: float

    @property
    @abstractmethod
    def measure(self) -> str:
        """Key of the main figure in `to_json`."""

    @property
    @abstractmethod
    def merit(self) -> tuple[float, ...]:
        """What epochs are chosen by: lower is better, ties go to the next entry."""

    @property
    def value(self) -> float:
        """The main figure: what `measure` names, or the loss where there are several outputs."""
        return self.merit[0]

    @property
    def percent_wrong(self) -> float | None:
        """What is wrong, in percent; None where nothing is right or wrong."""
        return None

    def to_json(self) -> dict[str, Any]:
        """Return everything but the single predictions; the key ``measure`` names the main figure."""
        single = ("each_wrong", "each_squared", "each_weight", "each_step", "wrong", "by_class")
        figures = {key: value for key, value in self.__dict__.items() if key not in single}
        # What does not apply to a model is left out.
        for key in ("top5_error_rate", "padding", *(() if "labels" in figures else ("auc",))):
            if figures.get(key) is None:
                figures.pop(key, None)
        by_class = getattr(self, "by_class", None)
        return {"measure": self.measure, **figures, **(by_class.to_json() if by_class else {})}


@dataclass(frozen=True)
class ByClass:
    """How each of a few classes, or of several labels, fares.

    Attributes:
        balanced_error: In percent: the mean of the classes' own errors; of labels, that of each
            label's two sides, averaged over labels. None unless a class is rare, or there are two.
        recall: Share of each class's, or label's, samples that are found, in percent; None where
            there are no samples.
        samples: Of each, weighted where the data have weights.
        predicted: How many classes, or labels, are ever predicted.
    """

    balanced_error: float | None
    recall: list[float | None]
    samples: list[float]
    predicted: int

    def to_json(self) -> dict[str, Any]:
        """Return the figures, where they tell something that the error does not."""
        if self.balanced_error is None:
            return {}
        return {"balanced_error": self.balanced_error, "recall": self.recall}


@dataclass(frozen=True)
class ClassEvaluation(Evaluation):
    """How often the likeliest class is another one.

    Attributes:
        samples: Number of predictions.
        errors: Number of wrong ones.
        error_rate: In percent, weighted where the data have weights.
        error_rate_low: Lower end of its 95 % interval (Wilson), in percent.
        error_rate_high: Upper end.
        loss: Mean cross-entropy in nats.
        wrong: Which predictions are wrong, (samples,), for paired comparisons.
        each_weight: Their weights, (samples,); None where all weigh alike.
        top5_error_rate: How often the class is none of the five likeliest, in percent; None for
            fewer than 100 classes.
        each_step: Whether they stand at the steps of sequences.
        padding: Positions that the model's mask leaves out, in percent; None without a mask.
        auc: Of two classes, the probability that a sample of the second ranks above one of the
            first; None for more classes, or where one is missing.
        by_class: Each class alone; None where there are many.
    """

    samples: int
    errors: int
    error_rate: float
    error_rate_low: float
    error_rate_high: float
    loss: float
    wrong: NDArray[np.bool_] = field(repr=False)
    each_weight: Weights | None = field(default=None, repr=False)
    top5_error_rate: float | None = None
    each_step: bool = field(default=False, repr=False)
    padding: float | None = None
    auc: float | None = None
    by_class: ByClass | None = field(default=None, repr=False)

    @property
    def measure(self) -> str:
        """Top-1 error, in percent."""
        return "error_rate"

    @property
    def merit(self) -> tuple[float, ...]:
        """Error rate, then loss; the other way round at the steps of sequences.

        Most next words cannot be known: a language model is as good as its probabilities, which can
        get much worse while the likeliest word stays the same.
        """
        if self.each_step:
            return self.loss, self.error_rate
        return self.error_rate, self.loss

    @property
    def value(self) -> float:
        """The error rate."""
        return self.error_rate

    @property
    def percent_wrong(self) -> float:
        """The error rate."""
        return self.error_rate


@dataclass(frozen=True)
class LabelEvaluation(Evaluation):
    """How often one label of a multi-label model is predicted wrongly.

    Attributes:
        samples: Number of predictions, of n labels each.
        labels: n.
        binary_error: Labels decided wrongly, in percent of all.
        binary_error_low: Lower end of its 95 % interval (Wilson; a prediction's labels are taken
            to err together as much as they were seen to).
        binary_error_high: Upper end.
        auc: Mean over labels of the probability that a sample that has the label ranks above one
            that has not; labels that all samples have, or none, are left out. None if all are.
        loss: Mean binary cross-entropy in nats.
        each_wrong: Share of labels decided wrongly, (samples,).
        each_weight: Weights, (samples,); None where all weigh alike.
        padding: Positions that the model's mask leaves out, in percent; None without a mask.
        by_class: Each label alone.
    """

    samples: int
    labels: int
    binary_error: float
    binary_error_low: float
    binary_error_high: float
    auc: float | None
    loss: float
    each_wrong: NDArray[np.float64] = field(repr=False)
    each_weight: Weights | None = field(default=None, repr=False)
    padding: float | None = None
    by_class: ByClass | None = field(default=None, repr=False)

    @property
    def measure(self) -> str:
        """Binary error, in percent."""
        return "binary_error"

    @property
    def merit(self) -> tuple[float, ...]:
        """Binary error, then loss."""
        return self.binary_error, self.loss

    @property
    def percent_wrong(self) -> float:
        """The binary error."""
        return self.binary_error


@dataclass(frozen=True)
class RegressionEvaluation(Evaluation):
    """How far numbers are off.

    Attributes:
        samples: Number of predictions.
        rmse: Root of the mean squared error, in the labels' unit.
        rmse_low: Lower end of its 95 % interval, from the standard error of the squared errors.
        rmse_high: Upper end.
        mae: Mean absolute error.
        loss: Mean squared error.
        each_squared: Squared errors, (samples,).
        each_weight: Weights, (samples,); None where all weigh alike.
        padding: Positions that the model's mask leaves out, in percent; None without a mask.
    """

    samples: int
    rmse: float
    rmse_low: float
    rmse_high: float
    mae: float
    loss: float
    each_squared: NDArray[np.float64] = field(repr=False)
    each_weight: Weights | None = field(default=None, repr=False)
    padding: float | None = None

    @property
    def measure(self) -> str:
        """Root of the mean squared error."""
        return "rmse"

    @property
    def merit(self) -> tuple[float, ...]:
        """Root of the mean squared error."""
        return (self.rmse,)


@dataclass(frozen=True)
class OutputsEvaluation(Evaluation):
    """A model with several outputs.

    Attributes:
        samples: Number of samples.
        loss: Sum of the outputs' losses, each times its weight in the model's own loss.
        outputs: One evaluation each, by name.
    """

    samples: int
    loss: float
    outputs: dict[str, Evaluation]

    @property
    def measure(self) -> str:
        """The figures of each output."""
        return "outputs"

    @property
    def merit(self) -> tuple[float, ...]:
        """Loss."""
        return (self.loss,)

    def to_json(self) -> dict[str, Any]:
        """Return the figures by output, and the loss of all."""
        outputs = {name: found.to_json() for name, found in self.outputs.items()}
        return {
            "measure": "outputs",
            "samples": self.samples,
            "loss": self.loss,
            "outputs": outputs,
        }


@dataclass(frozen=True)
class PairedOutputs:
    """Two models with several outputs on the same samples, by output."""

    outputs: dict[str, PairedComparison | PairedDifference | PairedOutputs]

    def to_json(self) -> dict[str, Any]:
        """Return the comparisons by output."""
        return {"outputs": {name: found.to_json() for name, found in self.outputs.items()}}


Comparison = PairedComparison | PairedDifference | PairedOutputs


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Compare two models on the same samples by what both are measured by.

    Raises:
        DatasetError: If they are not measured alike.
    """
    if isinstance(first, ClassEvaluation) and isinstance(second, ClassEvaluation):
        if first.each_weight is None:
            return compare_paired(first.wrong, second.wrong)
        return compare_shares("error_rate", first.wrong, second.wrong, first.each_weight)
    if isinstance(first, LabelEvaluation) and isinstance(second, LabelEvaluation):
        return compare_means(
            "binary_error", 100 * first.each_wrong, 100 * second.each_wrong, first.each_weight
        )
    if isinstance(first, RegressionEvaluation) and isinstance(second, RegressionEvaluation):
        return compare_roots("rmse", first.each_squared, second.each_squared, first.each_weight)
    if isinstance(first, OutputsEvaluation) and isinstance(second, OutputsEvaluation):
        pairs = zip(first.outputs.items(), second.outputs.values(), strict=True)
        return PairedOutputs({name: compare(one, other) for (name, one), other in pairs})
    msg = (
        f"One model is measured by its {first.measure}, the other by its {second.measure}; expected "
        "two models of the same kind: evaluate them one by one."
    )
    raise DatasetError(msg, code="measures_differ")
