"""What each document holds that its readers count on, by type; what else it holds is nobody's concern."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from lrcompress.errors import one_line

Count = Annotated[int, Meta(gt=0, lt=2**40)]
Measure = Literal["error_rate", "binary_error", "rmse", "disagreement", "deviation", "outputs"]
Command = str | list[str]


class Place(str):
    """A path that a system can look for."""

    __slots__ = ()


class Look(dict[str, Any]):
    """A look at the held-out part: its figures are numbers, or were none."""


def checked(value: object, kind: Any) -> Any:  # noqa: ANN401  # a type of msgspec's, and a value of it
    """Return a value of JSON as one of a type.

    Raises:
        ValueError: If it is none; it names the field.
    """
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

    outputs: dict[str, Difference | None] | UnsetType = UNSET
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


class _Choice(Struct):
    message: str


class _Layer(Struct, kw_only=True):
    name: str
    path: str | None = None
    first_name: str | None = None
    is_head: bool | None = None
    kernel_shape: tuple[int, int]
    dtype: str | None = None
    activation: str
    rank: int
    rank_choice: _Choice
    method: str
    method_reason: str | None = None
    parameters_before: int
    parameters_after: int
    frobenius_error: float
    spectral_error: float
    optimality: float
    algorithm: str
    optimality_of: str | None = None
    minimised_error: float | None = None
    minimised_optimum: float | None = None
    exact: bool | None = None
    spectrum_of: str | UnsetType | None = UNSET
    singular_values: list[float] | None = None
    singular_value_ranks: list[int] | None = None
    energy: list[float] | None = None

    def __post_init__(self) -> None:
        """Check that the outlined spectrum has as many values as ranks."""
        outline = (self.singular_values, self.singular_value_ranks, self.energy)
        lengths = {len(values or ()) for values in outline}
        if len(lengths) > 1 or (lengths != {0} and self.spectrum_of is UNSET):
            msg = "Expected singular_values, singular_value_ranks and energy of one length, and spectrum_of"
            raise ValueError(msg)


class _Stage(Evaluation, kw_only=True):
    name: str
    path: Place
    sha256: str | None = None
    parameters: int
    bytes: int
    samples: int | None = None
    errors: float | None = None
    loss: float | None = None
    drop: Difference | None = None


class _Finetuning(Struct, kw_only=True):
    epochs: int
    epochs_done: int | None = None
    best_epoch: int
    seconds: float
    images_per_second: float
    device: str
    dataset: str | None = None
    scaling: str | None = None
    command: Command | None = None
    versions: dict[str, str] | None = None
    settings: dict[str, Any] | None = None
    output: Place | None = None
    history: list[Look] | None = None
    warnings: list[str] | None = None


class _Speed(Struct):
    ratio: float
    low: float
    high: float
    verdict: Literal["faster", "slower", "same", "unclear"]


class _Timed(Struct):
    model: str
    multiplications: float | None
    head_multiplications: float | None
    sha256: str | None = None
    not_counted: list[str] | None = None


class _Time(Struct, kw_only=True):
    what: Literal["model", "head", "layers"]
    batch_size: int
    model: int
    median: float
    q1: float
    q3: float
    samples_per_second: float
    speed: _Speed | None
    runs: int


class _Benchmark(Struct):
    device: str
    cores: int
    models: list[_Timed]
    rows: list[_Time]

    def __post_init__(self) -> None:
        """Check that rows are of these models; the first alone is compared with none."""
        if not self.models or not all(
            0 <= row.model < len(self.models) and (row.model == 0 or row.speed) for row in self.rows
        ):
            msg = "Expected rows of the models, with their speed"
            raise ValueError(msg)


class _Dataset(Struct):
    name: str
    scaling: str
    data_dir: Place | None = None


class Record(Struct, kw_only=True):
    """A run record; see docs/run-record.md."""

    schema_version: Literal[1]
    created: str | None = None
    updated: str | None = None
    command: Command | None = None
    seed: int | None = None
    versions: dict[str, str] | None = None
    method: str | None = None
    method_reason: str | None = None
    layers: list[_Layer]
    stages: list[_Stage]
    finetune: list[_Finetuning]
    parameters_before: int | None = None
    parameters_after: int | None = None
    optimizer_bytes: int | None = None
    optimizer_bytes_after: int | None = None
    dataset: _Dataset | None = None
    seconds: dict[str, float] | None = None
    warnings: list[str] | None = None
    benchmark: _Benchmark | None = None
    modernized: list[str] | None = None
