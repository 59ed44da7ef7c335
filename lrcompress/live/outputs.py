"""What a model takes in and gives out: names, shapes, and what ends each output."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.kinds import endings

# Inputs that are drawn to see whether outputs are probabilities, and what rounding does to those.
SAMPLES_A_RANGE = 8
ROUNDING = 1e-4

# Losses that compare numbers; all others compare classes or labels.
REGRESSION_LOSSES = {
    "huber", "log_cosh", "logcosh", "mae", "mape", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error",
    "mse", "msle", "poisson",
}  # fmt: skip


@dataclass(frozen=True)
class Head:
    """One output of a model.

    Attributes:
        name: As Keras names it.
        layer: Name of the layer that makes it.
        shape: Without the samples; None where the model leaves a length open.
        activation: What ends it: ``softmax``, ``hard_sigmoid``, ``linear``, or another name; by its
            values softmax, sigmoid or linear where the graph does not tell.
        loss: Name of the loss that the model was compiled with; empty where that is not known.
        loss_weight: Its share in the loss that the model was compiled with; 1 if none was given.
        dtype: Of its numbers.
    """

    name: str
    layer: str
    shape: tuple[int | None, ...]
    activation: str
    loss: str = ""
    loss_weight: float = 1.0
    dtype: str = "float32"

    @property
    def regression(self) -> bool:
        """Whether the model was compiled with a loss that compares numbers."""
        return self.loss in REGRESSION_LOSSES

    @property
    def is_logits(self) -> bool:
        """Whether the outputs are anything but probabilities."""
        return self.activation not in endings.PROBABILITIES

    @property
    def is_sigmoid(self) -> bool:
        """Whether each unit is a probability for itself."""
        return endings.PROBABILITIES.get(self.activation) == "sigmoid"


def input_names(model: Any) -> list[str]:
    """Return the names under which a model takes its inputs, in its order."""
    return _names(getattr(model, "_inputs_struct", None), [tensor.name for tensor in model.inputs])


def output_names(model: Any) -> list[str]:
    """Return the names of a model's outputs, in its order."""
    return _names(
        getattr(model, "_outputs_struct", None), [_maker(tensor).name for tensor in model.outputs]
    )


def _names(structure: Any, otherwise: list[str]) -> list[str]:
    """Return the keys of a dictionary of tensors, else numbered where a name comes twice."""
    if isinstance(structure, dict):
        return sorted(structure)  # as keras.tree flattens it
    if len(set(otherwise)) == len(otherwise):
        return otherwise
    return [f"{name}_{number}" for number, name in enumerate(otherwise)]


def heads(model: Any) -> list[Head]:
    """Return the outputs of a functional or Sequential model."""
    names = output_names(model)
    makers = [_maker(tensor).name for tensor in model.outputs]
    losses = _by_output(getattr(model, "loss", None), names)
    weights = _by_output(_loss_weights(model), names)
    return [
        Head(
            name=name,
            layer=maker,
            shape=tuple(tensor.shape[1:]),
            activation=ending(tensor) or by_values(model)[place],
            dtype=keras.backend.standardize_dtype(tensor.dtype),
            loss=_loss_name(loss),
            loss_weight=float(weight) if isinstance(weight, (int, float)) else 1.0,
        )
        for place, (name, maker, tensor, loss, weight) in enumerate(
            zip(names, makers, model.outputs, losses, weights, strict=True)
        )
    ]


def _maker(tensor: Any) -> Any:
    return tensor._keras_history.operation


def _by_output(given: Any, names: list[str]) -> list[Any]:
    """Return what a compile option says for each output: one for all, a list, or a dictionary."""
    if isinstance(given, dict):
        return [given.get(name) for name in names]
    if isinstance(given, (list, tuple)):
        return [*given, *[None] * len(names)][: len(names)]
    return [given] * len(names)


def _loss_weights(model: Any) -> Any:
    # A single output has none, and writing a compile config down takes its time.
    if len(model.outputs) == 1 or not getattr(model, "compiled", False):
        return None
    return (model.get_compile_config() or {}).get("loss_weights")


def _loss_name(loss: Any) -> str:
    if loss is None or isinstance(loss, str):
        return (loss or "").lower()
    name = getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__)
    return str(name).removesuffix("_loss")


def ending(tensor: Any) -> str | None:
    """Return the activation that ends what leads to a tensor, None where the graph does not tell."""
    operation, node, index = tensor._keras_history
    inner = operation.layer if isinstance(operation, keras.layers.TimeDistributed) else operation
    if getattr(inner, "outputs", None):  # a model
        return ending(inner.outputs[index])
    found = endings.applied(_class_name(inner), _settings(inner), len(tensor.shape))
    if found is None and _is_own(inner) and getattr(inner, "weights", None):
        # Of Keras' own layers those with weights end in a sum, or say their activation.
        return None if hasattr(inner, "activation") else "linear"
    if found != endings.HANDS_ON:
        return found
    before = operation._inbound_nodes[node].input_tensors
    if len(before) != 1:
        return None
    found = ending(before[0])
    if (
        tensor.shape[-1:] != before[0].shape[-1:]
        and endings.PROBABILITIES.get(found or "") == "softmax"
    ):
        # Some of the classes, or those of several softmaxes in one row.
        return "sigmoid"
    return found


def _is_own(operation: Any) -> bool:
    return type(operation).__module__.startswith("keras.")


def _class_name(operation: Any) -> str:
    return type(operation).__name__ if _is_own(operation) else "?"


def _settings(operation: Any) -> dict[str, Any]:
    """Return what `endings.applied` asks of a config, without writing a config down."""
    names = ("axis", "max_value")
    settings = {name: getattr(operation, name) for name in names if hasattr(operation, name)}
    if hasattr(operation, "activation"):
        given = operation.activation
        if isinstance(given, keras.layers.Layer):
            given = {"class_name": _class_name(given), "config": _settings(given)}
        settings["activation"] = (
            given if given is None or isinstance(given, dict) else (getattr(given, "__name__", "?"))
        )
    return settings


# What was found of models whose graph does not tell, so that it is sought once.
_found: weakref.WeakKeyDictionary[Any, list[str]] = weakref.WeakKeyDictionary()


def by_values(model: Any) -> list[str]:
    """Return of each output whether it is made of probabilities: softmax, sigmoid, else linear.

    Told by what it gives for a few inputs drawn from ranges of 1, 30 and 1000: only what stays
    between 0 and 1 for all of them is a probability. Where nothing can be run, it is linear.
    """
    if model not in _found:
        try:
            outputs = _on_drawn_inputs(model)
        except Exception:  # whatever the code of a layer says to such inputs
            outputs = []
        _found[model] = [probabilities(output) for output in outputs] or ["linear"] * len(
            model.outputs
        )
    return _found[model]


def _on_drawn_inputs(model: Any) -> list[NDArray[np.float32]]:
    # Not at the top: it stands on what is here.
    from lrcompress.live.latency import random_inputs

    if any(getattr(layer, "stateful", False) for layer in model._flatten_layers()):
        return []  # a run would leave its traces
    ranges = [1.0, 30.0, 1000.0]
    samples = model.inputs[0].shape[0] or SAMPLES_A_RANGE
    parts: list[list[NDArray[np.float32]]] = []
    for seed, width in enumerate(ranges):
        drawn = random_inputs(model, samples, seed)
        x = keras.tree.map_structure(
            lambda a, width=width: (a - 0.5) * 2 * width if a.dtype.kind == "f" else a, drawn
        )
        parts.append([
            np.asarray(keras.ops.convert_to_numpy(output), np.float32)
            for output in keras.tree.flatten(model(x, training=False))
        ])  # fmt: skip
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def probabilities(outputs: NDArray[np.float32]) -> str:
    """Return what outputs are by their values: softmax, sigmoid (each unit for itself), or linear."""
    wide = outputs.reshape(-1, outputs.shape[-1]) if outputs.ndim > 1 else outputs.reshape(-1, 1)
    # A softmax that someone wrote out overflows where the inputs are large.
    wide = wide[np.isfinite(wide).all(axis=-1)]
    within = wide.min(initial=0) >= -ROUNDING and wide.max(initial=0) <= 1 + ROUNDING
    # Zeros of a layer that was never trained, or the like, say nothing.
    if len(wide) == 0 or not within or np.ptp(wide) < ROUNDING:
        return "linear"
    sums = wide.sum(axis=-1)
    return "softmax" if wide.shape[-1] > 1 and np.abs(sums - 1).max() < 1e-3 else "sigmoid"


def reached_by(model: Any, path: str) -> list[str]:
    """Return the names of the outputs that a layer has a part in, in the model's order.

    Args:
        model: A functional or Sequential model.
        path: ``name`` or ``outer/inner/name``.
    """
    first = path.split("/")[0]
    return [
        name
        for name, tensor in zip(output_names(model), model.outputs, strict=True)
        if first in _ancestors(tensor)
    ]


def _ancestors(tensor: Any) -> set[str]:
    """Return the names of the model's layers that lead to a tensor."""
    seen: set[str] = set()
    known: set[int] = set()
    pending = [tensor]
    while pending:
        history = pending.pop()._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) not in known:
            known.add(id(node))
            seen.add(history.operation.name)
            pending.extend(node.input_tensors)
    return seen
