"""The course of a training run: epochs, the best of them, and the state on disk after each."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lrcompress.data.finite import NotFiniteError
from lrcompress.live.evaluate import evaluate
from lrcompress.live.prepare import Prepared
from lrcompress.train.checkpoint import Checkpoint, State, all_as_saved, assign
from lrcompress.train.feed import seed_epoch
from lrcompress.train.precision import training_in
from lrcompress.train.steps import StepReporter
from lrcompress.train.tensorboard import EventFile

# What a measure is called beside a step.
FIGURES = {
    "error_rate": "validation error %",
    "binary_error": "validation error %",
    "rmse": "validation RMSE",
}
DONE, PATIENCE, DIVERGED, INTERRUPTED = "done", "patience", "diverged", "interrupted"


class Best:
    """The weights that were best on the validation part so far, and the way there.

    Attributes:
        epoch: They are of; 0 for the start.
        weights: In Keras' order.
        history: One entry a look.
        figures: Of the last look, for people.
    """

    def __init__(self, model: Any, data: Prepared) -> None:  # a Keras model
        self._model = model
        self._x, self._y = data.scaling(data.split.x_val), data.split.y_val
        self._weight = data.split.w_val
        self.merit: tuple[float, ...] = ()
        self.epoch = 0
        self.weights: list[Any] = []
        self.history: list[dict[str, Any]] = []
        self.figures: dict[str, float] = {}

    def look(self, entry: dict[str, Any]) -> None:
        """Measure the model as it is now; keep its weights if they are the best."""
        try:
            found = evaluate(self._model, self._x, self._y, sample_weight=self._weight)
        except NotFiniteError:
            if not self.history:
                raise
            # What is not a number is never better.
            lost = entry | {"validation_loss": None, "kept": False}
            self.history.append({k: _or_none(v) for k, v in lost.items()})
            return
        entry |= {f"validation_{found.measure}": found.value, "validation_loss": found.loss}
        # What is not a number is never better.
        finite = all(map(math.isfinite, found.merit))
        entry["kept"] = not self.history or (finite and found.merit < self.merit)
        self.figures = {FIGURES.get(found.measure, "validation loss"): found.value}
        self.history.append({k: _or_none(v) for k, v in entry.items()})
        if entry["kept"]:
            for other in self.history[:-1]:
                other["kept"] = False
            self.merit = found.merit if finite else (sys.float_info.max,)
            self.epoch = entry["epoch"]
            # Copies: under PyTorch these arrays are the weights themselves.
            self.weights = [np.array(weight) for weight in self._model.get_weights()]

    def restore(self, state: State) -> None:
        """Take up where a checkpoint left off."""
        own = self._model.get_weights()
        assign(self._model.weights, state.weights)
        self.merit, self.epoch, self.history = state.merit, state.best_epoch, state.history
        self.weights = all_as_saved(state.best, own)


@dataclass
class Course:
    """A model on its way through the epochs.

    Attributes:
        trained: The compiled Keras model that is fitted: the student, or student and teacher.
        student: Whose weights are kept.
        best: Of the student.
        feed: Returns the batches of an epoch, numbered from 1.
        epochs: In all.
        seed: Of dropout, epoch by epoch.
        policy: What the model computes in while it is fitted, see `training_in`.
        patience: Epochs without a better one after which to stop; None never stops.
        checkpoint: Written after each epoch; None writes nothing.
        events: Told of each epoch.
        seconds: Spent so far.
        fit_seconds: Of them in `fit`.
        epoch: Epochs done.
    """

    trained: Any
    student: Any
    best: Best
    feed: Callable[[int], Any]
    epochs: int
    seed: int
    policy: str
    patience: int | None
    checkpoint: Checkpoint | None
    events: EventFile | None
    seconds: float = 0.0
    fit_seconds: float = 0.0
    epoch: int = 0

    def restore(self, state: State) -> None:
        """Take up where a checkpoint left off; the best weights have been restored.

        Raises:
            TrainingError: If its arrays are not this model's.
        """
        optimizer = self.trained.optimizer
        optimizer.build(self.trained.trainable_variables)
        assign(optimizer.variables, state.optimizer)
        self.epoch, self.seconds = state.epoch, state.seconds
        self.fit_seconds = state.fit_seconds

    def run(self) -> str:
        """Train to the last epoch, or until there is a reason to stop, and return the reason.

        KeyboardInterrupt is one; the epoch that it breaks off is not kept.
        """
        reporter = StepReporter("fine-tuning", self.epochs)
        try:
            while self.epoch < self.epochs:
                reason = self._reason_to_stop()
                if reason is not None:
                    return reason
                self._one_epoch(reporter)
        except KeyboardInterrupt:
            return INTERRUPTED
        return DIVERGED if self._diverged() else DONE

    def _one_epoch(self, reporter: StepReporter) -> None:
        started = time.perf_counter()
        epoch = self.epoch + 1
        reporter.figures = self.best.figures
        # Not before `fit`: the first of a process draws numbers while it builds.
        seeder = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda *_: seed_epoch(self.trained, self.seed, epoch)
        )
        with training_in(self.trained, self.policy):
            fitted = self.trained.fit(
                self.feed(epoch),
                initial_epoch=epoch - 1,
                epochs=epoch,
                shuffle=False,
                verbose=0,
                callbacks=[seeder, reporter],
            )
        fit_seconds = time.perf_counter() - started
        loss = float(fitted.history["loss"][-1])
        self.best.look({"epoch": epoch, "what": "trained", "loss": loss})
        if self.events is not None:
            entry = self.best.history[-1]
            numbers = {k: v for k, v in entry.items() if isinstance(v, float)}
            self.events.add(epoch, numbers)
        # All three at once: an interrupt finds an epoch done or not begun.
        self.epoch, self.fit_seconds, self.seconds = (
            epoch,
            self.fit_seconds + fit_seconds,
            self.seconds + time.perf_counter() - started,
        )
        if self.checkpoint is not None:
            self.checkpoint.save(self._state())

    def _state(self) -> State:
        best = self.best
        return State(
            epoch=self.epoch,
            history=best.history,
            best_epoch=best.epoch,
            merit=best.merit,
            seconds=self.seconds,
            fit_seconds=self.fit_seconds,
            weights=self.student.get_weights(),
            best=best.weights,
            optimizer=[
                np.asarray(keras.ops.convert_to_numpy(variable))
                for variable in self.trained.optimizer.variables
            ],
        )

    def _reason_to_stop(self) -> str | None:
        if self._diverged():
            return DIVERGED
        if self.patience is not None and self.epoch - self.best.epoch >= self.patience > 0:
            return PATIENCE
        return None

    def _diverged(self) -> bool:
        # A weight that is not a number stays so.
        return "loss" in self.best.history[-1] and self.best.history[-1]["loss"] is None


def _or_none(value: Any) -> Any:
    """Return None for a float that JSON has no word for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
