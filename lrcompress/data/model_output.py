"""One output of a model: all that labels must fit, and that says what its numbers mean."""

from __future__ import annotations

from dataclasses import dataclass

from lrcompress.kinds.activations import PROBABILITIES

# Losses that compare numbers; all others compare classes or labels.
REGRESSION_LOSSES = {
    "huber", "log_cosh", "logcosh", "mae", "mape", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error",
    "mse", "msle", "poisson",
}  # fmt: skip


@dataclass(frozen=True)
class Output:
    """One output of a model.

    What ends it (`activation`) is told by its values, softmax, sigmoid or linear, where the graph
    does not tell. `loss` and its weight are those that the model was compiled with.
    """

    name: str
    layer: str  # that makes it
    shape: tuple[int | None, ...]  # without the samples; None where the model leaves a length open
    activation: str
    loss: str = ""
    loss_weight: float = 1.0
    dtype: str = "float32"

    @property
    def regression(self) -> bool:
        """Whether the model was compiled with a loss that compares numbers."""
        return self.loss in REGRESSION_LOSSES

    @property
    def is_logits(self) -> bool:
        """Whether the outputs are anything but probabilities."""
        return self.activation not in PROBABILITIES

    @property
    def is_sigmoid(self) -> bool:
        """Whether each unit is a probability for itself."""
        return PROBABILITIES.get(self.activation) == "sigmoid"
