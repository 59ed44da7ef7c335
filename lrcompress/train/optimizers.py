"""The optimizer of fine-tuning, or the one that the original was compiled with."""

from __future__ import annotations

from typing import Any

import keras

from lrcompress.errors import TrainingError, one_line

WARM_UP = 0.05
# Share of the peak at which the warm-up begins.
FIRST_RATE = 0.1


def adam(learning_rate: float, steps: int) -> Any:
    """Return Adam with a linear warm-up to a peak and a cosine decay to zero over so many steps."""
    warm_up = max(1, int(WARM_UP * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=FIRST_RATE * learning_rate,
        decay_steps=max(1, steps - warm_up),
        warmup_target=learning_rate,
        warmup_steps=warm_up,
    )
    return keras.optimizers.Adam(rate)


def original(compiled: dict[str, Any] | None, learning_rate: float | None) -> Any:
    """Return the optimizer of a compile config, without its state; a rate replaces its own or its schedule."""
    config = (compiled or {}).get("optimizer")
    if config is None:
        msg = "The model was saved without its optimizer; leave --optimizer original out."
        raise TrainingError(msg, code="no_optimizer")
    try:
        optimizer = keras.saving.deserialize_keras_object(config)
    except Exception as error:  # a stranger's class can fail in any way
        msg = (
            f"Keras cannot make the model's own optimizer ({type(error).__name__}: {one_line(error)}); "
            "leave --optimizer original out."
        )
        raise TrainingError(msg, code="no_optimizer") from error
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        optimizer = keras.optimizers.get(optimizer)
    if learning_rate is not None:
        fresh = optimizer.get_config() | {"learning_rate": learning_rate}
        optimizer = type(optimizer).from_config(fresh)
    return optimizer
