"""One serialized layer of Keras 1 or 2 in the terms of Keras 3."""

from __future__ import annotations

from typing import Any

from lrcompress.kinds.terms import as_dict, as_list, is_built_in
from lrcompress.modelfile.graph import OPERATIONS
from lrcompress.modelfile.modern.notes import Notes
from lrcompress.modelfile.modern.terms import arguments, knows_name

_Json = dict[str, Any]

# Keras 1 in the terms of Keras 2, after the release notes of Keras 2.0: classes, those among them
# that it only gave an alias, kinds of Merge, and keys.
KERAS_2_CLASSES = {
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
# Classes of Keras 2 that Keras 3 has under another name.
_CLASSES = {
    "BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization",
    "CuDNNGRU": "GRU", "CuDNNLSTM": "LSTM", "GRUV2": "GRU", "LSTMV2": "LSTM", "Model": "Functional",
    "SyncBatchNormalization": "BatchNormalization", "ThresholdedReLU": "ReLU",
}  # fmt: skip
# Keys of a class that Keras 3 has under another name, and what an old class says by its name.
_RENAMED = {
    "LeakyReLU": ("alpha", "negative_slope"),
    "InputLayer": ("batch_input_shape", "batch_shape"),
}
_CUDNN = {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
_SAID: dict[str, _Json] = {
    "SyncBatchNormalization": {"synchronized": True},
    "CuDNNGRU": _CUDNN,
    "CuDNNLSTM": _CUDNN,
}
MODELS = ("Sequential", "Functional")
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
# Keys that say how a layer was computed or where its input came from, never what it gives.
_HARMLESS = {
    "implementation", "consume_less", "fused", "input_length", "input_dtype", "input_dim",
    "input_shape", "batch_input_shape", "batch_size", "query_shape", "key_shape", "value_shape",
    "kernel_initializer", "kernel_regularizer", "kernel_constraint", "bias_initializer",
    "experimental_autocast", "_scale_init", "weights", "trainable", "rng_type", "expects_training_arg",
}  # fmt: skip
# Values by which a key that Keras 3 lacks says nothing.
_NEUTRAL = (("groups", 1), ("mode", 0), ("mode", "normal"), ("mask_zero", False))
# What Keras 2 wrote for functions of TensorFlow that are activations of Keras.
_ACTIVATIONS = {"softmax_v2": "softmax", "relu_v2": "relu", "sigmoid_v2": "sigmoid"}


def modern_layer(entry: _Json, notes: Notes) -> None:
    """Rewrite a serialized layer in place; nested models inside it are left to the caller."""
    config = entry.get("config")
    if str(entry.get("module")).startswith(OPERATIONS):
        return
    if not isinstance(config, dict) or not is_built_in(entry):
        _warn_of_custom(entry, notes)
        return
    old_class = str(entry.get("class_name"))
    new_class = _to_keras_2(old_class, config) if notes.era == 1 else old_class
    new_class = _CLASSES.get(new_class, new_class)
    _apply_peculiarities(new_class, old_class, config, notes.era)
    if new_class != old_class:
        entry["class_name"] = new_class
        notes.changed(f"class {old_class} became {new_class}")
    if new_class in MODELS:
        return
    if new_class == "Lambda":
        notes.warn(
            "Keras 3 does not load a Lambda in safe mode, and only its own Python can run its code; "
            "left as it is: rebuild it with keras.ops."
        )
        return
    accepted = arguments("layers", new_class)
    if accepted is None:
        _warn_of_custom(entry, notes)
        return
    if notes.era < 3:
        _drop_unknown(config, accepted, new_class, notes)
    _modern_dtype(config, notes)
    for key, value in config.items():
        if key.endswith("_initializer"):
            config[key] = _initializer(value, notes)
        elif key.endswith(("_regularizer", "_constraint")):
            config[key] = _penalty(value, key, notes)
        elif key in ("activation", "recurrent_activation"):
            config[key] = _activation(value, notes)
    if new_class == "EinsumDense" and None in as_list(config.get("output_shape")):
        notes.warn(
            "Keras 3 may not know the shape of what an EinsumDense with None in its output_shape "
            "gives, and then not load what follows."
        )


def wrapped_layers(entry: _Json) -> list[_Json]:
    """Return the serialized layers that a wrapper or an RNN holds in its config."""
    config = as_dict(entry.get("config"))
    held = [config.get(key) for key in ("layer", "backward_layer", "cell")]
    found = [*held, *(config.get("cells") or [])]
    return [inner for inner in found if isinstance(inner, dict) and "class_name" in inner]


def _warn_of_custom(entry: _Json, notes: Notes) -> None:
    """Warn of a layer that Keras 3 does not have."""
    notes.warn(
        f"Keras 3 has no class {entry.get('class_name')}; left as it is: load the model with "
        "custom_objects."
    )


def _to_keras_2(class_name: str, config: dict[str, Any]) -> str:
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
    return _merge(config) if class_name == "Merge" else KERAS_2_CLASSES.get(class_name, class_name)


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


def _apply_peculiarities(new_class: str, old_class: str, config: _Json, era: int) -> None:
    """Say in a config what the class of Keras 3 does not mean by itself, in place."""
    config |= _SAID.get(old_class, {})
    old_key, new_key = _RENAMED.get(new_class, (None, ""))
    if old_key in config:
        config[new_key] = config.pop(old_key)
    if old_class == "ThresholdedReLU":
        config["threshold"] = config.pop("theta", 1.0)
    if new_class in ("GRU", "GRUCell") and "reset_after" not in config and era < 3:
        # Keras 3 would take the other formula; Keras before 2.1 knew this one only.
        config["reset_after"] = old_class == "CuDNNGRU"
    if new_class in _RECURRENT and era == 1:
        config.setdefault("use_bias", True)
    if new_class == "Attention" and config.get("score_mode") == "dot":
        # The default; in an HDF5 file Keras 3 takes the word for its function `keras.layers.dot`.
        del config["score_mode"]
    axis = config.get("axis")
    if new_class.startswith("BatchNormalization") and isinstance(axis, list) and len(axis) == 1:
        config["axis"] = axis[0]


def _drop_unknown(config: _Json, accepted: frozenset[str], class_name: str, notes: Notes) -> None:
    """Take out the keys that Keras 3 does not accept."""
    unknown = [key for key in config if key not in accepted]
    for key in unknown:
        value = config.pop(key)
        says_nothing = value in (None, False, [], {}) or (key, value) in _NEUTRAL
        if key not in _HARMLESS and not says_nothing:
            notes.warn(
                f"{class_name} was saved with {key}={str(value)[:40]}, which Keras 3 does not have; "
                "dropped: compare the outputs."
            )
    if unknown:
        notes.changed(
            f"{', '.join(sorted(unknown))} dropped: {class_name} of Keras 3 has nothing of that name"
        )


def _modern_dtype(config: _Json, notes: Notes) -> None:
    """Replace a dtype policy of tf.keras by its name, which every Keras 3 takes."""
    policy = config.get("dtype")
    if isinstance(policy, dict) and str(policy.get("class_name")).startswith("Policy"):
        config["dtype"] = as_dict(policy.get("config")).get("name")
        notes.changed("dtype policies named")
    if config.get("quantization_config", 0) is None:
        # Written by Keras 3.13 and later for every layer, and refused by those before.
        del config["quantization_config"]
        notes.changed("quantization_config dropped where it is null")


def _kept(value: _Json, accepted: frozenset[str]) -> _Json:
    """Return a serialized object with those settings only that Keras 3 takes."""
    config = as_dict(value.get("config"))
    return value | {"config": {key: config[key] for key in config if key in accepted}}


def _initializer(value: Any, notes: Notes) -> Any:  # noqa: ANN401 - JSON in, JSON out
    """Return an initializer that Keras 3 takes, the default for an unknown one: weights replace it."""
    accepted = arguments("initializers", as_dict(value).get("class_name"))
    if isinstance(value, dict):
        config = as_dict(value.get("config"))
        known = accepted is not None and set(config) <= accepted
        modern = known or value.get("class_name") == "__tensor__"
    else:
        modern = value is None or knows_name("initializers", value)
    if modern:
        return value
    notes.changed("initializers put in the terms of Keras 3")
    return "glorot_uniform" if accepted is None else _kept(value, accepted)


def _penalty(value: Any, key: str, notes: Notes) -> Any:  # noqa: ANN401 - JSON
    """Return a regularizer or constraint, of use in training only; one of somebody's own goes."""
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    class_name = value["class_name"]
    for kind in ("regularizers", "constraints"):
        accepted = arguments(kind, class_name)
        if accepted is not None and is_built_in(value):
            return _kept(value, accepted)
    notes.warn(
        f"Keras 3 has no {key.rpartition('_')[2]} {class_name}, which counts in training only; "
        "dropped."
    )
    return None


def _activation(value: Any, notes: Notes) -> Any:  # noqa: ANN401 - JSON
    """Return an activation as Keras 3 knows it; warn of a function of somebody's own."""
    entry = value if isinstance(value, dict) else {"config": value, "class_name": value}
    name, class_name = entry.get("config"), entry.get("class_name")
    if isinstance(name, str) and name in _ACTIVATIONS:
        return _ACTIVATIONS[name]
    if value is None or knows_name("activations", name):
        return value
    if arguments("layers", class_name) is not None and is_built_in(entry):
        return value
    shown = name if isinstance(name, str) else "a lambda"
    notes.warn(
        f"Keras 3 has no activation {shown}; left as it is: load the model with custom_objects."
    )
    return value
