"""What a run record holds: layers, stages, fine-tunings, times; see docs/run-record.md."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from lrcompress.records.schema import Command, Difference, Evaluation, Look, Place


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
