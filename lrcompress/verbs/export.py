"""`export`: a model in the format of the runtime that it is shipped with, run and compared there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import DatasetError, LRCompressError
from lrcompress.events import before_keras
from lrcompress.events import progress as tell
from lrcompress.files import check_output, check_output_folder, replacing, replacing_folder
from lrcompress.lowrank import core_count
from lrcompress.modelfile import ModelFile, model_of, open_for_keras
from lrcompress.records import runs
from lrcompress.records.exported import ExportResult
from lrcompress.verbs.context import find_data, original_of, record_beside
from lrcompress.verbs.in_memory import takes_live_models

if TYPE_CHECKING:
    from lrcompress.records.provenance import Origin
    from lrcompress.records.runs import RunRecord
    from lrcompress.runtimes import Int8, Runtime
    from lrcompress.runtimes.measured import Samples

# Inputs that are drawn, and those that 8-bit activations are calibrated on: TensorFlow's own advice is some hundred.
RANDOM_SAMPLES, CALIBRATION_SAMPLES = 100, 300
Quietly = Callable[[], AbstractContextManager[None]]


@takes_live_models()
def export(
    model: Any,  # noqa: ANN401  # a path, or a Keras model
    *,
    format: str | None = None,
    int8: Int8 = False,
    against: Any = None,  # noqa: ANN401
    dataset: Any = None,  # noqa: ANN401  # a name, or data in any arrangement
    data_dir: str | Path | None = None,
    scaling: str | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    seconds: float = 1.0,
    progress: bool = False,
    quietly: Quietly = nullcontext,
) -> ExportResult:
    """Write a model for LiteRT, ONNX Runtime or TensorFlow, and run it there.

    The exported model runs on test data, or random inputs, and its outputs are compared with those
    of the Keras model before it is put in place.

    Args:
        model: A `.h5`, `.hdf5` or `.keras` file that Keras loads, or a Keras model in memory.
        format: ``litert``, ``onnx`` or ``saved-model``; default by the output's suffix
            (``.tflite``, ``.onnx``, none), or ``litert``.
        int8: LiteRT only: True for weights as 8-bit integers (dynamic range); ``"full"`` for weights, activations,
            inputs and outputs, calibrated on training inputs of the data set.
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
        progress: Show on stderr how far it is.
        quietly: Returns a context in which exporters and runtimes may write to stderr.

    Raises:
        ModelFileError: If a file cannot be read.
        MissingExtraError: If a package of that format is missing.
        DatasetError: If the data set asked for is missing or does not fit the model, or ``int8="full"`` finds none.
        OutputError: If the output exists, has another suffix, or cannot be written.
        TrainingError: If Keras cannot load or export the model, or its runtime cannot run it.
        VerificationError: If the outputs are not those of the Keras model.
    """
    from lrcompress.runtimes import check_calibration, choose

    path = Path(model)
    opened = open_for_keras(path)
    live = model_of(path)
    place_of = path if live is None else Path(f"{live.name}{path.suffix}".replace("/", "-"))
    wanted = None if output is None else Path(output)
    target, place = choose(place_of, format, wanted, int8=int8)
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
    origins = [opened.origin, *([record.origin] if record else [])]
    has_data = dataset is not None or any(origin.named for origin in origins)
    check_calibration(int8, has_data=has_data)

    before_keras()
    from lrcompress.data.arrays import count, take
    from lrcompress.live import engine, timing
    from lrcompress.modelfile import find_chains
    from lrcompress.runtimes.measured import measured, timed

    network = timing.runnable(path)
    teacher = None if original is None else timing.runnable(original)
    if original is not None:
        timing.check_same_inputs(path, network, original, teacher)
    inputs = _find_inputs(
        network, origins, record, dataset, data_dir, scaling, calibrate=int8 == "full"
    )
    chains = find_chains(opened) if opened.tree is not None else ()
    few = take(inputs.x, slice(0, 2))

    def made(network: Any, path: Path) -> Runtime:  # noqa: ANN401  # a Keras model
        tell(f"exporting {network.name}", 0, 1)
        with quietly():
            target.write(network, path, int8=int8, calibration=inputs.calibration)
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
        found = measured(network, runtime, inputs, chains, int8=int8)
        times = timed(runtime, beside, inputs, seconds)
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
        cores=core_count(),
        versions=engine.versions(),
        record=named,
        full_integer=None
        if inputs.calibration is None
        else runtime.integers() | {"calibration_samples": count(inputs.calibration)},
        **found,
    )
    if record is not None:
        with runs.updating(record) as (current, _):
            current.add_export(result.entry(current))
    return result


def _find_inputs(
    model: Any,  # noqa: ANN401  # a Keras model
    origins: list[Origin],
    record: RunRecord | None,
    dataset: Any,  # noqa: ANN401
    data_dir: str | Path | None,
    scaling: str | None,
    *,
    calibrate: bool,
) -> Samples:
    """Return test data asked for, else those of the file or its record where they are at hand, else random ones."""
    from lrcompress.data.arrays import shuffled, take
    from lrcompress.data.named import NAMED, locate
    from lrcompress.live.outputs import random_inputs
    from lrcompress.runtimes.measured import Samples

    reason = "no data set is named"
    try:
        if dataset is not None or any(origin.named for origin in origins):
            # The part that a run left for its tests, where it is of this data set.
            of_run = record is not None and record.is_of(dataset)
            seed = record.seed if record is not None and of_run else 0
            source = find_data(dataset, data_dir, scaling, *origins, seed=seed)
            name = source.dataset
            if dataset is None and name in NAMED and locate(name, source.folder) is None:
                msg = f"data set {name} is not available"
                raise DatasetError(msg)
            # What was calibrated is judged on inputs that it was not calibrated on.
            loaded = source.load(whole=not (of_run or calibrate))
            data = source.prepare(loaded, model)
            x, y, weights = data.part("test")
            about = {"dataset": loaded.name, "scaling": data.scaling.name, "why_random": None}
            train = data.split.x_train
            some = take(train, shuffled(train, CALIBRATION_SAMPLES)) if calibrate else None
            calibration = None if some is None else data.scaling(some)
            return Samples(x, about, y if data.labelled else None, weights, calibration)
    except LRCompressError as error:
        if dataset is not None or calibrate:
            raise
        reason = str(error)
    about = {"dataset": None, "scaling": None, "why_random": reason}
    return Samples(random_inputs(model, RANDOM_SAMPLES), about)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _without_optimizer(opened: ModelFile) -> int:
    return opened.size - opened.optimizer_bytes
