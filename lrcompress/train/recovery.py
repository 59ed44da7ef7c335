"""A fine-tuning from its start to its last epoch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras

from lrcompress.data.arrays import count
from lrcompress.live import engine
from lrcompress.live.anew import frozen_weights, thawed
from lrcompress.live.head import Part
from lrcompress.live.team import current
from lrcompress.train import optimizers
from lrcompress.train.checkpoint import Checkpoint, State
from lrcompress.train.course import INTERRUPTED, Best, Course
from lrcompress.train.feed import Feed, epoch_order, samples_an_epoch
from lrcompress.train.refit import refit_head
from lrcompress.train.settings import LEARNING_RATE, FinetuneSettings
from lrcompress.train.targets import Aim, aim_for
from lrcompress.train.tensorboard import EventFile


class Training:
    """From the start to the last epoch; holds what there is when it is interrupted.

    Attributes:
        best: The best weights so far, and the history.
        stopped: Why it ended, see `Course.run`; interrupted until it has ended.
        teacher: The one that teaches; None if none does.
        weights_frozen: How many weights stay as they are because their layers are frozen.
        thawed: Whether all layers were frozen, and are trained all the same.
    """

    def __init__(
        self,
        part: Part,
        settings: FinetuneSettings,
        compiled: dict[str, Any] | None,
    ) -> None:
        self._part, self._settings = part, settings
        self._compiled = compiled
        self._course: Course | None = None
        self._started = time.perf_counter()
        self.best = Best(part.student, part.data)
        self.weights_frozen, self.thawed = 0, False
        self.stopped = INTERRUPTED
        self.teacher = part.teacher if settings.distill else None

    def run(
        self, state: State | None, checkpoint: Checkpoint | None, events: EventFile | None
    ) -> None:
        """Look at the start, re-fit the head, train; or go on from a state."""
        part, settings = self._part, self._settings
        if state is not None:
            self.best.restore(state)
        else:
            self.best.look({"epoch": 0, "what": "start"})
            self._refit()
        quiet = contextlib.nullcontext() if settings.dropout else _without_dropout(part.student)
        with quiet, thawed(part.student) as self.thawed:
            self.weights_frozen = frozen_weights(part.student)
            aim = aim_for(part.student, self.teacher, part.data, settings)
            self._compile(aim)
            course = Course(
                trained=aim.model,
                student=part.student,
                best=self.best,
                feed=self._feeder(aim),
                epochs=settings.epochs or 1,
                seed=settings.seed,
                policy=settings.precision,
                patience=settings.patience,
                checkpoint=checkpoint,
                events=events,
            )
            if state is not None:
                course.restore(state)
            else:
                course.seconds = time.perf_counter() - self._started
            self._course = course
            self.stopped = course.run()

    def _refit(self) -> None:
        part, most = self._part, self._settings.refit_samples
        if part.head is not None and part.teacher is not None:
            refit_head(part.student, part.teacher, part.head, part.inputs(most))
            self.best.look({"epoch": 0, "what": "head re-fitted"})

    def _compile(self, aim: Aim) -> None:
        settings = self._settings
        if settings.optimizer == "original":
            optimizer = optimizers.original(self._compiled, settings.learning_rate)
        else:
            samples = samples_an_epoch(self._part.data.split.x_train, settings.batch_size or 1)
            steps = (settings.epochs or 1) * -(-samples // (settings.batch_size or 1))
            optimizer = optimizers.recovery(settings.learning_rate or LEARNING_RATE, steps)
        aim.model.compile(
            optimizer=optimizer,
            loss=aim.loss,
            loss_weights=aim.loss_weights,
            jit_compile=engine.jit_compile(),
        )

    def _feeder(self, aim: Aim) -> Callable[[int], Feed]:
        """Return what makes the batches of an epoch."""
        data, size, seed = self._part.data, self._settings.batch_size or 1, self._settings.seed
        samples = count(data.split.x_train)

        def feed(epoch: int) -> Feed:
            team = current()
            order = team.evened(epoch_order(samples, size, seed, epoch))
            return Feed(
                data.split.x_train, aim.targets, order, size, data.scaling,
                sample_weight=aim.sample_weight, share=team.share,
            )  # fmt: skip

        return feed

    @property
    def epochs_done(self) -> int:
        """Epochs done, those before a kill included."""
        return 0 if self._course is None else self._course.epoch

    @property
    def seconds(self) -> float:
        """Wall time of training and validation."""
        course = self._course
        return time.perf_counter() - self._started if course is None else course.seconds

    @property
    def images_per_second(self) -> float:
        """Training samples a second of training time."""
        if self._course is None:
            return 0.0
        size = self._settings.batch_size or 1
        images = self._course.epoch * samples_an_epoch(self._part.data.split.x_train, size)
        return images / max(self._course.fit_seconds, 1e-9)


@contextlib.contextmanager
def _without_dropout(model: Any) -> Iterator[None]:
    """Switch the model's Dropout layers off, at any depth, and give them their rates back."""
    layers = [x for x in model._flatten_layers() if isinstance(x, keras.layers.Dropout)]
    rates = [layer.rate for layer in layers]
    try:
        for layer in layers:
            layer.rate = 0.0
        yield
    finally:
        for layer, rate in zip(layers, rates, strict=True):
            layer.rate = rate
