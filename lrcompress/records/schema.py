"""What documents and their tables hold that readers count on, by type, and how they are read.

What else they hold is nobody's concern.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from lrcompress.errors import one_line

Count = Annotated[int, Meta(gt=0, lt=2**40)]
Measure = Literal[
    "error_rate", "perplexity", "binary_error", "rmse", "disagreement", "deviation", "outputs"
]
Command = str | list[str]


class Place(str):
    """A path that a system can look for."""

    __slots__ = ()


class Look(dict[str, Any]):
    """A look at the held-out part: its figures are numbers, or were none."""


def checked(value: object, kind: Any) -> Any:  # noqa: ANN401  # a type of msgspec's, and a value of it
    """Return a value of JSON as one of a type."""
    return msgspec.convert(value, kind, dec_hook=_more_than_a_type)


def wrong(value: object, kind: Any) -> str | None:  # noqa: ANN401
    """Return in what a value of JSON is not of a type, in a few words that name the field; None if it is."""
    try:
        checked(value, kind)
    except ValueError as error:
        return one_line(error)
    return None


def _more_than_a_type(kind: type, value: Any) -> Any:  # noqa: ANN401
    if kind is Place:
        parts = value.replace("\\", "/").split("/") if isinstance(value, str) else ["\0"]
        if sum(map(len, parts)) < 4000 and all(
            len(part.encode()) < 256 and "\0" not in part for part in parts
        ):
            return Place(value)
        msg = "Expected a path"
        raise ValueError(msg)
    if kind is Look:
        msgspec.convert(value, _Look)
        figures = {k: v for k, v in value.items() if k.startswith(("loss", "validation_"))}
        msgspec.convert(figures, dict[str, float | None])
        return Look(value)
    raise NotImplementedError


class _Look(Struct):
    epoch: int
    what: str | None = None
    kept: bool = False


class Evaluation(Struct, kw_only=True):
    """What an evaluation found: a figure with its interval, or outputs with theirs."""

    measure: Measure | None = None
    outputs: dict[str, Evaluation] | None = None
    error_rate: float | None = None
    error_rate_low: float | None = None
    error_rate_high: float | None = None
    perplexity: float | None = None
    perplexity_low: float | None = None
    perplexity_high: float | None = None
    binary_error: float | None = None
    binary_error_low: float | None = None
    binary_error_high: float | None = None
    rmse: float | None = None
    rmse_low: float | None = None
    rmse_high: float | None = None
    disagreement: float | None = None
    disagreement_low: float | None = None
    disagreement_high: float | None = None
    deviation: float | None = None
    deviation_low: float | None = None
    deviation_high: float | None = None
    held_out_error_rate: float | None = None
    held_out_perplexity: float | None = None
    held_out_binary_error: float | None = None
    held_out_rmse: float | None = None
    held_out_disagreement: float | None = None
    held_out_deviation: float | None = None
    held_out_outputs: float | None = None
    padding: float | None = None
    balanced_error: float | None = None
    auc: float | None = None

    def __post_init__(self) -> None:
        if self.measure == "outputs" and self.outputs is None:
            msg = "Object missing required field `outputs`"
            raise ValueError(msg)


class Difference(Struct):
    """A paired difference with its interval, or those of several outputs."""

    outputs: dict[str, Difference] | UnsetType = UNSET
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None

    def __post_init__(self) -> None:
        if self.outputs is UNSET and None in (self.difference, self.low, self.high, self.p_value):
            msg = "Expected difference, low, high and p_value"
            raise ValueError(msg)


class _Published(Struct):
    error_rate: float
    parameters: float | None = None
    seconds: float | None = None


class Row(Struct, kw_only=True):
    """A row of `train-from-scratch` or `compare`: what tables and figures are made of."""

    rank: int | None = None
    seed: int | None = None
    arm: str | None = None
    model: Place | None = None
    error_rate: float
    error_rate_low: float
    error_rate_high: float
    samples: Count | None = None
    wrong: str | None = None
    loss: float | None = None
    seconds: float | None = None
    images: float | None = None
    layer_parameters: float | None = None
    model_parameters: float | None = None
    paper_parameters: float | None = None
    published: _Published | None = None


class ScratchRow(Row, kw_only=True):
    """One of `train-from-scratch`, which has a seed."""

    seed: int


class ModelRow(Row, kw_only=True):
    """One whose network is a stage of a run."""

    model: Place
    model_parameters: int
    bytes: int
    seconds: float
    loss: float


class _ResultsSettings(Struct):
    dataset: str


class Results(Struct):
    """The rows of `train-from-scratch` or `compare`, on one data set."""

    settings: _ResultsSettings
    rows: list[Row]


class _SweepRow(Evaluation, kw_only=True):
    method: str
    method_used: str | None = None
    rank: int
    parameters_after: int
    layer_reduction: float
    model_reduction: float
    energy: float | None
    spectral_error: float
    drop: Difference | None = None


class Sweep(Struct):
    """What `sweep --json` prints."""

    layer: str
    kernel_shape: tuple[int, int]
    parameters: int
    singular_values: list[float]
    break_even_rank: int
    original: Evaluation
    rows: list[_SweepRow]


class _ComparisonSettings(Struct):
    dataset: str
    finetune_epochs: int


class _Summary(Struct):
    arm: str
    rank: int | None
    error_rate: float
    error_rate_low: float
    error_rate_high: float
    layer_parameters: int
    model_parameters: int


class Comparison(Struct):
    """A `compare.json`."""

    settings: _ComparisonSettings
    summary: list[_Summary]
