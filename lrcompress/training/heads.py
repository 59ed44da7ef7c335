"""What a model takes in and gives out: names, shapes, and what ends each output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

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
        activation: What ends it: ``softmax``, ``sigmoid``, ``linear``, or another name.
        loss: Name of the loss that the model was compiled with; empty where that is not known.
        loss_weight: Its share in the loss that the model was compiled with; 1 if none was given.
    """

    name: str
    layer: str
    shape: tuple[int | None, ...]
    activation: str
    loss: str = ""
    loss_weight: float = 1.0

    @property
    def regression(self) -> bool:
        """Whether the model was compiled with a loss that compares numbers."""
        return self.loss in REGRESSION_LOSSES

    @property
    def is_logits(self) -> bool:
        """Whether the outputs are anything but probabilities."""
        return self.activation not in ("softmax", "sigmoid")


def input_names(model: Any) -> list[str]:
    """Return the names under which a model takes its inputs, in its order."""
    return _names(getattr(model, "_inputs_struct", None), [tensor.name for tensor in model.inputs])


def output_names(model: Any) -> list[str]:
    """Return the names of a model's outputs, in its order."""
    return _names(getattr(model, "_outputs_struct", None), [_maker(tensor).name for tensor in model.outputs])


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
            activation=ending(tensor),
            loss=_loss_name(loss),
            loss_weight=float(weight) if isinstance(weight, (int, float)) else 1.0,
        )
        for name, maker, tensor, loss, weight in zip(
            names, makers, model.outputs, losses, weights, strict=True
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


def ending(tensor: Any) -> str:
    """Return the activation that ends what leads to a tensor, through layers that only hand on."""
    while True:
        layer = _maker(tensor)
        if isinstance(layer, keras.Model):
            return ending(layer.outputs[tensor._keras_history.tensor_index])
        if isinstance(layer, keras.layers.Softmax):
            return "softmax"
        # A wrapper such as TimeDistributed holds the layer that has the activation.
        activation = getattr(getattr(layer, "layer", layer), "activation", None)
        name = getattr(activation, "__name__", "linear")
        if name != "linear" or getattr(layer, "weights", []):
            return str(name)
        # Dropout, Reshape and their like hand on what the layer before them made.
        inputs = layer._inbound_nodes[0].input_tensors
        if len(inputs) != 1:
            return "linear"
        tensor = inputs[0]


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
