"""Fine-tuning: what a factorization cost is recovered in a few epochs over the data set."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from lrcompress.data.arrays import count
from lrcompress.errors import TrainingError
from lrcompress.live import engine
from lrcompress.live.compiling import compile_without_slots
from lrcompress.live.devices import replicas
from lrcompress.live.predict import outputs_each
from lrcompress.live.prepare import Prepared
from lrcompress.measure import Comparison, Evaluation, compare
from lrcompress.train.augment import augmented, ways_for
from lrcompress.train.checkpoint import Checkpoint, State
from lrcompress.train.feed import Feed, epoch_order, samples_an_epoch
from lrcompress.train.loop import DIVERGED, INTERRUPTED, PATIENCE, Loop
from lrcompress.train.modes import (
    adam,
    frozen_weights,
    original_optimizer,
    thawed,
    with_kept_statistics,
    without_dropout,
)
from lrcompress.train.part import Part, SplitHead, reduce_to_head, refit_head
from lrcompress.train.settings import LEARNING_RATE, FinetuneSettings
from lrcompress.train.supervision import supervise

# Weights up to which a head is small, and its steps that one call of the engine takes.
SMALL, STEPS_AT_ONCE = 2**17, 32


@dataclass(frozen=True)
class FinetuneOutcome:
    """What fine-tuning did; the model passed in now holds the weights of the best epoch."""

    # On the test data; the original's where it is at hand.
    before: Evaluation
    after: Evaluation
    original: Evaluation | None
    state: State
    settings: FinetuneSettings  # with what was left open decided
    seconds: float  # of training and validation, without loading and testing
    images_per_second: float
    distilled: bool
    stopped: str  # done, patience, diverged or interrupted
    resumed_from: int  # epochs that a checkpoint brought
    weights_frozen: int
    thawed: bool  # whether all layers were frozen, and were trained all the same

    @property
    def drop_before(self) -> Comparison | None:
        """`before` against `original`, paired; None without the original."""
        return compare(self.original, self.before) if self.original else None

    @property
    def drop(self) -> Comparison | None:
        """`after` against `original`, paired; None without the original."""
        return compare(self.original, self.after) if self.original else None

    @property
    def trained(self) -> str:
        """What was trained, in words that "trained on ..." can follow."""
        if self.settings.scope == "head":
            return "head"
        if self.thawed:
            return "frozen layers"
        return "layers that are not frozen" if self.weights_frozen else "whole model"

    def warnings(self) -> list[str]:
        """Return what the user should know."""
        found, done = [], self.state.epoch
        if self.thawed:
            found.append(
                "All layers of the model are frozen: they were trained all the same, but for batch "
                "normalization, and are frozen again in the file."
            )
        elif self.weights_frozen:
            found.append(
                f"{self.weights_frozen:,} weights stayed as they were: their layers are frozen."
            )
        why = {
            INTERRUPTED: f"Interrupted in epoch {done + 1} of {self.settings.epochs}; kept the best so far.",
            DIVERGED: f"Stopped after epoch {done}: the loss is not a number any more; try a smaller --learning-rate.",
            PATIENCE: f"Stopped after epoch {done}: no better one came.",
        }
        if self.stopped in why:
            found.append(why[self.stopped])
        if not any(entry["kept"] for entry in self.state.history[1:]):
            found.append(
                "No epoch was better than the start on the validation part; kept the start."
            )
        return found


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
    """Train a factorized model, keep its best epoch by validation, measure it on test data."""
    compiled = student.get_compile_config() if student.compiled else None
    keras.utils.set_random_seed(settings.seed)
    left = checkpoint.load() if checkpoint is not None and resume else None
    resumed_from = 0 if left is None else left.epoch
    if not replicas().writes:
        checkpoint = tensorboard = None
    part = Part(student, teacher, data, head)
    if settings.scope == "head":
        part = reduce_to_head(student, teacher, data, head)
    x = part.data.split.x_train
    settings = settings.decided(count(x), outputs_each(part.student, x), labelled=data.labelled)
    if settings.augmentation is None:
        asked = settings.scope == "model" and settings.distill and not data.labelled
        ways = ways_for(teacher, x, data.scaling) if asked and teacher is not None else ()
        settings = replace(settings, augmentation=ways)
    before = part.data.measured(part.student, "test, before")
    asked_of, on = (teacher, data) if part.teacher is None else (part.teacher, part.data)
    original = None if teacher is None else on.measured(asked_of, "test, original")
    # Its outputs are all there is to learn.
    judge = part.teacher if settings.distill and not data.labelled else None
    loop = Loop(
        "fine-tuning", part.student, epochs=settings.epochs or 1, seed=settings.seed,
        validation=part.data, teacher=judge, patience=settings.patience, checkpoint=checkpoint,
    )  # fmt: skip
    frozen, all_frozen = frozen_weights(part.student), not part.student.trainable_variables
    # A KeyboardInterrupt ends the training: the best so far is kept.
    stopped = INTERRUPTED
    with contextlib.suppress(KeyboardInterrupt):
        stopped = _train(loop, part, settings, compiled, left, tensorboard)
    state = loop.state
    if not state.history:
        # Nothing has been looked at, so there is nothing to keep.
        raise KeyboardInterrupt
    if stopped == DIVERGED and state.best_epoch == 0:
        if checkpoint is not None:
            checkpoint.path.unlink(missing_ok=True)
        msg = (
            f"Training diverged in epoch {state.epoch}: the loss is not a number, and no epoch "
            "was better than the start; nothing was written: try a smaller --learning-rate."
        )
        raise TrainingError(msg, code="diverged")
    part.student.set_weights(state.best)
    after = part.data.measured(part.student, "test, after")
    part.take_back()
    compile_without_slots(student, compiled)
    images = state.epoch * samples_an_epoch(count(x), settings.batch_size or 1)
    return FinetuneOutcome(
        before=before,
        after=after,
        original=original,
        state=state,
        settings=settings,
        seconds=loop.seconds,
        images_per_second=images / max(state.fit_seconds, 1e-9),
        distilled=settings.distill and part.teacher is not None,
        stopped=stopped,
        resumed_from=resumed_from,
        weights_frozen=frozen,
        thawed=all_frozen,
    )


def _train(
    loop: Loop,
    part: Part,
    settings: FinetuneSettings,
    compiled: dict[str, Any] | None,
    left: State | None,
    tensorboard: Path | None,
) -> str:
    """Look at the start, re-fit the head, train; or go on from a state; return why it ended."""
    student, teacher, data = part.student, part.teacher, part.data
    x, size = data.split.x_train, settings.batch_size or 1
    if left is not None:
        loop.resume(left)
    else:
        loop.look({"epoch": 0, "what": "start"})
        if part.head is not None and teacher is not None:
            refit_head(student, teacher, part.head, part.inputs(settings.refit_samples))
            loop.look({"epoch": 0, "what": "head re-fitted"})
    untouched = contextlib.nullcontext()
    dropout = untouched if settings.dropout else without_dropout(student)
    # Without dropout the student runs as when it predicts, which keeps them.
    keeps = settings.dropout and not settings.batch_statistics
    statistics = with_kept_statistics(student) if keeps else untouched
    with dropout, statistics, thawed(student):
        taught = supervise(student, teacher if settings.distill else None, data, settings)
        if settings.optimizer == "original":
            optimizer = original_optimizer(compiled, settings.learning_rate)
        else:
            steps = (settings.epochs or 1) * -(-samples_an_epoch(count(x), size) // size)
            optimizer = adam(settings.learning_rate or LEARNING_RATE, steps)
        # A step of a small head takes less than the call around it: some tens go at once under TensorFlow.
        small = part.layers and student.count_params() <= SMALL and len(replicas().devices) == 1
        at_once = STEPS_AT_ONCE if small and keras.backend.backend() == "tensorflow" else 1
        taught.model.compile(
            optimizer=optimizer,
            loss=taught.loss,
            loss_weights=taught.loss_weights,
            jit_compile=engine.jit_compile(),
            steps_per_execution=max(1, min(at_once, count(x) // size)),
        )

        def feed(epoch: int) -> dict[str, Any]:
            order = epoch_order(count(x), size, settings.seed, epoch)
            change = augmented(settings.augmentation or (), settings.seed, epoch)
            batches = Feed(
                x, taught.targets, order, size, data.scaling, taught.sample_weight, change
            )
            return {"x": batches, "shuffle": False}

        return loop.run(taught.model, feed, policy=settings.precision, log=tensorboard)
