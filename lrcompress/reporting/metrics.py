"""How each figure of an evaluation is called and written."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """A figure's name and unit.

    Attributes:
        name: In a few words.
        unit: Of the figure; that of a difference is points, or none.
        label: What stands before the figure where it is not the usual one.
        sentence: Its name in a sentence; empty for what is only told beside another figure.
        tested: What an axis calls it on test data; held_out: on held-out data.
        by_original: Whether it compares with what the original says, where there are no labels.
    """

    name: str
    unit: str = ""
    label: str = ""
    sentence: str = ""
    tested: str = ""
    held_out: str = "held-out loss"
    by_original: bool = False

    @property
    def digits(self) -> str:
        """The format of the figure."""
        return ".2f" if self.unit else ".4g"

    @property
    def step(self) -> str:
        """The unit of a difference."""
        return " pt" if self.unit else ""


_AGAINST = "disagreement with the original", "RMS deviation from the original"
# What a model may be measured by; where there is no label this is the rule.
MAIN = {
    "error_rate": Metric("error", " %", "", "error", "test error, %", "held-out error, %"),
    "binary_error": Metric(
        "error", " %", "binary error ", "binary error", "binary test error, %", "held-out binary error, %"
    ),
    "rmse": Metric("RMSE", "", "RMSE ", "RMSE", "RMSE on test data", "held-out RMSE"),
    "disagreement": Metric(
        "disagreement", " %", "disagreement ", _AGAINST[0], f"{_AGAINST[0]} on test data, %",
        "held-out disagreement, %", by_original=True,
    ),
    "deviation": Metric(
        "deviation", "", "RMS deviation ", _AGAINST[1], f"{_AGAINST[1]} on test data",
        "held-out deviation", by_original=True,
    ),
}  # fmt: skip
# What is told beside it.
BESIDE = {
    "top5_error_rate": Metric("top-5 error", " %", "top-5 error "),
    "balanced_error": Metric("balanced error", " %", "balanced error "),
    "auc": Metric("AUC", "", "AUC "),
    "mae": Metric("MAE", "", "MAE "),
    "top5_disagreement": Metric("top-5 disagreement", " %", "top-5 disagreement "),
    "balanced_disagreement": Metric("balanced disagreement", " %", "balanced disagreement "),
    "mean_deviation": Metric("mean deviation", "", "mean deviation "),
}
# A loss, and several outputs together.
OTHER = Metric("loss")


def metric(key: str | None) -> Metric:
    """Return how a figure is written, by its key in an evaluation."""
    return MAIN.get(key or "") or BESIDE.get(key or "") or OTHER
