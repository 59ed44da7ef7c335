"""The verb: read a model file, choose a rank, factorize, certify, edit, write, check, record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress import runs
from lrcompress.atomic import check_output
from lrcompress.choosing import RankChoice, choose_rank, pick_rule
from lrcompress.errors import KernelError, OutputError
from lrcompress.lowrank import (
    Factors,
    InputMoments,
    check_rank,
    choose_method,
    factorize_kernel,
    parameters,
    singular_values,
)
from lrcompress.modelfile import (
    DenseLayer,
    ModelFile,
    Replacement,
    Written,
    find_head,
    open_model,
    read_bias,
    read_kernel,
    write_replaced,
)

SUFFIXES = {"hdf5": (".h5", ".hdf5"), "keras": (".keras",)}


@dataclass(frozen=True)
class Calibration:
    """What `training` measured on the original model, as plain arrays.

    Attributes:
        activations: Unlabelled inputs of the layer, (samples, m) or (samples, steps, m).
        held_out: Inputs of the layer on validation data, same last axis; None forbids `max_drop`.
        held_out_labels: Class numbers, (samples,) or (samples, steps).
    """

    activations: NDArray[np.float32]
    held_out: NDArray[np.float32] | None = None
    held_out_labels: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class LayerResult:
    """One Dense layer that became two.

    Attributes:
        name: The layer's name, kept by the second of the two.
        path: The name behind those of the nested models the layer stands in.
        first_name: Name of the new first layer.
        kernel_shape: (m, n) of the original kernel.
        dtype: Of the stored kernel and its factors.
        activation: Kept on the second layer.
        softmax: Whether softmax along the classes is what follows.
        rank: r.
        choice: How the rank was chosen.
        parameters_before: m n, and n where there is a bias.
        parameters_after: r (m + n), and n where there is a bias.
        factors: B (m, r), C (r, n), bias and certificate.
    """

    name: str
    path: str
    first_name: str
    kernel_shape: tuple[int, int]
    dtype: str
    activation: str
    softmax: bool
    rank: int
    choice: RankChoice
    parameters_before: int
    parameters_after: int
    factors: Factors = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Return what a script reads: no arrays but the singular values."""
        certificate = self.factors.certificate
        return {
            "name": self.name,
            "path": self.path,
            "first_name": self.first_name,
            "kernel_shape": list(self.kernel_shape),
            "dtype": self.dtype,
            "activation": self.activation,
            "softmax": self.softmax,
            "rank": self.rank,
            "rank_choice": self.choice.to_json(),
            "method": self.factors.method,
            "parameters_before": self.parameters_before,
            "parameters_after": self.parameters_after,
            "frobenius_error": certificate.frobenius_error,
            "spectral_error": certificate.spectral_error,
            "optimality": certificate.optimality,
            "algorithm": certificate.algorithm,
            "singular_values": [float(s) for s in self.factors.singular_values],
        }


@dataclass
class FactorizeResult:
    """What `factorize` did.

    Attributes:
        input: The original file, untouched.
        output: The compressed file.
        record: Its run record.
        method: svd, centered, whitened or refined.
        method_reason: Why this method, in a few words.
        layers: One entry a factorized layer.
        parameters_before: Of the whole model.
        parameters_after: Of the whole model.
        bytes_before: File size.
        bytes_after: File size.
        optimizer_bytes: Stored optimizer state that was dropped; part of the bytes saved.
        warnings: What the user should know.
        seconds: Wall time of the parts.
        error_rate_before: Of the original on the test data, in percent; None without data.
        error_rate_after: Of the compressed model; None without data.
        model: The compressed Keras model, where the input was a model in memory; the paths then
            name temporary files that are gone, unless an output was given.
    """

    input: Path
    output: Path
    record: Path
    method: str
    method_reason: str
    layers: list[LayerResult]
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    optimizer_bytes: int
    warnings: list[str]
    seconds: dict[str, float]
    error_rate_before: float | None = None
    error_rate_after: float | None = None
    model: Any = None

    @property
    def rank(self) -> int:
        """Rank of the first layer, which is the only one unless several were named."""
        return self.layers[0].rank

    @property
    def factors(self) -> Factors:
        """Factors of the first layer."""
        return self.layers[0].factors

    def to_json(self) -> dict[str, Any]:
        """Return the document that `lrcompress factorize --json` prints."""
        return {
            "schema_version": runs.SCHEMA_VERSION,
            "input": str(self.input),
            "output": str(self.output),
            "record": str(self.record),
            "rank": self.rank,
            "method": self.method,
            "method_reason": self.method_reason,
            "layers": [layer.to_json() for layer in self.layers],
            "parameters_before": self.parameters_before,
            "parameters_after": self.parameters_after,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "optimizer_bytes": self.optimizer_bytes,
            "error_rate_before": self.error_rate_before,
            "error_rate_after": self.error_rate_after,
            "warnings": self.warnings,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Request:
    """What the user asked of `factorize`; the defaults are the command line's."""

    output: Path | None = None
    layer: str | None = None
    rank: int | None = None
    energy: float | None = None
    reduction: float | None = None
    max_drop: float | None = None
    method: str = "auto"
    overwrite: bool = False
    force: bool = False
    seed: int = 0
    command: tuple[str, ...] = ()


def factorize_file(
    path: Path,
    request: Request,
    *,
    model: ModelFile | None = None,
    calibration: Calibration | None = None,
    dataset: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FactorizeResult:
    """Compress the final Dense layer of a model file; see `lrcompress.factorize`.

    Args:
        path: The model file.
        request: Rank, method and output.
        model: The file, if it is already open.
        calibration: Activations, where there is data.
        dataset: Name and scaling of that data, for the record.
        progress: Told of refinement steps done and in all.
    """
    started = time.perf_counter()
    model = model or open_model(path)
    head = find_head(model, request.layer)
    if request.output is not None:
        # Refuse before the arithmetic, which may take minutes.
        _check_suffix(request.output, model)
        check_output(request.output, inputs=(path,), overwrite=request.overwrite)
    factors, choice, reason = _factorize_layer(model, head, request, calibration, progress)
    factorized = time.perf_counter()
    output = request.output or default_output(path, model, choice.rank)
    check_output(output, inputs=(path,), overwrite=request.overwrite)
    replacement = Replacement(head, factors.B, factors.C, factors.bias)
    written = write_replaced(model, [replacement], output, overwrite=request.overwrite)
    finished = time.perf_counter()
    layer = _layer_result(head, factors, choice, written)
    result = FactorizeResult(
        input=path,
        output=output,
        record=runs.record_path(output),
        method=factors.method,
        method_reason=reason,
        layers=[layer],
        parameters_before=model.parameters,
        parameters_after=written.parameters,
        bytes_before=model.size,
        bytes_after=written.size,
        optimizer_bytes=written.optimizer_bytes,
        warnings=_warnings(model, layer, written),
        seconds={
            "factorize": factorized - started,
            "write_and_verify": finished - factorized,
            "total": finished - started,
        },
    )
    _record(result, model, request, dataset or _own_dataset(model)).save()
    return result


def default_output(path: Path, model: ModelFile, rank: int) -> Path:
    """Return ``<stem>-rank<r><suffix>`` in the current directory."""
    suffixes = SUFFIXES[model.format]
    # A .keras file that holds HDF5 cannot be loaded under that name; give it the right one.
    suffix = path.suffix if path.suffix.lower() in suffixes else suffixes[0]
    return Path(f"{path.stem}-rank{rank}{suffix}")


def _check_suffix(output: Path, model: ModelFile) -> None:
    suffixes = SUFFIXES[model.format]
    if output.suffix.lower() not in suffixes:
        msg = (
            f"Output {output} does not end in {' or '.join(suffixes)}, the format of {model.path}; "
            "factorize keeps the format: give an output name that ends so."
        )
        raise OutputError(msg, code="output_suffix")


def _factorize_layer(
    model: ModelFile,
    head: DenseLayer,
    request: Request,
    calibration: Calibration | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[Factors, RankChoice, str]:
    m, n = head.kernel_shape
    rule, value, is_default = pick_rule(
        request.rank, request.energy, request.reduction, request.max_drop,
        has_data=calibration is not None and calibration.held_out is not None,
    )  # fmt: skip
    if rule == "rank":
        check_rank(int(value), m, n, force=request.force)
    elif not request.force:
        # Rank 1 saves least of all; where even it saves nothing, say so before any arithmetic.
        check_rank(1, m, n)
    kernel, bias = read_kernel(model, head), read_bias(model, head)
    method, reason = choose_method(
        request.method,
        softmax=head.softmax,
        has_bias=head.use_bias,
        has_data=calibration is not None,
    )
    activations = None if calibration is None else calibration.activations
    moments = None
    if activations is not None:
        moments = InputMoments(m)
        moments.update(activations)
    cache: dict[int, Factors] = {}

    def at_rank(rank: int) -> Factors:
        if rank not in cache:
            cache[rank] = factorize_kernel(
                kernel, bias, rank, method,
                softmax=head.softmax, activation=head.activation,
                moments=moments, activations=activations, progress=progress,
            )  # fmt: skip
        return cache[rank]

    def truncated_singular_values() -> NDArray[np.float64]:
        centre = method == "centered"
        return singular_values(kernel - kernel.mean(axis=1, keepdims=True) if centre else kernel)

    try:
        choice = choose_rank(
            rule, value, (m, n), truncated_singular_values,
            None if calibration is None else _held_out_drop(kernel, bias, calibration, at_rank),
            default=is_default,
        )  # fmt: skip
        check_rank(choice.rank, m, n, force=request.force)
        return at_rank(choice.rank), choice, reason
    except KernelError as error:
        msg = f"Layer {head.path!r} of {model.path}: {error}"
        raise KernelError(msg, code=error.code) from error


def _held_out_drop(
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    calibration: Calibration,
    at_rank: Callable[[int], Factors],
) -> Callable[[int], float] | None:
    """Return the drop in points at a rank, by the head alone: what follows it keeps the order."""
    x, y = calibration.held_out, calibration.held_out_labels
    if x is None or y is None:
        return None

    def error_rate(logits: NDArray[Any]) -> float:
        if logits.shape[-1] == 1:
            return 100.0 * float(((logits[..., 0] > 0) != y).mean())
        return 100.0 * float((logits.argmax(axis=-1) != y).mean())

    offset = 0.0 if bias is None else bias.astype(np.float32)
    original = error_rate(x @ kernel.astype(np.float32) + offset)

    def drop(rank: int) -> float:
        factors = at_rank(rank)
        added = offset if factors.bias is None else factors.bias.astype(np.float32)
        logits = x @ factors.B.astype(np.float32) @ factors.C.astype(np.float32) + added
        return error_rate(logits) - original

    return drop


def _layer_result(
    head: DenseLayer, factors: Factors, choice: RankChoice, written: Written
) -> LayerResult:
    m, n = head.kernel_shape
    bias = n if head.use_bias else 0
    return LayerResult(
        name=head.name,
        path=head.path,
        first_name=written.first_names[head.name],
        kernel_shape=head.kernel_shape,
        dtype=head.dtype,
        activation=head.activation,
        softmax=head.softmax,
        rank=choice.rank,
        choice=choice,
        parameters_before=parameters(m, n) + bias,
        parameters_after=parameters(m, n, choice.rank) + bias,
        factors=factors,
    )


def _warnings(model: ModelFile, layer: LayerResult, written: Written) -> list[str]:
    warnings = list(written.warnings)
    share = layer.parameters_before / max(model.parameters, 1)
    if share < 0.01:
        warnings.append(
            f"Layer {layer.name!r} holds {100 * share:.2f} % of the model's parameters: however small it "
            "gets, the model hardly shrinks. `lrcompress inspect` shows where the parameters are."
        )
    if layer.parameters_after >= layer.parameters_before:
        warnings.append(f"Rank {layer.rank} saves nothing here; it was forced.")
    return warnings


def _own_dataset(model: ModelFile) -> dict[str, Any] | None:
    """Return the data set a model trained by lrcompress names in its own file."""
    origin = model.provenance or {}
    name, scaling = origin.get("dataset"), origin.get("scaling")
    if isinstance(name, str) and isinstance(scaling, str):
        return {"name": name, "scaling": scaling, "source": "model file"}
    return None


def _record(
    result: FactorizeResult, model: ModelFile, request: Request, dataset: dict[str, Any] | None
) -> runs.RunRecord:
    record = runs.new_record(result.output, list(request.command), request.seed)
    record.document |= {
        "method": result.method,
        "method_reason": result.method_reason,
        "format": model.format,
        "keras_version": model.keras_version,
        "layers": [layer.to_json() for layer in result.layers],
        "parameters_before": result.parameters_before,
        "parameters_after": result.parameters_after,
        "optimizer_bytes": result.optimizer_bytes,
        "dataset": dataset,
        "seconds": result.seconds,
        "warnings": result.warnings,
    }
    record.set_stage("original", result.input, result.parameters_before)
    record.set_stage("factorized", result.output, result.parameters_after)
    return record
