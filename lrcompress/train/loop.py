"""The one training loop: epochs, the best of them, and the state on disk after each."""

from __future__ import annotations

import contextlib
import importlib.util
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lrcompress.errors import LRCompressWarning, NotFiniteError, OutputError
from lrcompress.events import progress
from lrcompress.live.evaluate import NetworkTrial, evaluate
from lrcompress.live.prepare import Prepared
from lrcompress.train.checkpoint import Checkpoint, State, all_as_saved, assign
from lrcompress.train.feed import seed_epoch
from lrcompress.train.modes import computing_in

# Reading a loss waits for the device, which should have its next steps already.
READ_SECONDS = 0.2
# What a measure is called beside a step.
FIGURES = {
    "error_rate": "validation error %",
    "perplexity": "validation perplexity",
    "binary_error": "validation error %",
    "rmse": "validation RMSE",
}
DONE, PATIENCE, DIVERGED, INTERRUPTED = "done", "patience", "diverged", "interrupted"


class Loop:
    """A model on its way through the epochs; holds what there is when it is interrupted."""

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
        """Describe the way; the best epoch by validation, or the nearest to a teacher, is kept, else the last."""
        self.state = State()
        self._student, self._checkpoint, self._patience = student, checkpoint, patience
        self._label, self._epochs, self._seed = label, epochs, seed
        self._validation: tuple[Any, Any, dict[str, Any]] | None = None
        if validation is not None:
            x, y, weights = validation.part("val")
            how = {"sample_weight": weights, "decided": not validation.labelled}
            self._validation = x, y, how
        self._by_teacher: NetworkTrial | None = None
        if teacher is not None and validation is not None:
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
        # JSON has no word for infinity.
        odd = [k for k, v in entry.items() if isinstance(v, float) and not math.isfinite(v)]
        state.history.append(entry | dict.fromkeys(odd))

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
        """Train to the last epoch, or until there is a reason to stop, and return the reason."""
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
        # Every epoch has a seed of its own, so that those after a kill are as they would have been without it. It is
        # set again when it begins: the first `fit` of a process draws numbers while it builds.
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


class StepReporter(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Tells of every step of `fit`, with `figures` beside its loss."""

    def __init__(self, label: str, epochs: int) -> None:
        super().__init__()
        self._label, self._epochs = label, epochs
        self._epoch = 0
        self._read = 0.0
        self._loss: dict[str, float] = {}
        self.figures: dict[str, float] = {}

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the step."""
        steps = self.params.get("steps") or batch + 1
        now = time.monotonic()
        if now - self._read > READ_SECONDS:
            self._read = now
            self._loss = {key: float(value) for key, value in (logs or {}).items() if key == "loss"}
        task = f"{self._label}, epoch {self._epoch + 1}/{self._epochs}"
        done, total = self._epoch * steps + batch + 1, self._epochs * steps
        progress(task, done, total, self._loss | self.figures)


@contextlib.contextmanager
def epoch_log(folder: Path | None, model: Any) -> Iterator[Callable[[int, dict[str, Any]], None]]:
    """Yield what writes an epoch's figures into a folder: for TensorBoard where it runs, else as CSV."""
    if folder is None:
        yield lambda *_: None
        return
    runs = keras.backend.backend() == "tensorflow" and importlib.util.find_spec("tensorboard")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorFlow's own word for a folder that cannot be written is no OSError.
        tempfile.TemporaryFile(dir=folder).close()
        path = folder / "epochs.csv"
        callback = keras.callbacks.CSVLogger(path, append=True)
        if runs:
            callback = keras.callbacks.TensorBoard(folder, write_graph=False)
        callback.set_model(model)
        callback.on_train_begin()
    except OSError as error:
        msg = f"Cannot write in folder {folder} ({error.strerror}); give another --tensorboard."
        raise OutputError(msg, code="output_folder") from error
    if not runs:
        msg = f"TensorBoard does not run here: {path} gets each epoch's figures."
        warnings.warn(msg, LRCompressWarning, stacklevel=2)

    def write(epoch: int, entry: dict[str, Any]) -> None:
        numbers = {key: value for key, value in entry.items() if isinstance(value, float)}
        callback.on_epoch_end(
            epoch, {key.replace("validation_", "val_"): value for key, value in numbers.items()}
        )

    try:
        yield write
    finally:
        callback.on_train_end()
