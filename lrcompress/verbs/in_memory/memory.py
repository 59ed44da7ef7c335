"""What is remembered of models that verbs made in memory while they live: their run records, and the originals."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrcompress.errors import DatasetError
from lrcompress.files import sha256
from lrcompress.modelfile import made_of
from lrcompress.records import runs
from lrcompress.records.provenance import IN_MEMORY
from lrcompress.verbs.in_memory import StandIns, is_live, save


@dataclasses.dataclass(frozen=True)
class _Run:
    """What is remembered of a model that a verb made: its record, its original, and its weights' digest."""

    document: dict[str, Any]
    original: weakref.ref[Any]
    weights: str


_runs: weakref.WeakKeyDictionary[Any, _Run] = weakref.WeakKeyDictionary()


def lay_out(model: Any, path: Path, models: StandIns) -> None:  # noqa: ANN401
    """Put what is remembered of a model, its record and its original, beside its file until all are closed."""
    run = _runs.get(model)
    if run is None:
        return
    record = runs.RunRecord(runs.record_path(path), {**run.document})
    stages = [dict(stage) for stage in run.document["stages"]]
    original = run.original()
    for stage in stages:
        if stage["name"] == "original" and original is not None:
            folder = path.parent / "original"
            folder.mkdir()
            models.enter_context(made_of(original, folder))
            save(original, folder / "model.keras")
            stage |= _file(folder / "model.keras", record)
        elif stage is stages[-1]:
            # Trained since, it is no more what was made.
            is_same = run.weights == _digest(model)
            stage |= _file(path, record) | ({} if is_same else {"sha256": ""})
    record.document["stages"] = stages
    record.save()


def _file(path: Path, record: runs.RunRecord) -> dict[str, Any]:
    return {"path": record.relative(path), "sha256": sha256(path), "bytes": path.stat().st_size}


def _digest(model: Any) -> str:  # noqa: ANN401
    found = hashlib.sha256()
    for weight in model.get_weights():
        found.update(weight.tobytes())
    return found.hexdigest()


def remember(result: Any, original: Any, models: StandIns) -> None:  # noqa: ANN401
    """Remember the run of a model that a verb made of another, and take files that will be gone out of its record."""
    made, path = getattr(result, "model", None), getattr(result, "record", None)
    if not is_live(made) or not isinstance(path, Path) or not path.is_file():
        return
    with runs.updating(runs.read(path)) as (record, _):
        for stage in record.document["stages"]:
            if models.holding(record.resolve(str(stage["path"]))) is not None:
                stage["path"] = IN_MEMORY
        record.document |= models.cleaned(record.document)
    before = _runs.get(original)
    # Of what was fine-tuned, the original is that of the factorized one.
    source = weakref.ref(original) if before is None else before.original
    _runs[made] = _Run(record.document, source, _digest(made))


@contextlib.contextmanager
def record_at(run: Any) -> Iterator[Any]:  # noqa: ANN401  # a path, a result, or a Keras model
    """Yield the path of a run record: as it is given, that of a result, or of what a verb made in memory."""
    if run is None or isinstance(run, (str, Path)):
        yield run
        return
    made: Any = run if is_live(run) else getattr(run, "model", None)
    record = getattr(run, "record", None)
    if isinstance(record, Path):
        yield record
        return
    if not is_live(made) or made not in _runs:
        msg = (
            f"Received {type(run).__name__}, for which no run is known; expected a run record, what factorize or "
            "finetune returned, or the model in it."
        )
        raise DatasetError(msg, code="not_a_model")
    with tempfile.TemporaryDirectory(prefix="lrcompress-") as folder:
        path = Path(folder) / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', made.name)}{runs.SUFFIX}"
        runs.RunRecord(path, {**_runs[made].document}).save()
        yield path
