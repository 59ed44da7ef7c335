"""`export`: a model in the format of the runtime that it is shipped with, run and compared there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import DatasetError, LRCompressError
from lrcompress.events import before_keras, progress
from lrcompress.files import (
    check_output,
    check_output_folder,
    replacing,
    replacing_folder,
)
from lrcompress.modelfile import ModelFile, model_of, open_for_keras
from lrcompress.records import runs
from lrcompress.records.exported import ExportResult
from lrcompress.verbs.context import find_data, original_of, record_beside
from lrcompress.verbs.in_memory import takes_live_models

if TYPE_CHECKING:
    from lrcompress.modelfile import Chain
    from lrcompress.records.runs import RunRecord
    from lrcompress.runtimes import Runtime

# Of random inputs, and of test data whose outputs are compared one by one.
RANDOM_SAMPLES, COMPARED_SAMPLES = 100, 1_000
Quietly = Callable[[], AbstractContextManager[None]]


@takes_live_models()
def export(
    model: Any,  # noqa: ANN401  # a path, or a Keras model
    *,
    format: str | None = None,
    int8: bool = False,
    against: Any = None,  # noqa: ANN401
    dataset: Any = None,  # noqa: ANN401  # a name, or data in any arrangement
    data_dir: str | Path | None = None,
    scaling: str | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    seconds: float = 1.0,
    quietly: Quietly = nullcontext,
) -> ExportResult:
    """Write a model for LiteRT, ONNX Runtime or TensorFlow, and run it there.

    The exported model runs on test data, or random inputs, and its outputs are compared with those
    of the Keras model before it is put in place.

    Args:
        model: A `.h5`, `.hdf5` or `.keras` file that Keras loads, or a Keras model in memory.
        format: ``litert``, ``onnx`` or ``saved-model``; default by the output's suffix
            (``.tflite``, ``.onnx``, none), or ``litert``.
        int8: LiteRT only: weights as 8-bit integers (dynamic range).
        against: The original, which is exported the same way and timed in turns; default the one that the
            model's run record names.
        dataset: Whose test part to run on, as for `lrcompress.factorize`. Default the one that the model
            file or its record names, where it is at hand, else random inputs.
        data_dir: First folder in which a named data set is sought.
        scaling: Default the recorded one, or detected.
        output: Default ``<stem>.tflite`` (or as the format has it) beside the model; of a model in
            memory ``<its name>.tflite`` in the current directory.
        overwrite: Replace an existing output.
        seconds: Time for each model's latency.
        quietly: Returns a context in which exporters and runtimes may write to stderr.

    Raises:
        ModelFileError: If a file cannot be read.
        MissingExtraError: If a package of that format is missing.
        DatasetError: If the data set asked for is missing or does not fit the model.
        OutputError: If the output exists, has another suffix, or cannot be written.
        TrainingError: If Keras cannot load or export the model, or its runtime cannot run it.
        VerificationError: If the outputs are not those of the Keras model.
    """
    from lrcompress.runtimes import check_packages, choose

    path = Path(model)
    opened = open_for_keras(path)
    live = model_of(path)
    place_of = path if live is None else Path(f"{live.name}{path.suffix}".replace("/", "-"))
    wanted = None if output is None else Path(output)
    target, place = choose(place_of, format, wanted, int8=int8)
    check_packages(target)
    record = record_beside(path)
    original = original_of(record) if against is None else Path(against)
    named = None if record is None else record.path
    sources = tuple(file for file in (path, original, named) if file is not None)
    if target.suffix:
        check_output(place, inputs=sources, overwrite=overwrite)
        replaced = replacing(place, overwrite=overwrite, like=path)
    else:
        check_output_folder(place, target.beside, inputs=sources, overwrite=overwrite)
        replaced = replacing_folder(place, target.beside, overwrite=overwrite, like=path)
    opened_original = None if original is None else open_for_keras(original)

    before_keras()
    from lrcompress.data.arrays import take
    from lrcompress.live import engine, timing
    from lrcompress.modelfile import find_chains

    network = timing.runnable(path)
    teacher = None if original is None else timing.runnable(original)
    if original is not None:
        timing.check_same_inputs(path, network, original, teacher)
    inputs = _find_inputs(network, opened, record, dataset, data_dir, scaling)
    chains = find_chains(opened) if opened.tree is not None else ()
    few = take(inputs.x, slice(0, 2))

    def made(network: Any, path: Path) -> Runtime:  # noqa: ANN401  # a Keras model
        progress(f"exporting {network.name}", 0, 1)
        with quietly():
            target.write(network, path, int8=int8)
            return target.open(path, network, few)

    with replaced as temporary, tempfile.TemporaryDirectory() as folder:
        runtime = made(network, temporary)
        beside, about = None, None
        if opened_original is not None:
            copy = Path(folder) / f"original{target.suffix}"
            beside = made(teacher, copy)
            about = {
                "model": str(original),
                "bytes_before": _without_optimizer(opened_original),
                "bytes_after": size_of(copy),
            }
        found = _measured(network, runtime, inputs, chains, int8=int8)
        times = _timed(runtime, beside, inputs, seconds)
        bytes_after = size_of(temporary)
    result = ExportResult(
        input=path,
        output=place,
        format=target.name,
        int8=int8,
        bytes_before=_without_optimizer(opened),
        bytes_after=bytes_after,
        runtime=runtime.name,
        threads=runtime.threads,
        inputs=inputs.about,
        latency=times["exported"],
        original=None if about is None else about | times["original"],
        device=engine.describe_device(),
        cores=engine.cores(),
        versions=engine.versions(),
        record=named,
        **found,
    )
    if record is not None:
        with runs.updating(record) as (current, _):
            current.add_export(result.entry(current))
    return result


@dataclass(frozen=True)
class Inputs:
    """Scaled inputs that both models run on, and where they are from; without labels if random."""

    x: Any
    about: dict[str, Any]
    y: Any = None
    weights: Any = None


def _find_inputs(
    model: Any,  # noqa: ANN401  # a Keras model
    opened: ModelFile,
    record: RunRecord | None,
    dataset: Any,  # noqa: ANN401
    data_dir: str | Path | None,
    scaling: str | None,
) -> Inputs:
    """Return the test data that were asked for, else those that file or record names, else random.

    Nothing is downloaded that was not asked for.
    """
    from lrcompress.data.named import NAMED, locate
    from lrcompress.live.outputs import random_inputs

    origins = [opened.origin, *([record.origin] if record else [])]
    reason = "no data set is named"
    try:
        if dataset is not None or any(origin.named for origin in origins):
            # The part that a run left for its tests, where it is of this data set.
            of_run = record is not None and record.is_of(dataset)
            seed = record.seed if record is not None and of_run else 0
            source = find_data(dataset, data_dir, scaling, *origins, seed=seed)
            name = source.dataset
            if dataset is None and name in NAMED and locate(name, source.folder) is None:
                msg = f"data set {name} is not at hand"
                raise DatasetError(msg)
            loaded = source.load(whole=not of_run)
            data = source.prepare(loaded, model)
            (x, y), weights = data.test(), data.split.w_test
            about = {"dataset": loaded.name, "scaling": data.scaling.name, "why_random": None}
            return Inputs(x, about, y if data.labelled else None, weights)
    except LRCompressError as error:
        if dataset is not None:
            raise
        reason = str(error)
    about = {"dataset": None, "scaling": None, "why_random": reason}
    return Inputs(random_inputs(model, RANDOM_SAMPLES), about)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _without_optimizer(opened: ModelFile) -> int:
    return opened.size - opened.optimizer_bytes


def _measured(
    network: Any,  # noqa: ANN401  # a Keras model
    runtime: Runtime,
    inputs: Inputs,
    chains: tuple[Chain, ...],
    *,
    int8: bool,
) -> dict[str, Any]:
    """Return what became of the factors, the difference of outputs, and the errors."""
    from lrcompress.data.arrays import evenly
    from lrcompress.live.evaluate import evaluate
    from lrcompress.measure import compare
    from lrcompress.runtimes.check import check, difference, factors_kept

    found = difference(network, runtime, evenly(inputs.x, COMPARED_SAMPLES))
    if not int8:
        check(found)
    errors = None
    if inputs.y is not None:
        before, after = (
            evaluate(network, inputs.x, inputs.y, f"test, {name}",
                     sample_weight=inputs.weights, run=run)
            for name, run in (("Keras", None), ("exported", runtime))
        )  # fmt: skip
        errors = {
            "keras": before.to_json(),
            "exported": after.to_json(),
            "difference": compare(before, after).to_json(),
        }
    each = zip(chains, factors_kept([c.kernels for c in chains], runtime), strict=True)
    layers = tuple(chain.to_json() | {"factors": kept} for chain, kept in each)
    return {"layers": layers, "difference": asdict(found), "errors": errors}


def _timed(
    runtime: Runtime,
    beside: Runtime | None,
    inputs: Inputs,
    seconds: float,
) -> dict[str, Any]:
    """Return seconds at one sample a call, in turns with the original where there is one."""
    from lrcompress.data.arrays import take
    from lrcompress.live.timing import interleaved, speed

    one = take(inputs.x, slice(0, 1))
    calls = {"exported": lambda: runtime(one)}
    if beside is not None:
        calls["original"] = lambda: beside(one)
    found = interleaved(
        calls,
        seconds=seconds,
        after_round=lambda share: progress("timing", round(100 * share), 100),
    )
    times: dict[str, Any] = {"exported": found["exported"].to_json()}
    if beside is not None:
        ratio = speed(found["original"], found["exported"])
        times["original"] = {"latency": found["original"].to_json(), "speed": ratio.to_json()}
    return times
