"""What is known about Keras' built-in layers from their config alone, in all Keras versions.

Of activations, and of what ends an output, there is one table for model files and live models. A layer
or a function of `keras.ops` is given here as its class name and its settings; whoever walks a graph, in
JSON or in Keras, asks `applied` about one step after the other.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lrcompress.kinds.protocol import Refusal, Serialized

# Prefixes of the modules that built-in layers come from; files without a module (legacy ones) are
# taken at their word, as Keras does.
_BUILT_IN = ("keras.", "tf_keras.", "tensorflow.keras", "tensorflow.python.keras")

DROPOUTS = frozenset(
    {"Dropout", "GaussianDropout", "GaussianNoise", "AlphaDropout", "SpatialDropout1D"}
)
# What a constant can be taken from where a layer before it has no bias.
NORMALIZATIONS = frozenset({"BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2"})
# Layers that keep a model's last matrix its last: element by element, a change of shape, or a
# normalisation. A name is enough, because a custom layer carries its own module.
PASSED_OVER = DROPOUTS | NORMALIZATIONS | {
    "Activation", "ActivityRegularization", "Cropping1D", "ELU", "Flatten", "Identity", "Lambda",
    "LayerNormalization", "LeakyReLU", "Masking", "Normalization", "PReLU", "Permute", "ReLU",
    "RepeatVector", "Rescaling", "Reshape", "Softmax", "SpatialDropout2D", "ThresholdedReLU",
    "TensorFlowOpLayer", "TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod",
    "InstanceProperty", "UnitNormalization",
    "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot", "Merge",
}  # fmt: skip
KERNEL_INITIALIZERS = ("kernel_initializer", "init")
# What acts on a layer's weights in training; the spellings with one letter are those of Keras 1.
ON_KERNEL = ("kernel_regularizer", "kernel_constraint", "W_regularizer", "W_constraint")
REGULARIZERS = (
    "kernel_regularizer", "bias_regularizer", "activity_regularizer",
    "kernel_constraint", "bias_constraint",
    "W_regularizer", "b_regularizer", "W_constraint", "b_constraint",
)  # fmt: skip

_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU", "Bidirectional")
_QUANTIZED = re.compile(r"^(int8|int4|int2|float8|gptq|awq)\b|_from_|^Quantized", re.IGNORECASE)


def as_dict(value: object) -> dict[str, Any]:
    """Return `value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return `value` if it is a JSON array, a serialized tuple's items, else an empty list."""
    if isinstance(value, dict) and value.get("class_name") == "__tuple__":
        value = value.get("items")
    return value if isinstance(value, list) else []


def is_built_in(entry: dict[str, Any]) -> bool:
    """Return whether a serialized layer is Keras' own class, not a custom one of the same name."""
    module = entry.get("module")
    registered = entry.get("registered_name")
    if isinstance(registered, str) and ">" in registered and not registered.startswith("keras"):
        return False
    return not isinstance(module, str) or module == "keras" or module.startswith(_BUILT_IN)


def units(config: dict[str, Any]) -> int | None:
    """Return the number of outputs of a layer where its config says so (Keras 1: output_dim)."""
    for key in ("units", "output_dim", "filters", "nb_filter"):
        value = config.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
            return int(value)
    return None


def quantization(config: dict[str, Any]) -> str | None:
    """Return the quantized data-type policy or mode of a layer, None where it is not quantized."""
    if config.get("quantization_config"):
        mode = as_dict(config["quantization_config"]).get("class_name")
        return mode if isinstance(mode, str) else "quantization_config"
    policy = config.get("dtype")
    if isinstance(policy, dict):
        class_name, inner = str(policy.get("class_name")), as_dict(policy.get("config"))
        name = inner.get("name") or inner.get("mode") or class_name
        policy = class_name if _QUANTIZED.search(class_name) else name
    return policy if isinstance(policy, str) and _QUANTIZED.search(policy) else None


def refuse_kernel(layer: Serialized) -> Refusal | None:
    """Return why a kernel cannot be factorized that is quantized, or is not all there is to it."""
    mode = quantization(layer.config)
    if mode is not None:
        why = f"is quantized ({mode}); expected a float kernel: factorize the model before quantizing it."
        return Refusal("quantized", why)
    if layer.config.get("lora_rank"):
        how = "merge the adapters first (save the model after quantize or a weight merge)."
        return Refusal("lora", f"has LoRA enabled; expected a plain kernel: {how}")
    return None


def drop_arrays(config: dict[str, Any], initializers: Iterable[str], instead: str) -> None:
    """Put another initializer in the place of those that hold an array: it would not fit, and is never used."""
    for key in initializers:
        settings = as_dict(as_dict(config.get(key)).get("config"))
        if any(isinstance(value, (list, dict)) for value in settings.values()):
            config[key] = instead


def hands_on(class_name: str, config: dict[str, Any]) -> bool:
    """Return whether a layer does to each feature the same, and nothing to one that is constant, in prediction."""
    averages = class_name.startswith(("AveragePooling", "GlobalAveragePooling"))
    # Position by position.
    flattens = class_name == "Flatten" and config.get("data_format") != "channels_first"
    return class_name in DROPOUTS or averages or flattens


def compute_dtype(config: dict[str, Any]) -> str | None:
    """Return the type of a layer's output where its policy says so: mixed_float16 -> float16."""
    policy = config.get("dtype")
    if isinstance(policy, dict):
        policy = as_dict(policy.get("config")).get("name")
    return policy.removeprefix("mixed_") if isinstance(policy, str) else None


def shape(value: object) -> list[int | None] | None:
    """Return a serialized shape as a list, None where it is not one."""
    dims = as_list(value)
    if not dims or not all(d is None or (isinstance(d, int) and d >= 0) for d in dims):
        return None
    return dims


def own_input_shape(entry: dict[str, Any]) -> list[int | None] | None:
    """Return the input shape, batch included, that a layer's own JSON states."""
    config = as_dict(entry.get("config"))
    for source in (config, as_dict(entry.get("build_config"))):
        for key in ("batch_shape", "batch_input_shape", "input_shape"):
            found = shape(source.get(key))
            if found is not None:
                # Only build_config's input_shape counts the batch; a config's does not.
                return [None, *found] if source is config and key == "input_shape" else found
    return None


def taking(config: dict[str, Any], width: int) -> dict[str, Any]:
    """Return a layer's config that states another width of its input, as do the layers that it wraps."""
    config = copy.deepcopy(config)
    for key in ("batch_input_shape", "batch_shape", "input_shape"):
        _set_last(config.get(key), width)
    if config.get("input_dim") is not None:
        config["input_dim"] = width
    drop_arrays(config, KERNEL_INITIALIZERS, "glorot_uniform")
    for key in ("layer", "backward_layer", "cell"):
        inner = as_dict(config.get(key))
        if "config" in inner:
            inner["config"] = taking(as_dict(inner["config"]), width)
        _set_last(as_dict(inner.get("build_config")).get("input_shape"), width)
    return config


def _set_last(shape: object, width: int) -> None:
    """Set the last axis of a serialized shape in place."""
    dims = as_list(shape)
    if dims:
        dims[-1] = width


def output_dimensions(class_name: str, entry: dict[str, Any], *, keeps: bool) -> int | None:
    """Return the dimensions of a layer's output where its class fixes them, or it `keeps` those it states."""
    config, stated = as_dict(entry.get("config")), own_input_shape(entry)
    kept = len(stated) if stated is not None else None
    if class_name == "Bidirectional":
        config = as_dict(as_dict(config.get("layer")).get("config"))
    if class_name == "InputLayer":
        return kept
    if class_name.startswith(("Flatten", "Global")) and not config.get("keepdims"):
        return 2
    if class_name == "Reshape":
        target = shape([0 if d == -1 else d for d in config.get("target_shape") or []])
        return len(target) + 1 if target else None
    if class_name == "RepeatVector":
        return 3
    if class_name in _RECURRENT:
        return 3 if config.get("return_sequences") else 2
    for axes in (1, 2, 3):
        if f"{axes}D" in class_name and class_name.startswith(("Conv", "MaxPool", "AveragePool")):
            return axes + 2
    return kept if keeps and class_name != "Embedding" else None


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
