"""What is told of a running `fit`: its steps as progress, its epochs in a folder."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from lrcompress.errors import LRCompressWarning, OutputError
from lrcompress.events import progress

# Reading a loss waits for the device, which should have its next steps already.
READ_SECONDS = 0.2


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
