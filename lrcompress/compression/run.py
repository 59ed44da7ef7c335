"""The verb: choose ranks, factorize, certify, edit, write, check, record."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress import modelfile
from lrcompress.compression import record
from lrcompress.compression.choose import choose_rank, factorize_several, pick
from lrcompress.compression.layer import Factorized, LayerTask, finite
from lrcompress.compression.request import (
    Request,
    Target,
    check_suffix,
    default_output,
    find_targets,
    same_format,
)
from lrcompress.errors import in_place_of
from lrcompress.files import check_output, names, sha256_meanwhile, together
from lrcompress.modelfile import ModelFile, Written
from lrcompress.records import runs
from lrcompress.records.results import FactorizeResult, LayerResult

if TYPE_CHECKING:
    from lrcompress.compression.trial import Calibration
    from lrcompress.records.network import ChangedLayer, Network

# Writes a model file anew in the other format, replacing what is there or not, which only Keras can.
Convert = Callable[[Path, Path, bool], None]


@dataclass(frozen=True)
class Source:
    """The user's file, the model that is split (it, or a copy of it in the terms of Keras 3), and its layers."""

    file: ModelFile
    model: ModelFile
    targets: list[Target]
    remarks: list[str]  # on those that cannot be split
    changes: tuple[str, ...] = ()  # what the copy has otherwise, a line each
    warnings: tuple[str, ...] = ()
    optimizer_bytes: int = 0  # that the copy was made without


def find_source(model: ModelFile, request: Request) -> Source:
    """Return a model file with the layers that are asked for."""
    return Source(model, model, *find_targets(model, request))


def check_target(output: Path, model: ModelFile, request: Request) -> None:
    """Refuse an output that cannot be written, or whose record would take the place of the input."""
    check_output(output, inputs=(model.path,), overwrite=request.overwrite)
    runs.check_record(output, model.path, overwrite=request.overwrite)


@dataclass(frozen=True)
class Ready:
    """What is ready to be written, to a path in the format of the model, and what will be told of it."""

    ending: str  # of the default output's stem
    write: Callable[[Path, bool], Written]
    # What became of each, told by what was written.
    layers: Callable[[Written], list[LayerResult] | list[ChangedLayer]]
    reason: str  # for the method
    remarks: Sequence[str] = ()
    network: Network | None = None


def factorize_file(
    source: Source,
    request: Request,
    convert: Convert,
    *,
    calibration: Calibration | None = None,
    dataset: dict[str, Any] | None = None,
) -> FactorizeResult:
    """Factorize layers of a model file; see `lrcompress.factorize`."""

    def work() -> Ready:
        layers, remarks = _factorized(source, request, calibration)
        ranks = {found.factors.rank for found in layers}
        replacements = [
            modelfile.Replacement(
                found.target.layer, found.factors.B, found.factors.C, found.factors.bias
            )
            for found in layers
        ]
        return Ready(
            ending=names.RANK.format(rank=ranks.pop()) if len(ranks) == 1 else names.LOWRANK,
            write=lambda path, overwrite: modelfile.write_replaced(
                source.model, replacements, path, overwrite=overwrite
            ),
            layers=lambda written: [record.layer_result(found, written) for found in layers],
            reason=layers[0].reason if len(layers) == 1 else "see each layer",
            remarks=[*remarks, *record.about_calibration(layers, calibration)],
        )

    return write_result(source, request, convert, work, dataset)


def write_result(
    source: Source,
    request: Request,
    convert: Convert,
    work: Callable[[], Ready],
    dataset: dict[str, Any] | None = None,
) -> FactorizeResult:
    """Do the work, write what it comes to with its run record, and return both as a result."""
    started = time.perf_counter()
    model = source.model
    if request.output is not None:
        # Refuse before the arithmetic, which may take minutes.
        check_suffix(request.output, model, can_convert=True)
        if not same_format(request.output, model):
            modelfile.check_loadable(model)
        check_target(request.output, source.file, request)
    # The hash, for the record, is taken in another thread.
    with sha256_meanwhile(source.file.path) as digest:
        ready = work()
        factorized = time.perf_counter()
        output = request.output or default_output(model, source.file.path, ready.ending)
        check_target(output, source.file, request)
        # The model and its record appear at once.
        with together(output, runs.record_path(output)) as pending:
            written, hashes = _write(source, ready, output, request, convert)
            finished = time.perf_counter()
            layers = ready.layers(written)
            methods = {layer.method for layer in layers}
            made = pending.at(output)
            result = FactorizeResult(
                input=source.file.path,
                output=output,
                record=runs.record_path(output),
                method=methods.pop() if len(methods) == 1 else "several",
                method_reason=ready.reason,
                layers=layers,
                parameters_before=model.parameters,
                parameters_after=written.parameters,
                bytes_before=source.file.size,
                bytes_after=made.stat().st_size,
                optimizer_bytes=written.optimizer_bytes + source.optimizer_bytes,
                optimizer_bytes_after=written.optimizer_bytes_after,
                warnings=[
                    *source.warnings,
                    *source.remarks,
                    *ready.remarks,
                    *record.about(model, layers, written),
                ],
                seconds={
                    "factorize": factorized - started,
                    "write_and_verify": finished - factorized,
                    "total": finished - started,
                },
                modernized=list(source.changes),
                network=ready.network,
            )
            hashes["original"] = digest()
            kept = record.new_record(result, source.file, request, dataset, hashes, made)
            kept.document["parameters_by_layer"] = record.by_layer(model, written)
            kept.save(overwrite=request.overwrite, like=source.file.path)
    return result


def _factorized(
    source: Source, request: Request, calibration: Calibration | None
) -> tuple[list[Factorized], list[str]]:
    tasks = [
        LayerTask(source.model, target, request, calibration, f"factorizing {target.layer.name}")
        for target in source.targets
    ]
    tasks, remarks = finite(source.model, tasks, request)
    if len(tasks) == 1:
        asked = pick(request, tasks[0].counts)
        return [tasks[0].factorized(choose_rank(tasks[0], asked))], remarks
    layers, more = factorize_several(tasks, request)
    return layers, remarks + more


def _write(
    source: Source, ready: Ready, output: Path, request: Request, convert: Convert
) -> tuple[Written, dict[str, str]]:
    """Write the new file and return its hash, where that is known; an other format through Keras."""
    model, path = source.model, source.file.path
    if same_format(output, model):
        written = ready.write(output, request.overwrite)
        return written, {"factorized": written.sha256}
    with tempfile.TemporaryDirectory() as folder:
        unconverted = Path(folder) / f"model{modelfile.SUFFIXES[model.format][0]}"
        written = ready.write(unconverted, False)
        with in_place_of(unconverted, path):
            convert(unconverted, output, request.overwrite)
    return written, {}
