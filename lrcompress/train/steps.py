"""The steps of `fit`, passed on as plain calls."""

from __future__ import annotations

import time
from typing import Any

import keras

from lrcompress.events import progress

# Reading a loss waits for the device, which should have its next steps already.
READ_SECONDS = 0.2


class StepReporter(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """A Keras callback that tells of every step of `fit`.

    Attributes:
        figures: Shown with each step beside its loss, for example the last validation error.
    """

    def __init__(self, task: str, epochs: int) -> None:
        """Name the task, for example ``rank 4``."""
        super().__init__()
        self._task, self._epochs = task, epochs
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
        task = f"{self._task}, epoch {self._epoch + 1}/{self._epochs}"
        done, total = self._epoch * steps + batch + 1, self._epochs * steps
        progress(task, done, total, self._loss | self.figures)
