"""`benchmark`: how fast models predict, side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from lrcompress.errors import RunRecordError, UnsupportedModelError
from lrcompress.events import before_keras, progress
from lrcompress.files import sha256
from lrcompress.lowrank import core_count
from lrcompress.modelfile import ModelFile, find_head, open_for_keras
from lrcompress.modelfile.rewrite.layers import SUFFIX as LOWRANK
from lrcompress.records import runs
from lrcompress.records.results import Shown
from lrcompress.verbs.context import find_record, record_beside
from lrcompress.verbs.in_memory import takes_live_models

if TYPE_CHECKING:
    from lrcompress.live.timing import Subject
    from lrcompress.modelfile.graph import Item

BATCH_SIZES = (1, 32, 256)


@dataclass(frozen=True, repr=False)
class BenchmarkResult(Shown):
    """How fast models predict.

    Attributes:
        models: A dictionary a model, the first being what the others are compared with: ``model``,
            ``parameters``, ``multiplications`` and those of its head or factorized layers.
        rows: A dictionary for each of ``what`` (``model``, ``head``, or ``layers`` where others than
            the head were factorized, which are then timed alone), ``batch_size`` and model:
            ``median``, ``q1`` and ``q3`` in seconds, ``runs``, ``samples_per_second``, and
            ``speed`` against the first model: ``ratio`` with its 95 % interval ``low``, ``high``
            and its ``verdict``.
        device: What computed.
        cores: How many cores the process might use.
        versions: Of Keras and its engine.
        open_length: What stood for a length that the models leave open; None if they leave none.
        record: The run record that took the result in; None without one.
    """

    HEAD: ClassVar[dict[str, Any]] = Shown.HEAD | {"kind": "benchmark"}

    models: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    device: str
    cores: int
    versions: dict[str, str]
    open_length: int | None
    record: Path | None = field(default=None)

    def facts(self) -> dict[str, str]:
        """Return the latency of whole models, one a batch size."""
        names = [str(one["model"]) for one in self.models]
        return {
            f"{names[row['model']]}, batch {row['batch_size']}": f"{1e3 * row['median']:.3g} ms"
            for row in self.rows
            if row["what"] == "model"
        } | {"device": self.device}


@takes_live_models()
def benchmark(
    models: Any = (),  # noqa: ANN401  # paths, or Keras models: one, or several in a list
    *,
    run: str | Path | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    seconds: float = 2.0,
    progress: bool = False,
) -> BenchmarkResult:
    """Time the predictions of models, whole and their heads alone, in turns.

    If other layers than the head were factorized, these are timed instead of the head: all of them
    side by side, each with random inputs of its own.

    The inputs are random: a dense network takes as long for any. Each call includes what
    `predict_on_batch` does about it: handing the inputs over and fetching the outputs.

    Args:
        models: Model files or Keras models, or a single one; the first is what the others are compared
            with. Default: the original of a run and the last model that was made of it.
        run: That run's record; default the newest in the current directory. The result is added
            to it, for the report, and to that of models which are given, where all are of one run.
        batch_sizes: Samples a call.
        seconds: Time for each model, whole or head, and batch size.
        progress: Show on stderr how far it is.

    Returns:
        Latency, throughput, multiplications and what they say.

    Raises:
        RunRecordError: If there is no record, or its models are gone.
        ModelFileError: If a file cannot be read.
        TrainingError: If Keras cannot load a model, or must not, or models take different inputs.
    """
    record = None
    single = isinstance(models, (str, Path))
    if single or models:
        paths = [Path(model) for model in ([models] if single else models)]
        record = _record_of(paths)
    else:
        record = find_record(None, run)
        paths = _of_record(record)
    opened = [open_for_keras(path) for path in paths]
    before_keras()
    from lrcompress.live import engine, outputs, timing

    layers = _factorized(opened)
    subjects = [timing.subject(path, rows) for path, rows in zip(paths, layers, strict=True)]
    first, *others = subjects
    for other in others:
        timing.check_same_inputs(first.path, first.model, other.path, other.model)
    alone = "head" if layers[0] is None else "layers"
    rows = [
        row
        for batch in batch_sizes
        for what in ("model", alone)
        for row in _measured(subjects, what, batch, seconds)
    ]
    shapes = [tensor.shape[1:] for tensor in first.model.inputs]
    is_open, side = any(None in shape for shape in shapes), any(len(shape) > 2 for shape in shapes)
    result = BenchmarkResult(
        models=[one.to_json() for one in subjects],
        rows=rows,
        device=engine.describe_device(),
        cores=core_count(),
        versions=engine.versions(),
        open_length=(outputs.SIDE if side else outputs.STEPS) if is_open else None,
        record=None if record is None else record.path,
    )
    if record is not None:
        kept = result.to_json() | {"batch_sizes": list(batch_sizes)}
        kept["models"] = [
            entry | {"model": record.relative(path), "sha256": sha256(path)}
            for entry, path in zip(result.models, paths, strict=True)
        ]
        del kept["record"]
        with runs.updating(record) as (current, _):
            current.document["benchmark"] = kept
    return result


def _record_of(paths: Sequence[Path]) -> runs.RunRecord | None:
    """Return the record of a run that all of several models are of, the original first; None without one."""
    record = next(filter(None, map(record_beside, paths)), None)
    if record is None or len(paths) < 2 or record.stage_of(paths[0]) != "original":
        return None
    return record if all(map(record.stage_of, paths)) else None


def _of_record(record: runs.RunRecord) -> list[Path]:
    """Return the original and the last model that was made of it."""
    stages = [record.stage("original"), record.stage("finetuned") or record.stage("factorized")]
    paths = [record.resolve(str(stage["path"])) for stage in stages if stage]
    lost = [path for path in paths if not path.is_file()]
    if lost or len(paths) < 2:
        what = f"{lost[0]}, which is not there" if lost else "no pair of models"
        msg = f"{record.path} names {what}; name the models: lrcompress benchmark ORIGINAL COMPRESSED."
        raise RunRecordError(msg, code="models_lost")
    return paths


def _factorized(models: Sequence[ModelFile]) -> list[list[tuple[str, ...]] | None]:
    """Return, for each model, the paths of the layers that factorization changed in one of them, in rows.

    A layer stands in one row with those that were put before it. None where all that changed is the
    head, or where the models are not of one network.
    """
    nothing: list[list[tuple[str, ...]] | None] = [None] * len(models)
    found = [_rows(model) for model in models]
    if any(set(rows) != set(found[0]) for rows in found):
        return nothing
    changed = [
        path
        for path, row in found[0].items()
        if len(row) > 1
        or len({_shapes(one, rows[path]) for one, rows in zip(models, found, strict=True)}) > 1
    ]
    with contextlib.suppress(UnsupportedModelError):
        if changed == [find_head(models[0]).path]:
            return nothing
    return [[rows[p] for p in changed] for rows in found] if changed else nothing


def _rows(model: ModelFile) -> dict[str, tuple[str, ...]]:
    """Return the paths of each layer and of those that factorization put before it, by the layer's path."""
    rows: dict[str, tuple[str, ...]] = {}
    for item in model.tree.walk() if model.tree is not None else ():
        if item.inner is not None or LOWRANK in item.name:
            continue
        row = [item]
        while (before := _put_before(row[0])) is not None:
            row.insert(0, before)
        rows["/".join(item.path)] = tuple("/".join(one.path) for one in row)
    return rows


def _put_before(item: Item) -> Item | None:
    """Return the layer that factorization put before another one, if there is one."""
    refs = item.calls[0] if len(item.calls) == 1 else []
    before = item.container.by_name.get(refs[0].layer) if len(refs) == 1 else None
    return before if before is not None and LOWRANK in before.name else None


def _shapes(model: ModelFile, row: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the arrays of some layers."""
    paths = [tuple(path.split("/")) for path in row]
    return tuple(array.shape for path in paths for array in model.weights.arrays(path))


def _measured(
    subjects: list[Subject], what: str, batch: int, seconds: float
) -> list[dict[str, Any]]:
    """Time all models at one batch size, whole or their heads; empty where a head cannot stand alone."""
    from lrcompress.live.outputs import random_inputs
    from lrcompress.live.timing import interleaved, speed

    models: list[Any] = [one.model if what == "model" else one.head for one in subjects]
    if any(model is None for model in models):
        return []
    # The same for all where they take the same: layers behind narrower ones take in less.
    drawn = [random_inputs(model, batch) for model in (models[:1] if what == "model" else models)]
    calls = {
        str(i): partial(model.predict_on_batch, drawn[min(i, len(drawn) - 1)])
        for i, model in enumerate(models)
    }
    name = {"model": "whole model", "head": "head alone"}.get(what, "factorized layers alone")
    name += f", batch {batch}"

    def tell(share: float) -> None:
        progress(f"timing, {name}", round(100 * share), 100)

    timings = list(interleaved(calls, seconds=seconds, after_round=tell).values())
    return [
        {
            "what": what,
            "batch_size": batch,
            "model": index,
            **timing.to_json(),
            "samples_per_second": batch / timing.median,
            "speed": None if index == 0 else speed(timings[0], timing).to_json(),
        }
        for index, timing in enumerate(timings)
    ]
