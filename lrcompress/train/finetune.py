"""Recovering accuracy after factorization: a few epochs over the original data set."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from lrcompress.data.arrays import count
from lrcompress.errors import TrainingError
from lrcompress.live import compiling, engine
from lrcompress.live.evaluate import Evaluation, evaluate, outputs_each
from lrcompress.live.head import Part, SplitHead, reduce_to_head
from lrcompress.live.prepare import Prepared
from lrcompress.live.team import current
from lrcompress.measure.evaluation import compare
from lrcompress.train.checkpoint import Checkpoint
from lrcompress.train.course import DIVERGED
from lrcompress.train.outcome import FinetuneOutcome
from lrcompress.train.recovery import Training
from lrcompress.train.settings import FinetuneSettings
from lrcompress.train.tensorboard import EventFile


def finetune(
    student: Any,
    teacher: Any | None,
    data: Prepared,
    settings: FinetuneSettings,
    *,
    head: SplitHead | None = None,
    checkpoint: Checkpoint | None = None,
    resume: bool = False,
    tensorboard: Path | None = None,
) -> FinetuneOutcome:
    """Train a factorized model, keep its best epoch by validation, measure it on test data.

    A KeyboardInterrupt while it trains ends the training: the best so far is kept.

    Args:
        student: The factorized Keras model; trained in place, its compile settings kept.
        teacher: The original model, for distillation and comparison; None if it is not at hand.
        data: The data set, fitted and scaled.
        settings: What to train, for how long, and how.
        head: The factorized layer, to be re-fitted on data before the first epoch; None to begin
            with the factors as they are.
        checkpoint: Written after each epoch, left for the caller to remove; None writes nothing.
        resume: Go on from the checkpoint, if there is one.
        tensorboard: Folder of event files; None writes none.

    Raises:
        DatasetError: If the labels cannot be trained on.
        TrainingError: If training diverges at once, the head cannot be trained alone, the original's
            optimizer is not there, or the checkpoint is another run's.
        OutputError: If the checkpoint or the events cannot be written.
    """
    compiled = student.get_compile_config() if student.compiled else None
    engine.seed_everything(settings.seed)
    state = checkpoint.load() if checkpoint is not None and resume else None
    if not current().writes:
        checkpoint = tensorboard = None
    part = Part(student, teacher, data, head)
    if settings.scope == "head":
        part = reduce_to_head(student, teacher, data, head)
    x = part.data.split.x_train
    settings = settings.decided(count(x), outputs_each(part.student, x))
    before = _tested(part.student, part.data, "before")
    original = None
    if part.teacher is not None:
        original = _tested(part.teacher, part.data, "original")
    elif teacher is not None:
        original = _tested(teacher, data, "original")
    training = Training(part, settings, compiled)
    with contextlib.suppress(KeyboardInterrupt):
        events = None if tensorboard is None else EventFile(tensorboard)
        training.run(state, checkpoint, events)
    if not training.best.history:
        # Nothing has been looked at, so there is nothing to keep.
        raise KeyboardInterrupt
    if training.stopped == DIVERGED and training.best.epoch == 0:
        if checkpoint is not None:
            checkpoint.remove()
        msg = (
            f"Training diverged in epoch {training.epochs_done}: the loss is not a number, and no epoch "
            "was better than the start; nothing was written: try a smaller --learning-rate."
        )
        raise TrainingError(msg, code="diverged")
    part.student.set_weights(training.best.weights)
    after = _tested(part.student, part.data, "after")
    part.take_back()
    compiling.compile_without_slots(student, compiled)
    return FinetuneOutcome(
        before=before,
        after=after,
        original=original,
        epochs_done=training.epochs_done,
        best_epoch=training.best.epoch,
        history=training.best.history,
        settings=settings,
        seconds=training.seconds,
        images_per_second=training.images_per_second,
        distilled=training.teacher is not None,
        weights_frozen=training.weights_frozen,
        thawed=training.thawed,
        stopped=training.stopped,
        resumed_from=0 if state is None else state.epoch,
        drop_before=compare(original, before) if original else None,
        drop=compare(original, after) if original else None,
    )


def _tested(model: Any, data: Prepared, what: str) -> Evaluation:
    x, y = data.test()
    return evaluate(model, x, y, f"test, {what}", sample_weight=data.split.w_test)
