"""`finetune`: recover the accuracy that a factorization cost."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress import runs
from lrcompress.api.evaluating import own_dataset
from lrcompress.atomic import check_output
from lrcompress.errors import (
    DatasetError,
    ModelFileError,
    OutputError,
    RunRecordError,
    TrainingError,
)
from lrcompress.hashing import sha256
from lrcompress.modelfile import open_model
from lrcompress.progress import Progress, nothing, silent

if TYPE_CHECKING:
    from lrcompress.training.recover import SplitHead


@dataclass(frozen=True)
class FinetuneResult:
    """What `finetune` did.

    Attributes:
        input: The factorized model.
        output: The fine-tuned model.
        record: The run record, extended.
        epochs: Asked for.
        best_epoch: Kept; 0 if none was better than the start on the validation part.
        error_rate_original: Of the original on the test data, in percent; None if not at hand.
        error_rate_before: Of the factorized model.
        error_rate_after: Of the fine-tuned model.
        drop: After against original, paired, in points; None if the original was not at hand.
        seconds: Of training and validation.
        images_per_second: While training.
        device: What computed it.
        distilled: Whether the original model taught.
        dataset: Its name.
        scaling: What the inputs went through.
        history: One entry an epoch, the start and the re-fitted head being epoch 0.
        warnings: What the user should know.
    """

    input: Path
    output: Path
    record: Path
    epochs: int
    best_epoch: int
    error_rate_original: float | None
    error_rate_before: float
    error_rate_after: float
    drop: dict[str, Any] | None
    seconds: float
    images_per_second: float
    device: str
    distilled: bool
    dataset: str
    scaling: str
    history: list[dict[str, Any]]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the document that `lrcompress finetune --json` prints."""
        document: dict[str, Any] = {"schema_version": runs.SCHEMA_VERSION, **self.__dict__}
        return document | {key: str(document[key]) for key in ("input", "output", "record")}


def finetune(
    model: str | Path | None = None,
    *,
    run: str | Path | None = None,
    epochs: int = 2,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    scaling: str | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    seed: int = 0,
    command: list[str] | None = None,
    progress: Progress = silent,
    before_keras: Callable[[], None] = nothing,
) -> FinetuneResult:
    """Train a factorized model on its data set and keep the best epoch by validation.

    The original model teaches it (distillation) where it is still at hand. Test data are only
    measured, before and after.

    Args:
        model: A factorized model file; default that of the run record.
        run: A run record; default the model's own, or the newest in the current directory.
        epochs: Passes over the training part.
        learning_rate: Peak of Adam's schedule; default 0.001.
        batch_size: Samples a step; default 128, fewer for small data sets.
        dataset: Default the run record's, or the one that the model file names.
        data_dir: First folder in which a named data set is sought.
        scaling: Default the recorded one, or detected with the original model.
        output: Default ``<stem>-finetuned<suffix>`` beside the factorized model.
        overwrite: Replace an existing output.
        seed: Of the validation split, the order of samples and dropout.
        command: Stored in the run record.
        progress: Told of steps done.
        before_keras: Called before Keras is loaded.

    Raises:
        RunRecordError: If there is no run record to go by.
        ModelFileError: If a model file is missing or unreadable.
        DatasetError: If the data set is unknown, missing or does not fit the model.
        OutputError: If the output exists or cannot be written.
        TrainingError: If Keras cannot load the model.
    """
    record = _find_record(model, run)
    path = Path(model) if model is not None else _factorized_file(record)
    opened = open_model(path)
    known = record.document.get("dataset") or {}
    own = opened.provenance or {}
    spec = dataset or known.get("name") or own_dataset(own)
    if not isinstance(spec, str):
        msg = f"Neither {record.path.name} nor {path} names the original data set; give --dataset."
        raise DatasetError(msg, code="no_dataset")
    for source in (known, {"name": own.get("dataset"), "scaling": own.get("scaling")}):
        if scaling is None and source.get("name") == spec:
            scaling = source.get("scaling")
    if data_dir is None and known.get("name") == spec:
        data_dir = known.get("data_dir")
    target = Path(output) if output is not None else path.with_stem(f"{path.stem}-finetuned")
    if target.suffix not in (".keras", ".h5", ".hdf5"):
        msg = f"Output {target} must end in .keras, .h5 or .hdf5, which decides its format."
        raise OutputError(msg, code="output_suffix")
    original_stage = record.stage("original") or {}
    original = record.resolve(str(original_stage.get("path", "")))
    check_output(target, inputs=(path, original), overwrite=overwrite)

    from lrcompress.training.datasets import load

    folder = None if data_dir is None else Path(data_dir)
    loaded = load(spec, folder, seed=seed, progress=progress, before_keras=before_keras)
    before_keras()
    from lrcompress.training import backend
    from lrcompress.training.finetune import LEARNING_RATE, FinetuneSettings
    from lrcompress.training.finetune import finetune as train
    from lrcompress.training.saving import save_model
    from lrcompress.training.session import DataRequest, prepare

    student = backend.load_model(path)
    teacher, warnings = _load_teacher(original, original_stage)
    data = prepare(loaded, teacher or student, DataRequest(folder, scaling, seed))
    settings = FinetuneSettings(epochs, learning_rate or LEARNING_RATE, batch_size, seed)
    head = _split_head(record, path)
    outcome = train(student, teacher, data, settings, head=head, progress=progress)
    save_model(student, target, {**own, "dataset": spec, "scaling": data.scaling.name})
    written = open_model(target)
    if not any(entry["kept"] for entry in outcome.history[1:]):
        warnings.append(
            "No epoch was better than the start on the validation part; kept the start."
        )
    result = FinetuneResult(
        input=path,
        output=target,
        record=record.path,
        epochs=epochs,
        best_epoch=outcome.best_epoch,
        error_rate_original=outcome.original.error_rate if outcome.original else None,
        error_rate_before=outcome.before.error_rate,
        error_rate_after=outcome.after.error_rate,
        drop=outcome.drop.to_json() if outcome.drop else None,
        seconds=outcome.seconds,
        images_per_second=outcome.images_per_second,
        device=backend.describe_device(),
        distilled=outcome.distilled,
        dataset=spec,
        scaling=data.scaling.name,
        history=outcome.history,
        warnings=warnings,
    )
    record.document["dataset"] = known | data.description
    if outcome.original:
        record.set_stage(
            "original", original, int(original_stage["parameters"]), **outcome.original.to_json()
        )
    drop_before = outcome.drop_before.to_json() if outcome.drop_before else None
    record.set_stage(
        "factorized", path, opened.parameters, **outcome.before.to_json(), drop=drop_before
    )
    record.set_stage(
        "finetuned", target, written.parameters, **outcome.after.to_json(), drop=result.drop
    )
    record.document["finetune"].append(
        {
            key: value
            for key, value in result.to_json().items()
            if key not in ("input", "output", "record")
        }
        | {
            "input": record.relative(path),
            "output": record.relative(target),
            "command": command or [],
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "settings": settings.__dict__ | {"batch_size": outcome.batch_size},
            "versions": backend.versions(),
        }
    )
    record.save()
    return result


def _find_record(model: str | Path | None, run: str | Path | None) -> runs.RunRecord:
    """Return the record named, the model's own, the newest here, or a new one for a lone model."""
    if run is not None:
        return runs.read(Path(run))
    if model is None:
        return runs.newest(Path())
    own = runs.record_path(Path(model))
    return runs.read(own) if own.exists() else runs.new_record(Path(model), [], 0)


def _factorized_file(record: runs.RunRecord) -> Path:
    stage = record.stage("factorized")
    if stage is None or not isinstance(stage.get("path"), str):
        msg = f"{record.path} names no factorized model; run `lrcompress factorize` again, or name the model."
        raise RunRecordError(msg)
    path = record.resolve(stage["path"])
    if not path.is_file():
        msg = (
            f"{record.path} speaks of {path}, which is not there; "
            "name the factorized model, or run `lrcompress factorize` again."
        )
        raise ModelFileError(msg, code="missing")
    return path


def _split_head(record: runs.RunRecord, path: Path) -> SplitHead | None:
    """Return the head to re-fit: only where its factors are still those that no data have touched."""
    from lrcompress.training.recover import SplitHead

    layers, stage = record.document["layers"], record.stage("factorized") or {}
    untouched = stage.get("sha256") == sha256(path)
    if (
        len(layers) != 1
        or not untouched
        or record.document.get("method") not in ("svd", "centered")
    ):
        return None
    try:
        layer = layers[0]
        outer = layer["path"].removesuffix(layer["name"])
        return SplitHead(
            layer["path"], outer + layer["first_name"], layer["activation"], layer["softmax"]
        )
    except (KeyError, TypeError, AttributeError):  # a record that someone edited
        return None


def _load_teacher(original: Path, stage: dict[str, Any]) -> tuple[Any | None, list[str]]:
    """Return the original Keras model if it is at hand, unchanged and loadable."""
    from lrcompress.training import backend

    if not stage or not original.is_file():
        return None, ["The original model is not at hand: fine-tuned on labels alone."]
    if sha256(original) != stage.get("sha256"):
        return None, [
            f"{original} is no longer the file that was factorized: fine-tuned on labels alone."
        ]
    try:
        return backend.load_model(original), []
    except TrainingError as error:
        return None, [f"{error} Fine-tuned on labels alone."]
