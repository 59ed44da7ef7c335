"""The verb: read a model file, choose a rank, factorize, certify, edit, write, check, record."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcompress import runs
from lrcompress.atomic import check_output
from lrcompress.choosing import RankChoice
from lrcompress.errors import OutputError
from lrcompress.layerwise import Calibration, Request, factorize_layer
from lrcompress.lowrank import Factors, parameters
from lrcompress.modelfile import (
    DenseLayer,
    ModelFile,
    Replacement,
    Written,
    find_head,
    write_replaced,
)
from lrcompress.results import FactorizeResult, LayerResult

SUFFIXES = {"hdf5": (".h5", ".hdf5"), "keras": (".keras",)}


@dataclass(frozen=True)
class Source:
    """What is factorized.

    Attributes:
        file: The user's model file.
        model: The file that is split: the same, or a copy of it in the terms of Keras 3.
        changes: What that copy has otherwise, a line each.
        warnings: What the user should know of it.
        optimizer_bytes: Optimizer state that the copy was made without.
    """

    file: ModelFile
    model: ModelFile
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    optimizer_bytes: int = 0


def factorize_file(
    source: Source,
    request: Request,
    *,
    calibration: Calibration | None = None,
    dataset: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    convert: Callable[[Path, Path], None] | None = None,
) -> FactorizeResult:
    """Compress the final Dense layer of a model file; see `lrcompress.factorize`.

    Args:
        source: The model file.
        request: Rank, method and output.
        calibration: Activations, where there is data.
        dataset: Name and scaling of that data, for the record.
        progress: Told of refinement steps done and in all.
        convert: Writes a model file anew in the other format, which only Keras can do; None
            refuses an output of the other format.
    """
    started = time.perf_counter()
    path, model = source.file.path, source.model
    head = find_head(model, request.layer)
    if request.output is not None:
        # Refuse before the arithmetic, which may take minutes.
        check_suffix(request.output, model, can_convert=convert is not None)
        check_output(request.output, inputs=(path,), overwrite=request.overwrite)
    factors, choice, reason = factorize_layer(model, head, request, calibration, progress)
    factorized = time.perf_counter()
    output = request.output or default_output(path, model, choice.rank)
    check_output(output, inputs=(path,), overwrite=request.overwrite)
    replacement = Replacement(head, factors.B, factors.C, factors.bias)
    if output.suffix.lower() in SUFFIXES[model.format] or convert is None:
        written = write_replaced(model, [replacement], output, overwrite=request.overwrite)
    else:
        with tempfile.TemporaryDirectory() as folder:
            same_format = Path(folder) / f"model{SUFFIXES[model.format][0]}"
            written = write_replaced(model, [replacement], same_format)
            convert(same_format, output)
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
        bytes_before=source.file.size,
        bytes_after=output.stat().st_size,
        optimizer_bytes=written.optimizer_bytes + source.optimizer_bytes,
        warnings=[*source.warnings, *_warnings(model, layer, written)],
        seconds={
            "factorize": factorized - started,
            "write_and_verify": finished - factorized,
            "total": finished - started,
        },
        modernized=list(source.changes),
    )
    _record(result, source.file, request, dataset or _own_dataset(model)).save()
    return result


def default_output(path: Path, model: ModelFile, rank: int) -> Path:
    """Return ``<stem>-rank<r><suffix>`` in the current directory."""
    return Path(f"{path.stem}-rank{rank}{fitting_suffix(path, model)}")


def fitting_suffix(path: Path, model: ModelFile) -> str:
    """Return the file's own suffix, or the one that its content asks for.

    A .keras file that holds HDF5 cannot be loaded under that name.
    """
    suffixes = SUFFIXES[model.format]
    return path.suffix if path.suffix.lower() in suffixes else suffixes[0]


def check_suffix(output: Path, model: ModelFile, *, can_convert: bool) -> None:
    """Refuse an output whose suffix names a format that cannot be written.

    Raises:
        OutputError: With code ``output_suffix``.
    """
    allowed = [*SUFFIXES[model.format]]
    if can_convert:
        allowed = [suffix for suffixes in SUFFIXES.values() for suffix in suffixes]
    if output.suffix.lower() not in allowed:
        msg = f"Output {output} must end in {' or '.join(allowed)}, which decides its format."
        raise OutputError(msg, code="output_suffix")


def _layer_result(
    head: DenseLayer, factors: Factors, choice: RankChoice, written: Written
) -> LayerResult:
    m, n = head.kernel_shape
    bias = n if head.use_bias else 0
    return LayerResult(
        name=head.name,
        path=head.path,
        first_name=written.first_names[head.path],
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
        "modernized": result.modernized,
    }
    record.set_stage("original", result.input, result.parameters_before)
    record.set_stage("factorized", result.output, result.parameters_after)
    return record
