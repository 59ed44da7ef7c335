"""Compile settings of Keras 1 and 2 in the terms of Keras 3: optimizer, losses, metrics."""

from __future__ import annotations

import copy
from typing import Any

from lrcompress.kinds.terms import as_dict
from lrcompress.modelfile.modern.notes import Notes
from lrcompress.modelfile.modern.terms import arguments, knows_name

# Also short names that Keras 3 knows: as losses of an HDF5 file it does not load them.
_ALIASES = {
    "acc": "accuracy", "kullback_leibler_divergence": "kl_divergence", "logcosh": "log_cosh",
    "ce": "categorical_crossentropy", "crossentropy": "categorical_crossentropy",
    "bce": "binary_crossentropy", "kld": "kl_divergence", "mse": "mean_squared_error",
    "mae": "mean_absolute_error", "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
}  # fmt: skip
_ALIASES |= {short.upper(): _ALIASES[short] for short in ("mse", "mae", "mape", "msle", "kld")}
# Where Keras 3 resolves names by the shapes of output and loss.
_ANY_METRIC = ("accuracy", "acc", "crossentropy", "ce")
# A function inside one of these is a wrapper that Keras makes by itself from the function's name.
_WRAPPERS = ("MeanMetricWrapper", "SumOverBatchSizeMetricWrapper", "LossFunctionWrapper")
# Keras 3 does not take None for these.
_RUN_SETTINGS = ("run_eagerly", "steps_per_execution", "jit_compile")
_PARTS = (("loss", "losses"), ("metrics", "metrics"), ("weighted_metrics", "metrics"))


class _UnknownTermError(Exception):
    """Keras 3 has no such loss, metric or optimizer."""


def modern_compile_settings(settings: dict[str, Any], notes: Notes) -> dict[str, Any] | None:
    """Return ``training_config`` or ``compile_config`` as Keras 3 reads it, None where it could not."""
    modern = copy.deepcopy(settings)
    try:
        for key in ("optimizer_config", "optimizer"):
            if isinstance(modern.get(key), dict):
                _modern_optimizer(modern[key])
        for key, kind in _PARTS:
            if modern.get(key) is not None:
                modern[key] = _modern_terms(modern[key], kind)
    except _UnknownTermError as error:
        notes.warn(
            f"The model was compiled with {error}, which Keras 3 does not have; the new file is not "
            "compiled: compile it before training."
        )
        return None
    for key in _RUN_SETTINGS:
        if modern.get(key, 0) is None:
            del modern[key]
    if modern != settings:
        notes.changed("compile settings put in the terms of Keras 3")
    return modern


def _modern_optimizer(entry: dict[str, Any]) -> None:
    # TensorFlow 2.11 to 2.15 wrote its new optimizers as if they were the user's.
    class_name = str(entry.get("class_name")).removeprefix("Custom>")
    config = as_dict(entry.get("config"))
    accepted = arguments("optimizers", class_name)
    if accepted is None:
        msg = f"optimizer {class_name}"
        raise _UnknownTermError(msg)
    entry["class_name"] = class_name
    if "lr" in config:
        config["learning_rate"] = config.pop("lr")
    decay = config.pop("decay", 0) or 0
    if decay and isinstance(config.get("learning_rate"), (int, float)):
        # What `decay` did: lr / (1 + decay * iteration).
        config["learning_rate"] = {
            "module": "keras.optimizers.schedules",
            "class_name": "InverseTimeDecay",
            "config": {
                "initial_learning_rate": config["learning_rate"], "decay_steps": 1,
                "decay_rate": decay, "staircase": False, "name": "InverseTimeDecay",
            },
            "registered_name": None,
        }  # fmt: skip
    if config.get("epsilon", 0) is None:
        config["epsilon"] = 1e-7
    for key in [key for key in config if key not in accepted]:
        del config[key]
    if "module" in entry:
        entry["module"], entry["registered_name"] = "keras.optimizers", None


def _modern_terms(value: Any, kind: str) -> Any:  # noqa: ANN401 - JSON in, JSON out
    """Return losses or metrics, one or many by output, in the terms of Keras 3."""
    if isinstance(value, str):
        return _modern_name(value, kind)
    if isinstance(value, list):
        return [_modern_terms(part, kind) for part in value]
    if not isinstance(value, dict):
        return value
    if "class_name" not in value:
        return {key: _modern_terms(part, kind) for key, part in value.items()}
    class_name, config = value["class_name"], as_dict(value.get("config"))
    if isinstance(value.get("config"), str):
        return _modern_name(value["config"], kind)
    if class_name in _WRAPPERS:
        inner = config.get("fn")
        name = inner if isinstance(inner, str) else as_dict(inner).get("config")
        return _modern_name(name, kind)
    accepted = arguments(kind, class_name)
    if accepted is None:
        raise _UnknownTermError(class_name)
    kept = {key: item for key, item in config.items() if key in accepted}
    if kept.get("reduction") in ("auto", "AUTO"):
        kept["reduction"] = "sum_over_batch_size"
    module = {"module": f"keras.{kind}", "registered_name": None} if "module" in value else {}
    return {**value, **module, "config": kept}


def _modern_name(name: Any, kind: str) -> str:  # noqa: ANN401 - JSON
    """Return the name by which Keras 3 knows a loss or metric."""
    known = _ALIASES.get(name, name) if isinstance(name, str) else name
    if isinstance(known, str) and (knows_name(kind, known) or name in _ANY_METRIC):
        return known
    msg = f"{'metric' if kind == 'metrics' else 'loss'} {name}"
    raise _UnknownTermError(msg)
