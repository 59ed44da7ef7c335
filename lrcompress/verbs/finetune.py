"""`finetune`: recover the accuracy that a factorization cost."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcompress.errors import LRCompressError, OutputError
from lrcompress.events import before_keras, command
from lrcompress.files import check_output, names, sha256
from lrcompress.lowrank import METHODS
from lrcompress.modelfile import model_of, open_for_keras, open_model
from lrcompress.records import runs
from lrcompress.records.results import FinetuneResult
from lrcompress.verbs.context import factorized_file, find_data, find_record
from lrcompress.verbs.in_memory import takes_live_models

if TYPE_CHECKING:
    from lrcompress.live.prepare import Prepared
    from lrcompress.train.finetune import FinetuneOutcome
    from lrcompress.train.part import SplitHead


@takes_live_models("finetuned.keras")
def finetune(
    model: Any = None,  # noqa: ANN401  # a path, or a Keras model
    *,
    run: str | Path | None = None,
    scope: str = "model",
    epochs: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    optimizer: str = "adam",
    distill: bool | None = None,
    temperature: float | None = None,
    patience: int | None = None,
    dropout: bool = False,
    batch_statistics: bool = False,
    precision: str = "auto",
    distribute: str = "auto",
    dataset: Any = None,  # noqa: ANN401  # a name, or data in any arrangement
    data_dir: str | Path | None = None,
    validation: Any = None,  # noqa: ANN401
    scaling: str | None = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    tensorboard: str | Path | None = None,
    seed: int = 0,
    progress: bool = False,
) -> FinetuneResult:
    """Train a factorized model on its data set and keep the best epoch by validation.

    The original model teaches it (distillation) where it is still at hand. Test data are only
    measured, before and after. After each epoch the state is kept beside the output, in
    ``<output stem>.checkpoint.npz``, until the output is there. A KeyboardInterrupt while it trains
    ends the training: the best so far is saved, and `resume` can go on.

    Args:
        model: A factorized model file; default that of the run record. Or a Keras model, of which a copy
            is trained: what `lrcompress.factorize` returned is taught by the original while that lives.
        run: A run record; default the model's own, or the newest in the current directory.
        scope: ``model`` trains all of it; ``head`` the two factors and the bias alone, in seconds.
        epochs: Passes over the training part; default 2, and 5 for the head; without labels as many as
            come to 30,000 samples, 10 at most.
        learning_rate: Peak of Adam's schedule, default 0.001, and 0.0003 for a whole network that the
            run record calls close to the original; or in the place of the original optimizer's own.
        batch_size: Samples a step; default 128, fewer for small data sets.
        optimizer: ``adam`` with warm-up and cosine decay, or ``original``: the one that the model
            was compiled with, with its settings.
        distill: Whether the original model teaches; default where it is at hand.
        temperature: Of its outputs; default 2.
        patience: Epochs without a better one after which to stop; default never.
        dropout: Train with the network's own dropout, as the original was; by default it is off.
        batch_statistics: Let batch normalization take each batch's statistics and move its own, as in
            training; by default they stay as they are.
        precision: ``float32``, ``mixed`` (bfloat16 products while it trains), or ``auto``, which is float32.
        distribute: ``auto`` shares each batch out where there are several accelerators or hosts,
            ``data`` also among CPU devices, ``none`` never; see docs/devices.md.
        dataset: As for `lrcompress.factorize`; default the run record's, or the one that the model file
            names. Data in memory are given again. Without labels the original alone teaches.
        data_dir: First folder in which a named data set is sought.
        validation: A `.npz` file to choose the best epoch on, see `lrcompress.factorize`.
        scaling: Default the recorded one, or detected with the original model.
        output: Default ``<stem>-finetuned<suffix>`` beside the factorized model; a copy of a model in
            memory is kept on disk only where this is given.
        overwrite: Replace an existing output, and an unfinished run's checkpoint.
        resume: Go on with an unfinished run of the same command; it ends as a run that was
            never interrupted.
        tensorboard: Folder that gets each epoch's figures for TensorBoard, or as ``epochs.csv`` where it
            does not run.
        seed: Of the validation split, the order of samples and dropout.
        progress: Show on stderr how far it is.

    Raises:
        RunRecordError: If there is no run record to go by.
        ModelFileError: If a model file is missing or unreadable.
        DatasetError: If the data set is unknown, missing or does not fit the model.
        OutputError: If the output or an unfinished run exists, or the output cannot be written.
        TrainingError: If Keras cannot load the model, `scope` or `optimizer` does not fit it, or
            the checkpoint is another run's.
    """
    record = find_record(model, run)
    path = Path(model) if model is not None else factorized_file(record)
    opened = open_for_keras(path)
    source = find_data(
        dataset, data_dir, scaling, record.origin, opened.origin, seed=seed, validation=validation
    )
    stage = record.stage("original") or {}
    original = record.resolve(str(stage.get("path", "")))
    target = Path(output) if output is not None else names.made_of(path, names.FINETUNED)
    unfinished = names.beside(target, names.CHECKPOINT)
    inputs = (path, original, record.path)
    goes_on = _check_target(target, unfinished, inputs, resume=resume, overwrite=overwrite)
    check_output(record.path, overwrite=True)

    loaded = source.load()
    name = loaded.name
    before_keras()
    from lrcompress.data.arrays import digest
    from lrcompress.live import compiling, engine, storing
    from lrcompress.live.devices import over
    from lrcompress.train.checkpoint import Checkpoint
    from lrcompress.train.finetune import finetune as train
    from lrcompress.train.settings import TEMPERATURE, WEIGHT, FinetuneSettings

    with over(distribute) as replicas:
        student = storing.load_model(path)
        teacher, warnings = load_teacher(original, stage)
        if resume and not goes_on:
            warnings.append(
                f"There is no unfinished run ({unfinished.name}): started from the beginning."
            )
        if teacher is None or distill is False:
            # Without labels a teacher is all that there is to learn from.
            why = "which --no-distill leaves out" if teacher else "which is not available"
            loaded.check_labelled(f"fine-tuning without them learns from the original, {why}")
        data = source.prepare(loaded, teacher or student).taught(teacher)
        warnings += data.notes()
        settings = FinetuneSettings(
            epochs=epochs, learning_rate=learning_rate or _gentle(record, path, optimizer),
            batch_size=batch_size, seed=seed, scope=scope,
            optimizer=optimizer, patience=patience, precision=precision,
            dropout=dropout, batch_statistics=batch_statistics,
            distill=distill is not False, temperature=temperature or TEMPERATURE,
            teacher_weight=WEIGHT if data.labelled else 1.0,
        )  # fmt: skip
        identity = settings.__dict__ | {
            "model": sha256(path),
            "original": None if teacher is None else stage.get("sha256"),
            "output": target.name,
            "dataset": name,
            "scaling": data.scaling.name,
            "labels": digest(data.split.y_train),
        }
        checkpoint = Checkpoint(unfinished, identity, like=path)
        if replicas.writes:
            storing.check_writable(student, target)
        outcome = train(
            student, teacher, data, settings,
            head=split_head(record, path), checkpoint=checkpoint, resume=resume,
            tensorboard=None if tensorboard is None else Path(tensorboard),
        )  # fmt: skip
        device = engine.describe_device()
    result = _result(
        outcome, data, warnings,
        input=path, output=target, record=record.path, dataset=name, device=device,
    )  # fmt: skip
    live = model_of(path)
    if live is not None:
        compiling.compile_like(student, live)
        result = dataclasses.replace(result, model=student)
    if not replicas.writes:
        return result
    with runs.updating(record, target, like=path) as (record, pending):
        origin = opened.origin.kept | {"dataset": name, "scaling": data.scaling.name}
        # Compile settings as they were: what Keras makes of the user's own would be less.
        same = (target.suffix == ".keras") == (opened.format == "keras")
        storing.save_model(
            student, target, origin, overwrite=overwrite or goes_on, like=path,
            compiled=opened.compile_config if same else None,
        )  # fmt: skip
        made = pending.at(target)
        said = record.document.get("dataset") or {}
        # As the record spells it, which is by its own folder.
        name = said["name"] if name == record.origin.dataset else name
        record.document["dataset"] = said | data.description | {"name": name}
        if result.original:
            record.set_stage("original", original, int(stage["parameters"]), **result.original)
        drop_before = data.told(outcome.drop_before.to_json()) if outcome.drop_before else None
        record.set_stage("factorized", path, opened.parameters, **result.before, drop=drop_before)
        record.set_stage(
            "finetuned", target, open_model(made).parameters, made=made,
            **result.after, drop=result.drop,
        )  # fmt: skip
        record.document["finetune"].append(
            result.to_record()
            | {
                "input": record.relative(path),
                "output": record.relative(target),
                "command": command(),
                "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "versions": engine.versions(),
            }
        )
    if not result.interrupted:
        checkpoint.path.unlink(missing_ok=True)
    return result


def _gentle(record: runs.RunRecord, path: Path, optimizer: str) -> float | None:
    """Return the learning rate for a network that starts close to its original; None to leave it open."""
    from lrcompress.train.settings import CLOSE, GENTLE_RATE

    stage = record.stage("factorized") or {}
    measured = (record.document.get("network") or {}).get("measured") or {}
    error = measured.get("output_error")
    close = error is not None and error <= CLOSE and runs.intact(path, stage)
    return GENTLE_RATE if close and optimizer == "adam" else None


def _check_target(
    target: Path, unfinished: Path, inputs: tuple[Path, ...], *, resume: bool, overwrite: bool
) -> bool:
    """Refuse an output before any work is done; return whether an unfinished run will go on."""
    if target.suffix not in (".keras", ".h5", ".hdf5"):
        msg = f"Output {target} must end in .keras, .h5 or .hdf5, which decides its format."
        raise OutputError(msg, code="output_suffix")
    goes_on = resume and unfinished.exists()
    # An output beside its own checkpoint is what an interrupted run kept.
    check_output(target, inputs=inputs, overwrite=overwrite or goes_on)
    check_output(unfinished, inputs=inputs, overwrite=True)
    if unfinished.exists() and not resume and not overwrite:
        msg = f"{unfinished} holds an unfinished run; pass --resume to continue it, or --overwrite to start over."
        raise OutputError(msg, code="unfinished_run")
    return goes_on


def load_teacher(original: Path, stage: dict[str, Any]) -> tuple[Any | None, list[str]]:
    """Return the original Keras model if it is at hand, unchanged and loadable; else say why not."""
    from lrcompress.live import storing

    if not stage or not original.is_file():
        return None, ["The original model is not available: fine-tuned on labels alone."]
    if not runs.intact(original, stage):
        return None, [
            f"{original} is no longer the file that was factorized: fine-tuned on labels alone."
        ]
    try:
        return storing.load_model(original), []
    except LRCompressError as error:
        return None, [f"{error} Fine-tuned on labels alone."]


def split_head(record: runs.RunRecord, path: Path) -> SplitHead | None:
    """Return the head to re-fit: only where its factors are still those that no data have touched."""
    from lrcompress.train.part import SplitHead

    layers, stage = record.document["layers"], record.stage("factorized") or {}
    without_data = [name for name, method in METHODS.items() if method.needs == "kernel"]
    untouched = runs.intact(path, stage) and record.document.get("method") in without_data
    if len(layers) != 1 or not untouched:
        return None
    try:
        return SplitHead.of(**layers[0])
    except (TypeError, AttributeError):  # a record that someone edited
        return None


def _result(
    outcome: FinetuneOutcome,
    data: Prepared,
    warnings: list[str],
    **about: Any,  # noqa: ANN401  # files, names
) -> FinetuneResult:
    """Return the result of an outcome, in which figures are called as the data have them."""
    from lrcompress.measure import lost_classes

    state, told = outcome.state, data.told
    original = told(outcome.original.to_json()) if outcome.original else None
    before, after = told(outcome.before.to_json()), told(outcome.after.to_json())
    lost = lost_classes(outcome.original, outcome.after) if outcome.original else []
    return FinetuneResult(
        **about, epochs=outcome.settings.epochs or 0, epochs_done=state.epoch, best_epoch=state.best_epoch,
        stopped=outcome.stopped, resumed_from=outcome.resumed_from, history=told(state.history),
        measure=after["measure"], original=original, before=before, after=after,
        error_rate_original=(original or {}).get("error_rate"),
        error_rate_before=before.get("error_rate"), error_rate_after=after.get("error_rate"),
        drop=told(outcome.drop.to_json()) if outcome.drop else None,
        seconds=outcome.seconds, images_per_second=outcome.images_per_second,
        distilled=outcome.distilled, settings=dict(outcome.settings.__dict__),
        scaling=data.scaling.name, trained=outcome.trained,
        warnings=[*warnings, *outcome.warnings(), *lost],
    )  # fmt: skip
