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

    None is what outputs of numbers, or no labels, do not tell; of several outputs shares are means.
    """

    # Mean Kullback-Leibler divergence in nats for probabilities (summed over units for sigmoid), squared
    # error relative to the outputs' variance for others; summed over several outputs.
    output_error: float
    agreement: float | None  # of decisions with the original's, in percent
    error_rate: float | None  # in percent
    wrong: NDArray[np.bool_] | None = (
        None  # for paired comparisons; None where samples have weights
    )
    drop: float | None = None  # in points, see `measure.drop`
    # Of perplexity in percent; by the original's own probabilities where the labels are not new to it.
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
    """What was measured of the original model, as plain arrays."""

    # Unlabelled inputs of each layer by its path, (samples, m) or (samples, steps, m).
    activations: Mapping[str, NDArray[Any]]
    trial: Trial | None = None  # on held-out data
    judged: str = "on held-out data"  # how a drop is judged there
    # Held-out predictions whose labels decide; 0 where the original's own probabilities do.
    counted: int = 0
    kernels: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # that the trial has read

    @property
    def counts(self) -> Counted | None:
        """In what a drop is counted; None where nothing is measured, or outputs are numbers."""
        return None if self.trial is None else self.trial.counts
