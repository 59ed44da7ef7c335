"""Recovering accuracy after factorization: a few epochs over the original data set."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import DatasetError
from lrcompress.progress import Progress, silent
from lrcompress.training import backend, distill
from lrcompress.training.evaluate import Evaluation, evaluate, outputs_probabilities, predict
from lrcompress.training.recover import SplitHead, refit_head
from lrcompress.training.session import Prepared
from lrcompress.training.statistics import PairedComparison, compare_paired
from lrcompress.training.steps import StepReporter

# Chosen on validation data; see benchmarks/finetune_choices.py.
LEARNING_RATE = 1e-3
BATCH_SIZE = 128
SMALLEST_BATCH = 16
# An epoch should have at least so many steps.
STEPS = 50
WARM_UP = 0.05
# Share of the peak at which the warm-up begins.
FIRST_RATE = 0.1


@dataclass(frozen=True)
class FinetuneSettings:
    """How to fine-tune; the defaults are the everyday case.

    Attributes:
        epochs: Passes over the training part.
        learning_rate: Peak of Adam's warm-up and cosine decay.
        batch_size: Samples a step; None takes 128, and fewer where that would leave few steps.
        seed: Of the order of samples and of dropout.
        dropout: Whether the network's own dropout stays on. Off by default: a few epochs beside
            the original do not overfit, and noise before a narrow layer drowns what it carries.
    """

    epochs: int = 2
    learning_rate: float = LEARNING_RATE
    batch_size: int | None = None
    seed: int = 0
    dropout: bool = False


@dataclass(frozen=True)
class FinetuneOutcome:
    """What fine-tuning did; the model passed in now holds the weights of the best epoch.

    Attributes:
        before: On the test data, before.
        after: On the test data, after.
        original: The original model on the test data; None if it was not at hand.
        best_epoch: 0 if no epoch was better on the validation part than the start.
        history: For the start (epoch 0; again after the head was re-fitted) and each epoch:
            training loss, validation error rate and loss.
        batch_size: Samples a step.
        seconds: Wall time of training and validation, without loading and testing.
        images_per_second: Training samples a second of training time.
        distilled: Whether the original taught.
        drop_before: `before` against `original`, paired; None without the original.
        drop: `after` against `original`, paired; None without the original.
    """

    before: Evaluation
    after: Evaluation
    original: Evaluation | None
    best_epoch: int
    history: list[dict[str, Any]]
    batch_size: int
    seconds: float
    images_per_second: float
    distilled: bool
    drop_before: PairedComparison | None
    drop: PairedComparison | None


def finetune(
    student: Any,
    teacher: Any | None,
    data: Prepared,
    settings: FinetuneSettings,
    *,
    head: SplitHead | None = None,
    progress: Progress = silent,
) -> FinetuneOutcome:
    """Train the whole factorized model, keep its best epoch by validation, measure it on test data.

    Args:
        student: The factorized Keras model; trained in place, its compile settings kept.
        teacher: The original model, for distillation and comparison; None if it is not at hand.
        data: The data set, fitted and scaled.
        settings: Epochs and rates.
        head: The factorized layer, to be re-fitted on data before the first epoch; None to begin
            with the factors as they are.
        progress: Told of every step.

    Raises:
        DatasetError: If the labels cannot be trained on.
    """
    backend.seed_everything(settings.seed)
    x_test, y_test = data.test()
    before = evaluate(student, x_test, y_test, progress, "test, before")
    original = (
        None if teacher is None else evaluate(teacher, x_test, y_test, progress, "test, original")
    )
    x_train = data.scaling(data.split.x_train)
    batch_size = settings.batch_size or _batch_size(len(x_train))
    compiled = student.get_compile_config() if student.compiled else None
    best = _BestWeights(student, data)
    started = time.perf_counter()
    best.look({"epoch": 0, "what": "start"})
    if head is not None and teacher is not None:
        refit_head(student, teacher, head, x_train, progress)
        best.look({"epoch": 0, "what": "head re-fitted"})
    targets = _compile(
        student, teacher, x_train, data.split.y_train, settings, batch_size, progress
    )
    fit_seconds = 0.0
    reporter = StepReporter(progress, "fine-tuning", settings.epochs)
    with contextlib.nullcontext() if settings.dropout else _without_dropout(student):
        for epoch in range(1, settings.epochs + 1):
            fit_started = time.perf_counter()
            fitted = student.fit(
                x_train,
                targets,
                batch_size=batch_size,
                initial_epoch=epoch - 1,
                epochs=epoch,
                verbose=0,
                callbacks=[reporter],
            )
            fit_seconds += time.perf_counter() - fit_started
            loss = float(fitted.history["loss"][-1])
            best.look({"epoch": epoch, "what": "trained", "loss": loss})
    seconds = time.perf_counter() - started
    student.set_weights(best.weights)
    backend.compile_without_slots(student, compiled)
    after = evaluate(student, x_test, y_test, progress, "test, after")
    return FinetuneOutcome(
        before=before,
        after=after,
        original=original,
        best_epoch=best.epoch,
        history=best.history,
        batch_size=batch_size,
        seconds=seconds,
        images_per_second=settings.epochs * len(x_train) / max(fit_seconds, 1e-9),
        distilled=teacher is not None,
        drop_before=compare_paired(original.wrong, before.wrong) if original else None,
        drop=compare_paired(original.wrong, after.wrong) if original else None,
    )


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


class _BestWeights:
    """The weights that were best on the validation part so far, and the way there."""

    def __init__(self, model: Any, data: Prepared) -> None:  # a Keras model
        self._model = model
        self._x, self._y = data.scaling(data.split.x_val), data.split.y_val
        self._merit = (float("inf"), float("inf"))
        self.epoch = 0
        self.weights: list[Any] = []
        self.history: list[dict[str, Any]] = []

    def look(self, entry: dict[str, Any]) -> None:
        """Measure the model as it is now; keep its weights if they are the best."""
        found = evaluate(self._model, self._x, self._y)
        entry |= {"validation_error_rate": found.error_rate, "validation_loss": found.loss}
        entry["kept"] = (found.error_rate, found.loss) < self._merit
        self.history.append(entry)
        if entry["kept"]:
            for other in self.history[:-1]:
                other["kept"] = False
            # Ties in the error rate are decided by the loss.
            self._merit = (found.error_rate, found.loss)
            self.epoch = entry["epoch"]
            self.weights = self._model.get_weights()


def _batch_size(samples: int) -> int:
    """Return 128, halved until an epoch has enough steps."""
    size = BATCH_SIZE
    while size > SMALLEST_BATCH and samples // size < STEPS:
        size //= 2
    return size


def _compile(
    student: Any,
    teacher: Any | None,
    x_train: NDArray[np.float32],
    y_train: NDArray[np.int64],
    settings: FinetuneSettings,
    batch_size: int,
    progress: Progress,
) -> NDArray[Any]:
    """Compile the student for recovery and return what it is trained towards."""
    units = student.outputs[0].shape[-1]
    is_logits = not outputs_probabilities(student)
    steps = max(1, settings.epochs * -(-len(x_train) // batch_size))
    warm_up = max(1, int(WARM_UP * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=FIRST_RATE * settings.learning_rate,
        decay_steps=max(1, steps - warm_up),
        warmup_target=settings.learning_rate,
        warmup_steps=warm_up,
    )
    if units == 1:
        loss: Any = keras.losses.BinaryCrossentropy(from_logits=is_logits)
        targets: NDArray[Any] = y_train.astype(np.float32)[..., None]
    elif teacher is None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=is_logits)
        targets = y_train
    else:
        taught = predict(teacher, x_train, progress, "teacher's outputs")
        if taught.shape[-1] != units:
            msg = f"The original has {taught.shape[-1]} classes, the factorized model {units}; expected the same."
            raise DatasetError(msg, code="teacher_classes")
        targets = distill.targets(y_train, taught, is_logits=not outputs_probabilities(teacher))
        loss = distill.loss(is_logits=is_logits)
    student.compile(
        optimizer=keras.optimizers.Adam(rate), loss=loss, jit_compile=backend.jit_compile()
    )
    return targets
