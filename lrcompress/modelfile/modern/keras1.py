"""Layer configs of Keras 1 in the terms of Keras 2, after the release notes of Keras 2.0."""

from __future__ import annotations

from typing import Any

# Class names that Keras 2 changed; those that it only gave an alias are here too.
CLASSES = {
    "Convolution1D": "Conv1D", "Convolution2D": "Conv2D", "Convolution3D": "Conv3D",
    "AtrousConvolution1D": "Conv1D", "AtrousConvolution2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose", "SeparableConvolution2D": "SeparableConv2D",
    "TimeDistributedDense": "Dense",
}  # fmt: skip
_MERGES = {
    "sum": "Add", "mul": "Multiply", "ave": "Average", "max": "Maximum", "concat": "Concatenate",
    "dot": "Dot", "cos": "Dot",
}  # fmt: skip
_KEYS = {
    "output_dim": "units", "nb_filter": "filters", "filter_length": "kernel_size",
    "init": "kernel_initializer", "inner_init": "recurrent_initializer",
    "gamma_init": "gamma_initializer", "beta_init": "beta_initializer",
    "inner_activation": "recurrent_activation", "bias": "use_bias", "border_mode": "padding",
    "subsample": "strides", "subsample_length": "strides", "stride": "strides",
    "pool_length": "pool_size", "length": "size", "atrous_rate": "dilation_rate",
    "dim_ordering": "data_format", "p": "rate", "sigma": "stddev",
    "W_regularizer": "kernel_regularizer", "b_regularizer": "bias_regularizer",
    "U_regularizer": "recurrent_regularizer", "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint", "dropout_W": "dropout", "dropout_U": "recurrent_dropout",
}  # fmt: skip
_EMBEDDING_KEYS = {
    "output_dim": "output_dim", "init": "embeddings_initializer",
    "W_regularizer": "embeddings_regularizer", "W_constraint": "embeddings_constraint",
}  # fmt: skip
_SIDES = ("nb_row", "nb_col", "kernel_dim1", "kernel_dim2", "kernel_dim3")
_DATA_FORMATS = {"th": "channels_first", "tf": "channels_last"}
_DROPPED_OF_MERGE = (
    "mode_type", "output_shape", "output_shape_type", "output_mask", "output_mask_type", "arguments",
)  # fmt: skip


def to_keras_2(class_name: str, config: dict[str, Any]) -> str:
    """Rewrite a layer's config in place, all but what Keras 2 kept, and return its new class name."""
    keys = _KEYS | (_EMBEDDING_KEYS if class_name == "Embedding" else {})
    for old, new in keys.items():
        if old in config and old != new:
            config[new] = config.pop(old)
    sides = [config.pop(key) for key in _SIDES if key in config]
    if sides:
        config["kernel_size"] = sides
    if "data_format" in config:
        config["data_format"] = _DATA_FORMATS.get(config["data_format"], config["data_format"])
    if "forget_bias_init" in config:
        config["unit_forget_bias"] = config.pop("forget_bias_init") in ("one", "ones")
    for key in [key for key in config if key.endswith(("_regularizer", "_constraint"))]:
        config[key] = _named_object(config[key])
    return _merge(config) if class_name == "Merge" else CLASSES.get(class_name, class_name)


def _named_object(value: Any) -> Any:  # noqa: ANN401 - JSON in, JSON out
    """Return a regularizer or constraint as Keras 2 spells it."""
    if not isinstance(value, dict) or "name" not in value or "class_name" in value:
        return value
    config = {key: item for key, item in value.items() if key != "name"}
    name = value["name"]
    if name in ("WeightRegularizer", "ActivityRegularizer"):
        name = "L1L2"
    if "m" in config:
        config["max_value"] = config.pop("m")
    return {"class_name": name, "config": config}


def _merge(config: dict[str, Any]) -> str:
    """Rewrite a Merge layer's config and return the class that does the same."""
    mode = config.pop("mode", None)
    axis, axes = config.pop("concat_axis", -1), config.pop("dot_axes", -1)
    for key in _DROPPED_OF_MERGE:
        config.pop(key, None)
    if not config.get("layers"):  # those of a Sequential Merge, which stays as it is
        config.pop("layers", None)
    if mode == "concat":
        config["axis"] = axis
    elif mode in ("dot", "cos"):
        config |= {"axes": axes, "normalize": mode == "cos"}
    return _MERGES.get(mode, "Merge") if isinstance(mode, str) else "Merge"
