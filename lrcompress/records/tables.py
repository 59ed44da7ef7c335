"""What the documents hold that are tables: of trained networks, of a comparison, of a sweep."""

from __future__ import annotations

from msgspec import Struct

from lrcompress.records.schema import Count, Difference, Evaluation, Place


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
