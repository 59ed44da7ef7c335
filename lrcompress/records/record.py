"""What a run record holds: layers, stages, fine-tunings, times; see docs/run-record.md."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from lrcompress.records.schema import Command, Difference, Evaluation, Look, Place


class _Share(Struct):
    path: str
    class_name: str | None
    parameters_before: int
    parameters_after: int


class _Choice(Struct):
    message: str


_OF_A_MATRIX = (
    "kernel_shape", "activation", "rank", "rank_choice", "frobenius_error", "spectral_error", "optimality",
    "algorithm",
)  # fmt: skip
_OF_A_FORM = ("kind", "size", "largest")


class _Layer(Struct, kw_only=True):
    """A matrix that became two factors; or, with a `form`, a layer of a whole network."""

    name: str
    path: str | None = None
    first_name: str | None = None
    is_head: bool | None = None
    kernel_shape: tuple[int, int] | None = None
    dtype: str | None = None
    activation: str | None = None
    rank: int | None = None
    rank_choice: _Choice | None = None
    method: str
    method_reason: str | None = None
    parameters_before: int
    parameters_after: int
    frobenius_error: float | None = None
    spectral_error: float | None = None
    optimality: float | None = None
    algorithm: str | None = None
    optimality_of: str | None = None
    minimised_error: float | None = None
    minimised_optimum: float | None = None
    exact: bool | None = None
    spectrum_of: str | UnsetType | None = UNSET
    singular_values: list[float] | None = None
    singular_value_ranks: list[int] | None = None
    energy: list[float] | None = None
    form: str | None = None
    kind: str | None = None
    size: int | None = None
    largest: int | None = None
    multiplications_before: int | None = None
    multiplications_after: int | None = None
    error: float | None = None
    share: float | None = None
    first_names: list[str] | None = None

    def __post_init__(self) -> None:
        for key in _OF_A_MATRIX if self.form is None else _OF_A_FORM:
            if getattr(self, key) is None:
                msg = f"Object missing required field `{key}`"
                raise ValueError(msg)
        outline = (self.singular_values, self.singular_value_ranks, self.energy)
        lengths = {len(values or ()) for values in outline}
        if len(lengths) > 1 or (lengths != {0} and self.spectrum_of is UNSET):
            msg = "Expected singular_values, singular_value_ranks and energy of one length, and spectrum_of"
            raise ValueError(msg)


class _Curve(Struct):
    parameters: int
    size: list[int]
    parameters_saved: list[int]
    error: list[float]

    def __post_init__(self) -> None:
        if not len(self.size) == len(self.parameters_saved) == len(self.error):
            msg = "Expected size, parameters_saved and error of one length"
            raise ValueError(msg)


class _Curves(Struct):
    class_name: str
    parameters: int
    forms: dict[str, _Curve]


class _Budget(Struct):
    name: str
    value: float
    default: bool = False


class _Measured(Struct):
    output_error: float
    agreement: float | None = None
    drop: float | None = None


class _Network(Struct, kw_only=True):
    layers: list[str]
    inputs: Literal["data set", "synthetic", "none"]
    curves: dict[str, _Curves]
    kept: dict[str, str]
    budget: _Budget | None = None
    multiple: int | None = None
    samples: int | None = None
    predicted: float | None = None
    measured: _Measured | None = None


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
        # The first model alone is compared with none.
        if not self.models or not all(
            0 <= row.model < len(self.models) and (row.model == 0 or row.speed) for row in self.rows
        ):
            msg = "Expected rows of the models, with their speed"
            raise ValueError(msg)


class _Latency(Struct):
    median: float
    q1: float
    q3: float
    runs: int


class _ExportedOriginal(Struct, kw_only=True):
    model: Place
    bytes_after: int
    latency: _Latency
    speed: _Speed


class _ExportErrors(Struct):
    keras: Evaluation
    exported: Evaluation
    difference: Difference


class _Export(Struct, kw_only=True):
    path: Place
    sha256: str | None
    model: Place
    format: str
    int8: bool | str
    bytes_after: int
    runtime: str
    latency: _Latency
    errors: _ExportErrors | None = None
    original: _ExportedOriginal | None = None
    inputs: dict[str, Any] | None = None
    difference: dict[str, float | None] | None = None


class _Tuned(Struct, kw_only=True):
    kept: bool
    why: str
    samples: int | None = None
    measure: str | None = None
    before: float | None = None
    after: float | None = None


class _Job(Struct, kw_only=True):
    asked: dict[str, Any]
    output: Place
    done: bool
    finetune: _Tuned | None = None


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
    parameters_by_layer: list[_Share] | None = None
    optimizer_bytes: int | None = None
    optimizer_bytes_after: int | None = None
    dataset: _Dataset | None = None
    seconds: dict[str, float] | None = None
    warnings: list[str] | None = None
    benchmark: _Benchmark | None = None
    modernized: list[str] | None = None
    network: _Network | None = None
    exports: list[_Export] | None = None
    compress: _Job | None = None
