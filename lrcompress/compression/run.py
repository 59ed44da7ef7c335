"""The verb: read a model file, choose a rank, factorize, certify, edit, write, check, record."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcompress.compression.allocate import Shared, factorize_several
from lrcompress.compression.layer import Factorized, LayerTask, Request, factorize_layer
from lrcompress.compression.recording import (
    about,
    about_calibration,
    layer_result,
    new_record,
    own_dataset,
)
from lrcompress.compression.selection import find_targets, finite
from lrcompress.compression.trial import Calibration
from lrcompress.errors import OutputError, in_place_of
from lrcompress.files import check_output, sha256_meanwhile, together
from lrcompress.modelfile import SUFFIXES, ModelFile, Replacement, check_loadable, write_replaced
from lrcompress.records import runs
from lrcompress.records.results import FactorizeResult

# Writes a model file anew under another name, replacing what is there or not.
Convert = Callable[[Path, Path, bool], None]


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
    convert: Convert | None = None,
) -> FactorizeResult:
    """Compress the final Dense layer of a model file; see `lrcompress.factorize`.

    Args:
        source: The model file.
        request: Rank, method and output.
        calibration: Activations, where there is data.
        dataset: Name and scaling of that data, for the record.
        convert: Writes a model file anew in the other format, which only Keras can do; None
            refuses an output of the other format.
    """
    with sha256_meanwhile(source.file.path) as digest:
        return _factorize(source, request, digest, calibration, dataset, convert)


def check_target(output: Path, source: Path, request: Request) -> None:
    """Refuse an output that cannot be written, or whose record would take the place of the input.

    Raises:
        OutputError: As `check_output` and `runs.check_record` do.
    """
    check_output(output, inputs=(source,), overwrite=request.overwrite)
    runs.check_record(output, source, overwrite=request.overwrite)


def _factorize(
    source: Source,
    request: Request,
    digest: Callable[[], str],
    calibration: Calibration | None,
    dataset: dict[str, Any] | None,
    convert: Convert | None,
) -> FactorizeResult:
    """Compress a model file while its hash, for the record, is taken in another thread."""
    started = time.perf_counter()
    path, model = source.file.path, source.model
    targets, remarks = find_targets(model, request)
    if request.output is not None:
        # Refuse before the arithmetic, which may take minutes.
        check_suffix(request.output, model, can_convert=convert is not None)
        if request.output.suffix.lower() not in SUFFIXES[model.format] and convert is not None:
            check_loadable(model)
        check_target(request.output, path, request)
    tasks = [
        LayerTask(model, target, request, calibration, f"factorizing {target.layer.name}")
        for target in targets
    ]
    tasks, left_out = finite(model, tasks, request)
    remarks += left_out
    if len(tasks) == 1:
        shared = Shared([factorize_layer(tasks[0], request)], [])
    else:
        shared = factorize_several(tasks, request, calibration)
    factorized = time.perf_counter()
    output = request.output or default_output(path, model, shared.layers)
    check_target(output, path, request)
    replacements = [
        Replacement(found.target.layer, found.factors.B, found.factors.C, found.factors.bias)
        for found in shared.layers
    ]
    # The model and its record appear at once.
    with together(output, runs.record_path(output)) as pending:
        if output.suffix.lower() in SUFFIXES[model.format] or convert is None:
            written = write_replaced(model, replacements, output, overwrite=request.overwrite)
            hashes = {"factorized": written.sha256}
        else:
            with tempfile.TemporaryDirectory() as folder:
                same_format = Path(folder) / f"model{SUFFIXES[model.format][0]}"
                written = write_replaced(model, replacements, same_format)
                with in_place_of(same_format, path):
                    convert(same_format, output, request.overwrite)
                hashes = {}
        made = pending.at(output)
        finished = time.perf_counter()
        layers = [layer_result(found, written) for found in shared.layers]
        methods = {found.factors.method for found in shared.layers}
        result = FactorizeResult(
            input=path,
            output=output,
            record=runs.record_path(output),
            method=methods.pop() if len(methods) == 1 else "several",
            method_reason=shared.layers[0].reason if len(layers) == 1 else "see each layer",
            layers=layers,
            parameters_before=model.parameters,
            parameters_after=written.parameters,
            bytes_before=source.file.size,
            bytes_after=made.stat().st_size,
            optimizer_bytes=written.optimizer_bytes + source.optimizer_bytes,
            optimizer_bytes_after=written.optimizer_bytes_after,
            warnings=[
                *source.warnings,
                *remarks,
                *shared.remarks,
                *about_calibration(shared.layers, calibration),
                *about(model, layers, written),
            ],
            seconds={
                "factorize": factorized - started,
                "write_and_verify": finished - factorized,
                "total": finished - started,
            },
            modernized=list(source.changes),
        )
        hashes["original"] = digest()
        about_data = dataset or own_dataset(source.file)
        record = new_record(result, source.file, request, about_data, hashes, made)
        record.save(overwrite=request.overwrite, like=path)
    return result


def default_output(path: Path, model: ModelFile, layers: Sequence[Factorized]) -> Path:
    """Return ``<stem>-rank<r><suffix>`` in the current directory; ``-lowrank`` where ranks differ."""
    ranks = {found.factors.rank for found in layers}
    name = f"rank{ranks.pop()}" if len(ranks) == 1 else "lowrank"
    return Path(f"{path.stem}-{name}{fitting_suffix(path, model)}")


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
