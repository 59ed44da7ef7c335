"""Activations, and what ends an output: the one table by which model files and live models are read.

A layer or a function of `keras.ops` is given here as its class name and its settings; whoever walks
a graph, in JSON or in Keras, asks `applied` about one step after the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Activations whose outputs are probabilities: of classes that exclude each other, which sum to 1
# over the last axis, or one for each unit.
PROBABILITIES = {
    "softmax": "softmax", "sparsemax": "softmax", "softmax_of_another_axis": "sigmoid",
    "sigmoid": "sigmoid", "hard_sigmoid": "sigmoid", "sparse_sigmoid": "sigmoid",
}  # fmt: skip
# Those whose outputs are known to be none.
OTHERS = {
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_silu", "hard_swish",
    "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6",
    "selu", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus", "squareplus", "swish",
    "tanh", "tanh_shrink",
}  # fmt: skip
# Activations on one side of 0, which does not part two classes then.
ONE_SIDED = {"exponential", "log_sigmoid", "relu", "relu6", "softplus", "sparse_plus", "squareplus"}
# Activations that leave the largest unit the only largest.
ORDER_KEEPING = {
    "exponential", "linear", "log_sigmoid", "log_softmax", "sigmoid", "softmax", "softplus",
    "softsign", "tanh",
}  # fmt: skip
# Steps that hand on in prediction what they take in, as it is or in another shape.
AS_IT_IS = {
    "ActivityRegularization", "AlphaDropout", "Cast", "Dropout", "GaussianDropout", "GaussianNoise",
    "Identity", "Masking", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "StopGradient",
}  # fmt: skip
RESHAPED = {
    "Cropping1D", "Cropping2D", "Cropping3D", "ExpandDims", "Flatten", "GetItem", "RepeatVector",
    "Reshape", "Squeeze",
}  # fmt: skip
HANDS_ON = "hands on"
_SPELLINGS = {"ReLU": "relu", "ELU": "elu", "LeakyReLU": "leaky_relu", "softmax_v2": "softmax"}


def applied(class_name: str, settings: Mapping[str, Any], axes: int | None = None) -> str | None:
    """Return the activation that a layer or function of some `axes` ends in, `HANDS_ON` where it changes no value.

    None where nothing is known of it. Of its config activation, axis and function matter.
    """
    if class_name in AS_IT_IS or class_name in RESHAPED:
        return HANDS_ON
    if "activation" in settings:
        return _of_object(settings["activation"], axes)
    function = settings.get("function")
    if class_name == "TFOpLambda" and isinstance(function, str):
        class_name = function.rsplit(".", 1)[-1]  # nn.softmax, math.sigmoid
    name = spelled(class_name)
    last = (-1, None if axes is None else axes - 1)
    if name == "softmax" and settings.get("axis", -1) not in last:
        return "softmax_of_another_axis"
    if name == "relu" and settings.get("max_value") is not None:
        return None
    return name if name in PROBABILITIES or name in OTHERS else None


def activation_name(value: object) -> str:
    """Return the name of an activation, however it was serialized; linear where there is none."""
    if value is None:
        return "linear"
    if isinstance(value, str):
        return _SPELLINGS.get(value, value)
    description = value if isinstance(value, dict) else {}
    inner, name = description.get("config"), description.get("class_name")
    if isinstance(inner, str):  # {"class_name": "function", "config": "relu"}
        return activation_name(inner)
    if not isinstance(name, str):
        named = inner.get("name") if isinstance(inner, dict) else None
        return named if isinstance(named, str) else "?"
    if name == "Activation" and isinstance(inner, dict):
        return activation_name(inner.get("activation"))
    return spelled(name)


def _of_object(value: object, axes: int | None) -> str | None:
    """Return what an activation given as a layer does, or a function by its name."""
    if isinstance(value, dict) and isinstance(value.get("config"), dict):
        return applied(str(value.get("class_name")), value["config"], axes)
    name = activation_name(value)
    return name if name in PROBABILITIES or name in OTHERS else None


def spelled(class_name: str) -> str:
    """Return an activation's name from that of a class: `HardSigmoid` is ``hard_sigmoid``."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", class_name).lower()
    return _SPELLINGS.get(class_name, snake)
