"""What is known of an original on data: the inputs of its layers, and a trial of what changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank import Factors
from lrcompress.modelfile import Site

if TYPE_CHECKING:
    from lrcompress.measure import Evaluation

# What stands in the place of some layers' matrices.
Matrices = Mapping[Site, Factors]


@dataclass(frozen=True)
class Outcome:
    """What a changed network, or head, was found to do beside the original on the same inputs.

    Attributes:
        output_error: From the original's outputs: mean Kullback-Leibler divergence in nats for
            probabilities (summed over units for sigmoid), squared error relative to the outputs'
            variance for others; summed over several outputs.
        agreement: Share of decisions that are the original's, in percent; None where outputs are
            numbers. The mean of several outputs.
        error_rate: What is decided wrongly, in percent; None without labels, or where those of an
            output are numbers. The mean of several outputs.
        wrong: Which predictions of a classifier are wrong, for paired comparisons; None without
            labels, for other models, and where samples have weights.
        drop: What it loses, in points, see `measure.drop`; None as `error_rate` is.
        rise: By how many percent its perplexity is higher; None where that is no measure. Where the
            labels are not new to the original, by the original's own probabilities.
        evaluation: By the labels; None without.
    """

    output_error: float
    agreement: float | None
    error_rate: float | None
    wrong: NDArray[np.bool_] | None = None
    drop: float | None = None
    rise: float | None = None
    evaluation: Evaluation | None = None


# What a drop is counted in where the user does not say.
Counted = Literal["points", "perplexity"]


class Trial(Protocol):
    """A network, or its head alone, in which matrices are tried."""

    @property
    def counts(self) -> Counted | None:
        """In what its drop is counted; None where outputs are numbers."""

    @property
    def original(self) -> Outcome:
        """What it does as it is."""

    def __call__(self, matrices: Matrices, task: str = ...) -> Outcome:
        """Measure it with other matrices; `task` says which, to who follows the progress."""


@dataclass(frozen=True)
class Calibration:
    """What was measured of the original model, as plain arrays.

    Attributes:
        activations: Unlabelled inputs of each layer by its path, (samples, m) or (samples, steps, m).
        trial: Of the layers on held-out data; None where nothing is to be measured.
        judged: How a drop is judged there, in words.
        kernels: Of the layers that the trial has read already, by path.
        counted: Held-out predictions whose labels decide; 0 where the original's own probabilities do.
    """

    activations: Mapping[str, NDArray[Any]]
    trial: Trial | None = None
    judged: str = "on held-out data"
    counted: int = 0
    kernels: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def counts(self) -> Counted | None:
        """In what a drop is counted; None where nothing is measured, or outputs are numbers."""
        return None if self.trial is None else self.trial.counts
