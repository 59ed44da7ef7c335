"""What a model takes in and gives out: names, shapes, and what ends each output."""

from __future__ import annotations

import weakref
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, only
from lrcompress.data.labels import Output
from lrcompress.errors import TrainingError
from lrcompress.kinds import terms

# Inputs that are drawn to see whether outputs are probabilities, and what rounding does to those.
SAMPLES_A_RANGE, RANGES = 8, (1.0, 30.0, 1000.0)
ROUNDING = 1e-4
# What stands for a length that a model leaves open: an image's side, or the steps of a sequence.
SIDE, STEPS = 224, 32


def input_names(model: Any) -> list[str]:
    """Return the names under which a model takes its inputs, in its order."""
    return _names(getattr(model, "_inputs_struct", None), [tensor.name for tensor in model.inputs])


def word_inputs(model: Any) -> set[str]:
    """Return the names of the inputs, also of nested models, that an embedding takes: token ids."""
    # Models often leave the type of their inputs open; what takes them tells.
    named: set[str] = set()
    taken: set[int] = set()
    for layer in model.layers:
        inside = word_inputs(layer) if getattr(layer, "layers", None) else set()
        named |= inside
        for node in layer._inbound_nodes:
            if isinstance(layer, keras.layers.Embedding):
                taken |= {id(tensor) for tensor in node.input_tensors}
            elif inside:
                pairs = zip(node.input_tensors, layer.inputs, strict=False)
                taken |= {id(tensor) for tensor, own in pairs if own.name in inside}
    return named | {tensor.name for tensor in model.inputs if id(tensor) in taken}


def output_names(model: Any) -> list[str]:
    """Return the names of a model's outputs, in its order."""
    makers = [tensor._keras_history.operation.name for tensor in model.outputs]
    return _names(getattr(model, "_outputs_struct", None), makers)


def _names(structure: Any, otherwise: list[str]) -> list[str]:
    """Return the keys of a dictionary of tensors, else numbered where a name comes twice."""
    if isinstance(structure, dict):
        return sorted(structure)  # as keras.tree flattens it
    if len(set(otherwise)) == len(otherwise):
        return otherwise
    return [f"{name}_{number}" for number, name in enumerate(otherwise)]


def outputs_of(model: Any) -> list[Output]:
    """Return the outputs of a functional or Sequential model."""
    names = output_names(model)
    # A single output has no weight, and writing a compile config down takes its time.
    several = len(names) > 1 and getattr(model, "compiled", False)
    weights = (model.get_compile_config() or {}).get("loss_weights") if several else None
    losses, weights = _each(getattr(model, "loss", None), names), _each(weights, names)
    return [
        Output(
            name=name,
            layer=tensor._keras_history.operation.name,
            shape=tuple(tensor.shape[1:]),
            activation=ending(tensor) or _by_values(model)[place],
            dtype=keras.backend.standardize_dtype(tensor.dtype),
            loss=_loss_name(losses[place]),
            loss_weight=float(weights[place] if isinstance(weights[place], (int, float)) else 1),
        )
        for place, (name, tensor) in enumerate(zip(names, model.outputs, strict=True))
    ]


def _each(given: Any, names: list[str]) -> list[Any]:
    """Return what a compile option says for each output: one for all, a list, or a dictionary."""
    if isinstance(given, dict):
        return [given.get(name) for name in names]
    if isinstance(given, (list, tuple)):
        return [*given, *[None] * len(names)][: len(names)]
    return [given] * len(names)


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
    found = terms.applied(_class_name(inner), _settings(inner), len(tensor.shape))
    if found is None and _class_name(inner) != "?" and getattr(inner, "weights", None):
        # Of Keras' own layers those with weights end in a sum, or say their activation.
        return None if hasattr(inner, "activation") else "linear"
    if found != terms.HANDS_ON:
        return found
    before = operation._inbound_nodes[node].input_tensors
    if len(before) != 1:
        return None
    found = ending(before[0])
    narrower = tensor.shape[-1:] != before[0].shape[-1:]
    if narrower and terms.PROBABILITIES.get(found or "") == "softmax":
        # Some of the classes, or those of several softmaxes in one row.
        return "sigmoid"
    return found


def _class_name(operation: Any) -> str:
    own = type(operation).__module__.startswith("keras.")
    return type(operation).__name__ if own else "?"


def _settings(operation: Any) -> dict[str, Any]:
    """Return what `terms.applied` asks of a config, without writing a config down."""
    names = ("axis", "max_value")
    settings = {name: getattr(operation, name) for name in names if hasattr(operation, name)}
    if hasattr(operation, "activation"):
        given = operation.activation
        if isinstance(given, keras.layers.Layer):
            given = {"class_name": _class_name(given), "config": _settings(given)}
        elif given is not None and not isinstance(given, dict):
            given = getattr(given, "__name__", "?")
        settings["activation"] = given
    return settings


# What was found of models whose graph does not tell, so that it is sought once.
_found: weakref.WeakKeyDictionary[Any, list[str]] = weakref.WeakKeyDictionary()


def _by_values(model: Any) -> list[str]:
    """Return of each output whether it is made of probabilities, softmax or sigmoid: linear where nothing can run."""
    # Only what stays between 0 and 1 for inputs drawn from ranges of 1, 30 and 1000 is a probability.
    if model not in _found:
        try:
            outputs = _on_drawn_inputs(model)
        except Exception:  # whatever the code of a layer says to such inputs
            outputs = []
        _found[model] = list(map(_probabilities, outputs)) or ["linear"] * len(model.outputs)
    return _found[model]


def _on_drawn_inputs(model: Any) -> list[NDArray[np.float32]]:
    if any(getattr(layer, "stateful", False) for layer in model._flatten_layers()):
        return []  # a run would leave its traces
    samples = model.inputs[0].shape[0] or SAMPLES_A_RANGE
    parts: list[list[NDArray[np.float32]]] = []
    for seed, width in enumerate(RANGES):
        x = keras.tree.map_structure(
            lambda a, width=width: (a - 0.5) * 2 * width if a.dtype.kind == "f" else a,
            random_inputs(model, samples, seed),
        )
        found = keras.tree.flatten(model(x, training=False))
        parts.append([np.asarray(keras.ops.convert_to_numpy(one), np.float32) for one in found])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _probabilities(outputs: NDArray[np.float32]) -> str:
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


def random_inputs(model: Any, samples: int, seed: int = 0) -> Arrays:
    """Return inputs that a model takes, in their dtypes: numbers from 0 to 1, or indices that its embeddings know."""
    generator = np.random.default_rng(seed)
    known = [layer.input_dim for layer in model._flatten_layers()
             if isinstance(layer, keras.layers.Embedding)]  # fmt: skip
    arrays = {}
    for name, tensor in zip(input_names(model), model.inputs, strict=True):
        rest = tensor.shape[1:]
        shape = (samples, *(n or (SIDE if len(rest) > 2 else STEPS) for n in rest))
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if dtype == "string":
            msg = f"Input {name} of {model.name} takes text; expected numbers, so that inputs can be drawn."
            raise TrainingError(msg, code="text_inputs")
        if known or "int" in dtype:
            # An index that every embedding of the model knows; without one, bytes of an image.
            arrays[name] = generator.integers(0, min(known, default=256), shape).astype(dtype)
        else:
            arrays[name] = generator.random(shape, np.float32).astype(dtype)
    return only(arrays)


def reached_by(model: Any, path: str) -> list[str]:
    """Return the names of the outputs that the layer at ``name`` or ``outer/name`` has a part in."""
    first = path.split("/")[0]
    names = zip(output_names(model), model.outputs, strict=True)
    return [name for name, tensor in names if first in _ancestors(tensor)]


def _ancestors(tensor: Any) -> set[str]:
    """Return the names of the model's layers that lead to a tensor."""
    seen: dict[int, str] = {}
    pending = [tensor]
    while pending:
        history = pending.pop()._keras_history
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) not in seen:
            seen[id(node)] = history.operation.name
            pending.extend(node.input_tensors)
    return set(seen.values())
