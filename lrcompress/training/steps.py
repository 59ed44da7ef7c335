"""Progress as plain calls: training says what it has done, whoever listens draws it."""

from __future__ import annotations

from typing import Any, Protocol

import keras


class Progress(Protocol):
    """What the command line implements and tests leave out."""

    def __call__(self, task: str, done: int, total: int, figures: dict[str, float]) -> None:
        """Report `done` of `total` steps of `task`, with the latest figures."""


def silent(task: str, done: int, total: int, figures: dict[str, float]) -> None:
    """Listen to nothing."""


class StepReporter(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """A Keras callback that forwards every step of `fit` to a `Progress`."""

    def __init__(self, progress: Progress, task: str, epochs: int) -> None:
        """Name the task, for example ``rank 4``."""
        super().__init__()
        self._progress, self._task, self._epochs = progress, task, epochs
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remember the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Report the step."""
        steps = self.params.get("steps") or batch + 1
        figures = {key: float(value) for key, value in (logs or {}).items() if key == "loss"}
        task = f"{self._task}, epoch {self._epoch + 1}/{self._epochs}"
        self._progress(task, self._epoch * steps + batch + 1, self._epochs * steps, figures)
