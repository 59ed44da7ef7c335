"""Writing a model in the format of a runtime, by Keras' own exporters."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from lrcompress.errors import LRCompressWarning, TrainingError, one_line
from lrcompress.runtimes.target import Target, exported_name


def check_engine() -> None:
    """Refuse to export under another engine than TensorFlow."""
    engine = keras.backend.backend()
    if engine != "tensorflow":
        msg = (
            f"Keras runs on {engine}; models are exported under TensorFlow: set "
            "KERAS_BACKEND=tensorflow for this command."
        )
        raise TrainingError(msg, code="export_engine")


def write(model: Any, path: Path, target: Target, **options: Any) -> None:
    """Export a model's predictions to a file, or into an empty folder; options are those of Keras' exporter."""
    model = _as_it_predicts(_in_float32(model, target))
    inputs = keras.tree.map_structure(lambda tensor: _spec(tensor, target.samples), _inputs(model))
    try:
        with _no_notes():
            model.export(
                str(path),
                format=target.keras_name,
                verbose=False,
                input_signature=[inputs],
                **options,
            )
    except OSError:
        raise
    except Exception as error:  # converters raise anything, and fail on operations they lack
        reason = one_line(error, 200)
        too_old = target.since and "Unrecognized" in reason
        hint = f"{target.title} needs Keras {target.since}; " if too_old else ""
        msg = (
            f"Keras {keras.__version__} cannot export {model.name} to {target.name} "
            f"({type(error).__name__}: {reason}); {hint}try another --format."
        )
        raise TrainingError(msg, code="export_failed") from error


def _in_float32(model: Any, target: Target) -> Any:
    """Return a copy that computes in float32 where a runtime lacks the type that the model computes in."""
    if target.lacks is None:
        return model
    policies = {layer.dtype_policy.name for layer in model._flatten_layers()}
    found = sorted(name for name in policies if re.fullmatch(rf"(mixed_)?({target.lacks})", name))
    if not found:
        return model
    wrong = {*found, *(name.removeprefix("mixed_") for name in found)}

    def change(config: dict[str, Any]) -> dict[str, Any]:
        policy = config.get("dtype")
        name = (policy.get("config") or {}).get("name") if isinstance(policy, dict) else policy
        return config | {"dtype": "float32"} if isinstance(name, str) and name in wrong else config

    twin = changed(model, change)
    warnings.warn(
        f"The model computes in {', '.join(found)}, which {target.name} does not run: exported in float32.",
        LRCompressWarning,
        stacklevel=3,
    )
    return twin


def changed(model: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Return a copy of a model with each dictionary of its config changed, inner ones first; itself if none is."""

    def within(value: Any) -> Any:
        if isinstance(value, list):
            return [within(item) for item in value]
        if isinstance(value, dict):
            return change({key: within(item) for key, item in value.items()})
        return value

    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    other = within(config)
    if other == config:
        return model
    twin = keras.saving.deserialize_keras_object(other)
    twin.set_weights(model.get_weights())
    return twin


def _as_it_predicts(model: Any) -> Any:
    """Return the model with whatever is random in training switched off for good."""
    # Augmenting layers are on unless they are told otherwise, and exporters do not tell them.
    if not any(variable.name.endswith("seed_generator_state") for variable in model.variables):
        return model
    graph = getattr(model, "_functional", None) or model
    outputs = model(graph._inputs_struct, training=False)
    return keras.Model(graph._inputs_struct, outputs, name=model.name)


def _inputs(model: Any) -> Any:
    """Return the input tensors in the structure that the model takes them in."""
    structure = getattr(model, "_inputs_struct", None)  # a Sequential model has none
    return model.inputs[0] if structure is None else structure


def _spec(tensor: Any, samples: int | None) -> Any:
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return keras.InputSpec(
        shape=(samples, *tensor.shape[1:]), dtype=dtype, name=exported_name(tensor.name)
    )


@contextlib.contextmanager
def _no_notes() -> Iterator[None]:
    """Hold back what exporters log and warn of: names NumPy has dropped, their own progress."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
