"""Training epoch by epoch, with the state on disk after each: a killed run goes on where it was."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.files import regular, replacing
from lrcompress.live import engine
from lrcompress.records.text import parse
from lrcompress.train.feed import batches
from lrcompress.train.steps import StepReporter

# Reading the loss after every step would have an accelerator wait for its next one.
STEPS_AT_ONCE = 32


@dataclass(frozen=True)
class Schedule:
    """How long and in what order.

    Attributes:
        epochs: Passes over the data.
        batch_size: Samples a step.
        seed: Of the order of samples.
    """

    epochs: int
    batch_size: int
    seed: int


def train(
    model: Any,
    x: Any,
    targets: Any,
    schedule: Schedule,
    state: Path,
    *,
    label: str = "training",
) -> float:
    """Fit a compiled model and return the seconds that took, those before a kill included.

    Every epoch draws from a seed of its own, so that the epochs after a kill are those that would
    have been without it: the result is the same.

    Args:
        model: A compiled Keras model, built from `schedule.seed`; trained in place.
        x: Inputs as `fit` takes them.
        targets: What it is trained towards.
        schedule: Epochs, batch size and seed.
        state: A `.npz` file: read if it is there and belongs to this training, written after each
            epoch, left for the caller to delete once the result is kept.
        label: The task's name in `progress`.
    """
    asked = {**schedule.__dict__, "label": label}
    model.optimizer.build(model.trainable_variables)
    done, seconds = _restore(model, state, asked)
    reporter = StepReporter(label, schedule.epochs)
    model.steps_per_execution = _steps_at_once()
    for epoch in range(done, schedule.epochs):
        seed = _seed_of(schedule.seed, epoch)
        engine.seed_everything(seed)
        started = time.perf_counter()
        model.fit(
            **batches(x, targets, schedule.batch_size),
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=0,
            callbacks=[_seeder(model, seed), reporter],
        )
        seconds += time.perf_counter() - started
        _keep(model, state, asked, epoch + 1, seconds)
    return seconds


def _seeder(model: Any, seed: int) -> Any:
    """Return a callback that undoes what building the model in `fit` has drawn.

    Under PyTorch that is some dropout, once in a process: a row that goes on would be shifted.
    """
    states = [v for v in model.variables if v.name.endswith("seed_generator_state")]
    kept = [np.array(keras.ops.convert_to_numpy(state)) for state in states]

    def restore(logs: dict[str, Any] | None = None) -> None:
        if keras.backend.backend() == "torch":
            # Dropout without a seed of its own draws from the engine's.
            engine.seed_everything(seed)
        for state, value in zip(states, kept, strict=True):
            state.assign(value)

    return keras.callbacks.LambdaCallback(on_train_begin=restore)


def _steps_at_once() -> int:
    """Return the steps between two reports; they are the same steps."""
    # Keras does one at a time under PyTorch.
    waits = engine.has_accelerator() and keras.backend.backend() != "torch"
    return STEPS_AT_ONCE if waits else 1


def _seed_of(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _variables(model: Any) -> list[Any]:
    """Return all that an epoch changes: weights, the states of dropout, the optimizer's slots."""
    return [*model.variables, *model.optimizer.variables]


def _keep(model: Any, state: Path, asked: dict[str, Any], epochs: int, seconds: float) -> None:
    about = json.dumps({"asked": asked, "epochs": epochs, "seconds": seconds})
    arrays = {f"v{i}": np.asarray(v) for i, v in enumerate(_values(model))}
    state.parent.mkdir(parents=True, exist_ok=True)
    with replacing(state, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.array(about), **arrays)  # type: ignore[arg-type]


def _values(model: Any) -> list[NDArray[Any]]:
    return [keras.ops.convert_to_numpy(variable) for variable in _variables(model)]


def _restore(model: Any, state: Path, asked: dict[str, Any]) -> tuple[int, float]:
    """Give the model the state on disk; return the epochs and seconds that went into it."""
    try:
        with regular(state).open("rb") as file, np.load(file, allow_pickle=False) as found:
            about = parse(str(found["about"]))
            values = [found[f"v{i}"] for i in range(len(found.files) - 1)]
        fits = about["asked"] == asked and [(v.shape, v.dtype) for v in values] == [
            (v.shape, v.dtype) for v in _values(model)
        ]
        done, seconds = int(about["epochs"]), float(about["seconds"])
    except Exception:  # zipfile, its decompressors and NumPy raise a dozen kinds
        # Nothing there, or a stranger's file: begin anew.
        return 0, 0.0
    if not fits:
        return 0, 0.0
    for variable, value in zip(_variables(model), values, strict=True):
        variable.assign(value)
    return done, seconds
