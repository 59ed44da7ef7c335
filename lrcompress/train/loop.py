"""The one training loop: epochs, the best of them, and the state on disk after each."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lrcompress.errors import NotFiniteError
from lrcompress.live.evaluate import evaluate
from lrcompress.live.prepare import Prepared
from lrcompress.live.trial import NetworkTrial
from lrcompress.train.callbacks import StepReporter, epoch_log
from lrcompress.train.checkpoint import Checkpoint, State, all_as_saved, assign
from lrcompress.train.feed import seed_epoch
from lrcompress.train.modes import computing_in

# What a measure is called beside a step.
FIGURES = {
    "error_rate": "validation error %",
    "perplexity": "validation perplexity",
    "binary_error": "validation error %",
    "rmse": "validation RMSE",
}
DONE, PATIENCE, DIVERGED, INTERRUPTED = "done", "patience", "diverged", "interrupted"


class Loop:
    """A model on its way through the epochs; holds what there is when it is interrupted.

    Every epoch draws from a seed of its own, so that the epochs after a kill are those that would
    have been without it: the result is the same.
    """

    def __init__(
        self,
        label: str,
        student: Any,
        *,
        epochs: int,
        seed: int,
        validation: Prepared | None = None,
        teacher: Any | None = None,
        patience: int | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """Describe the way; without validation data the last epoch is the one that is kept.

        With a teacher the best epoch is that whose outputs are nearest to the teacher's, which is its loss then.
        """
        self.state = State()
        self._student, self._checkpoint, self._patience = student, checkpoint, patience
        self._label, self._epochs, self._seed = label, epochs, seed
        self._validation: tuple[Any, Any, dict[str, Any]] | None = None
        if validation is not None:
            split = validation.split
            how: dict[str, Any] = {"sample_weight": split.w_val, "decided": not validation.labelled}
            self._validation = (validation.scaling(split.x_val), split.y_val, how)
        self._by_teacher: NetworkTrial | None = None
        if teacher is not None and self._validation is not None:
            x, y, how = self._validation
            self._by_teacher = NetworkTrial(teacher, x, y, task="", **how)
        self._figures: dict[str, float] = {}
        self._begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of training and validation."""
        return self.state.seconds or time.perf_counter() - self._begun

    def look(self, entry: dict[str, Any]) -> None:
        """Measure the student as it is now; keep its weights if they are the best."""
        state = self.state
        merit = self._merit(entry)
        # What is not a number is never better.
        finite = all(map(math.isfinite, merit))
        entry["kept"] = not state.history or not merit or (finite and merit < state.merit)
        if entry["kept"]:
            for other in state.history:
                other["kept"] = False
            state.merit = merit if finite else (sys.float_info.max,)
            state.best_epoch = entry["epoch"]
            # Copies: under PyTorch these arrays are the weights themselves.
            state.best = [np.array(w) for w in self._student.get_weights()] if merit else []
        state.history.append({key: _or_none(value) for key, value in entry.items()})

    def _merit(self, entry: dict[str, Any]) -> tuple[float, ...]:
        """Return how good the student is, lower being better, and note it; empty without validation."""
        if self._validation is None:
            return ()
        x, y, how = self._validation
        trial = self._by_teacher
        try:
            outcome = None if trial is None else trial.of(self._student, task="")
            found = outcome and outcome.evaluation
            found = found or evaluate(self._student, x, y, **how)
        except NotFiniteError:
            if not self.state.history:
                raise
            entry["validation_loss"] = None
            return (math.nan,)
        loss = found.loss if outcome is None else outcome.output_error
        entry |= {f"validation_{found.measure}": found.value, "validation_loss": loss}
        self._figures = {FIGURES.get(found.measure, "validation loss"): found.value}
        return found.merit if outcome is None else (loss, found.value)

    def resume(self, state: State) -> None:
        """Take up where a checkpoint left off."""
        own = self._student.get_weights()
        assign(self._student.weights, state.weights)
        state.best = all_as_saved(state.best, own) if state.best else []
        state.weights = []
        self.state = state

    def run(
        self,
        model: Any,
        feed: Callable[[int], dict[str, Any]],
        *,
        policy: str = "float32",
        log: Path | None = None,
    ) -> str:
        """Train to the last epoch, or until there is a reason to stop, and return the reason.

        A KeyboardInterrupt goes through; the epoch that it breaks off is not kept.
        """
        state = self.state
        model.optimizer.build(model.trainable_variables)
        if state.epoch:
            assign(model.optimizer.variables, state.optimizer)
            state.optimizer = []
        else:
            state.seconds = self.seconds
        reporter = StepReporter(self._label, self._epochs)
        with epoch_log(log, model) as write:
            while state.epoch < self._epochs:
                if (reason := self._reason_to_stop()) is not None:
                    return reason
                started = time.perf_counter()
                reporter.figures = self._figures
                loss = self._fit(model, feed, policy, reporter)
                fitted = time.perf_counter() - started
                self.look({"epoch": state.epoch + 1, "what": "trained", "loss": loss})
                write(state.epoch + 1, state.history[-1])
                # All three at once: an interrupt finds an epoch done or not begun.
                state.epoch, state.fit_seconds, state.seconds = (
                    state.epoch + 1,
                    state.fit_seconds + fitted,
                    state.seconds + time.perf_counter() - started,
                )
                self._save(model)
        return DIVERGED if self._reason_to_stop() == DIVERGED else DONE

    def _fit(self, model: Any, feed: Any, policy: str, reporter: StepReporter) -> float:
        """Train the next epoch and return its loss."""
        epoch = self.state.epoch + 1
        # Again when it begins: the first `fit` of a process draws numbers while it builds.
        seed = partial(seed_epoch, model, self._seed, epoch)
        seeder = keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: seed())
        seed()
        with computing_in(model, policy):
            fitted = model.fit(
                **feed(epoch), initial_epoch=epoch - 1, epochs=epoch, verbose=0,
                callbacks=[seeder, reporter],
            )  # fmt: skip
        return float(fitted.history["loss"][-1])

    def _save(self, model: Any) -> None:
        if self._checkpoint is None:
            return
        slots = [keras.ops.convert_to_numpy(slot) for slot in model.optimizer.variables]
        weights = self._student.get_weights()
        self._checkpoint.save(replace(self.state, weights=weights, optimizer=slots))

    def _reason_to_stop(self) -> str | None:
        state = self.state
        if self._validation is None:
            return None
        # A weight that is not a number stays so.
        if state.history[-1].get("loss", 0) is None:
            return DIVERGED
        if self._patience is not None and state.epoch - state.best_epoch >= self._patience > 0:
            return PATIENCE
        return None


def _or_none(value: Any) -> Any:
    """Return None for a float that JSON has no word for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
