"""What is known about Keras' built-in layers from their config alone, in all Keras versions."""

from __future__ import annotations

import re
from typing import Any

from lrcompress.modelfile.graph import Item
from lrcompress.modelfile.untrusted import as_dict, as_list

# Prefixes of the modules that built-in layers come from; files without a module (legacy ones) are
# taken at their word, as Keras does.
_BUILT_IN = ("keras.", "tf_keras.", "tensorflow.keras", "tensorflow.python.keras")

DROPOUTS = frozenset(
    {"Dropout", "GaussianDropout", "GaussianNoise", "AlphaDropout", "SpatialDropout1D"}
)
# Layers that keep a model's last Dense its last: element by element, a change of shape, or a
# normalisation. A name is enough, because a custom layer carries its own module.
PASSED_OVER = DROPOUTS | {
    "Activation", "ActivityRegularization", "BatchNormalization", "BatchNormalizationV1",
    "BatchNormalizationV2", "Cropping1D", "ELU", "Flatten", "Identity", "Lambda",
    "LayerNormalization", "LeakyReLU", "Masking", "Normalization", "PReLU", "Permute", "ReLU",
    "RepeatVector", "Rescaling", "Reshape", "Softmax", "SpatialDropout2D", "ThresholdedReLU",
    "TensorFlowOpLayer", "TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod",
    "InstanceProperty", "UnitNormalization",
    "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot", "Merge",
}  # fmt: skip

_QUANTIZED = re.compile(r"^(int8|int4|int2|float8|gptq|awq)\b|_from_|^Quantized", re.IGNORECASE)


def is_built_in(entry: dict[str, Any]) -> bool:
    """Return whether a serialized layer is Keras' own class, not a custom one of the same name."""
    module = entry.get("module")
    registered = entry.get("registered_name")
    if isinstance(registered, str) and ">" in registered and not registered.startswith("keras"):
        return False
    return not isinstance(module, str) or module == "keras" or module.startswith(_BUILT_IN)


def is_input(item: Item) -> bool:
    """Return whether a layer is an input."""
    return item.class_name == "InputLayer"


def is_passed_over(item: Item) -> bool:
    """Return whether the walk back to the final Dense goes through this layer."""
    return item.is_operation or (item.class_name in PASSED_OVER and is_built_in(item.entry))


def dense_entry(item: Item) -> dict[str, Any] | None:
    """Return the JSON object of the Dense that a layer is or, as TimeDistributed, wraps."""
    entry = item.entry
    if item.class_name == "TimeDistributed" and is_built_in(entry):
        entry = as_dict(item.config.get("layer"))
    if entry.get("class_name") not in ("Dense", "TimeDistributedDense") or not is_built_in(entry):
        return None
    return entry if isinstance(entry.get("config"), dict) else None


def units(config: dict[str, Any]) -> int | None:
    """Return the number of outputs of a layer where its config says so (Keras 1: output_dim)."""
    for key in ("units", "output_dim", "filters", "nb_filter"):
        value = config.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
            return int(value)
    return None


def has_bias(config: dict[str, Any]) -> bool:
    """Return whether a Dense has a bias (Keras 1: bias); it has unless the config says no."""
    return bool(config.get("use_bias", config.get("bias", True)))


def quantization(config: dict[str, Any]) -> str | None:
    """Return the quantized data-type policy or mode of a Dense, None where it is not quantized."""
    if config.get("quantization_config"):
        mode = as_dict(config["quantization_config"]).get("class_name")
        return mode if isinstance(mode, str) else "quantization_config"
    policy = config.get("dtype")
    if isinstance(policy, dict):
        class_name, inner = str(policy.get("class_name")), as_dict(policy.get("config"))
        name = inner.get("name") or inner.get("mode") or class_name
        policy = class_name if _QUANTIZED.search(class_name) else name
    return policy if isinstance(policy, str) and _QUANTIZED.search(policy) else None


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


def own_input_shape(item: Item) -> list[int | None] | None:
    """Return the input shape, batch included, that a layer's own JSON states."""
    for source in (item.config, as_dict(item.entry.get("build_config"))):
        for key in ("batch_shape", "batch_input_shape", "input_shape"):
            found = shape(source.get(key))
            if found is not None:
                # Only build_config's input_shape counts the batch; a config's does not.
                short = source is item.config and key == "input_shape"
                return [None, *found] if short else found
    return None
