"""How a model is compiled: as its file says, or as another one in this process."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras


def compile_without_slots(model: Any, compiled: dict[str, Any] | None) -> None:
    """Give a model the optimizer, loss and metrics of a `get_compile_config`; None leaves it not compiled."""
    # Not by `compile_from_config`, which would also build the optimizer's slots: zeros that triple the file.
    try:
        settings = keras.saving.deserialize_keras_object(compiled) if compiled else None
    except Exception:  # functions and classes of a program, which `compile_like` knows
        settings = None
    if settings:
        model.compile(**settings)
    else:
        # Keras would otherwise store whatever loss it was trained with, which need not be stock.
        model.compiled = False


def drop_slots(model: Any) -> None:
    """Give back what the optimizer of a model keeps for its weights, once or twice their size."""
    if isinstance(getattr(model, "optimizer", None), keras.optimizers.Optimizer):
        model.optimizer = _without_state(model.optimizer)


def compile_like(model: Any, like: Any) -> None:
    """Compile a model as another one is in this process, with the same functions and classes."""
    if not like.compiled:
        model.compiled = False
        return
    # An archive would spell functions by names that only the caller's program can read.
    settings = dict(like._compile_config.config) | {"optimizer": like.optimizer}
    model.compile(**keras.tree.map_structure(_without_state, settings))


def _without_state(setting: Any) -> Any:
    """Return a new optimizer or metric of the same settings; anything else as it is."""
    if isinstance(setting, keras.Metric):
        return type(setting).from_config(setting.get_config())
    if isinstance(setting, keras.optimizers.Optimizer):
        config = setting.get_config()
        rate = setting._learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            config["learning_rate"] = rate
        return type(setting).from_config(config)
    return setting


def compile_with_known(model: Any, compiled: dict[str, Any]) -> list[str]:
    """Compile a model with the loss and optimizer of its file that Keras knows, and return what it does not."""
    unknown: list[str] = []
    optimizer = compiled.get("optimizer") or compiled.get("optimizer_config")
    loss = _known(compiled.get("loss"), keras.losses.get, unknown)
    optimizer = _known(optimizer, keras.optimizers.get, unknown)
    for key in ("metrics", "weighted_metrics"):
        _known(compiled.get(key), _metric, unknown)
    weights = compiled.get("loss_weights")
    if loss is not None or optimizer is not None:
        model.compile(optimizer=optimizer, loss=loss, loss_weights=weights)
    return list(dict.fromkeys(unknown))


def _known(saved: Any, get: Callable[[Any], Any], unknown: list[str]) -> Any:
    """Return what Keras makes of a setting, None in the place of what it does not know."""
    if isinstance(saved, list):
        return [_known(one, get, unknown) for one in saved]
    if isinstance(saved, dict) and "class_name" not in saved:
        return {name: _known(one, get, unknown) for name, one in saved.items()}
    try:
        return get(saved)
    except Exception as error:  # a stranger's settings fail in any way
        named = re.search(r"(?:class|function) '([^']+)'", str(error))
        config = saved.get("config") if isinstance(saved, dict) else saved
        name = config if isinstance(config, str) else saved["class_name"]
        unknown.append(named[1] if named else str(name).strip("_"))
        return None


def _metric(saved: Any) -> Any:
    # These are made for the outputs' shapes as the model compiles.
    return saved if saved in ("accuracy", "acc", "crossentropy", "ce") else keras.metrics.get(saved)
