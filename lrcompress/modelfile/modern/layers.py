"""One serialized layer of Keras 1 or 2 in the terms of Keras 3."""

from __future__ import annotations

from typing import Any

from lrcompress.kinds.terms import as_dict, as_list, is_built_in
from lrcompress.modelfile.graph import OPERATIONS
from lrcompress.modelfile.modern.keras1 import to_keras_2
from lrcompress.modelfile.modern.notes import Notes
from lrcompress.modelfile.modern.terms import arguments, knows_name

# Classes of Keras 2 that Keras 3 has under another name.
_CLASSES = {
    "BatchNormalizationV1": "BatchNormalization", "BatchNormalizationV2": "BatchNormalization",
    "CuDNNGRU": "GRU", "CuDNNLSTM": "LSTM", "GRUV2": "GRU", "LSTMV2": "LSTM", "Model": "Functional",
    "SyncBatchNormalization": "BatchNormalization", "ThresholdedReLU": "ReLU",
}  # fmt: skip
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
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "groups": (1,),
    "mode": (0, "normal"),
    "mask_zero": (False,),
}
_WRAPPED = ("layer", "backward_layer", "cell")
# What Keras 2 wrote for functions of TensorFlow that are activations of Keras.
_ACTIVATIONS = {"softmax_v2": "softmax", "relu_v2": "relu", "sigmoid_v2": "sigmoid"}


def modern_layer(entry: dict[str, Any], path: str, era: int, notes: Notes) -> None:
    """Rewrite a serialized layer in place; nested models inside it are left to the caller.

    Args:
        entry: The JSON object: ``class_name``, ``config`` and more.
        path: The layer, for the notes.
        era: 1, 2 or 3: the major version of the Keras that wrote the file.
        notes: Told of every change.
    """
    config = entry.get("config")
    if str(entry.get("module")).startswith(OPERATIONS):
        return
    if not isinstance(config, dict) or not is_built_in(entry):
        _about_custom(entry, path, notes)
        return
    old_class = str(entry.get("class_name"))
    new_class = to_keras_2(old_class, config) if era == 1 else old_class
    new_class = _special(_CLASSES.get(new_class, new_class), old_class, config, era)
    if new_class != old_class:
        entry["class_name"] = new_class
        notes.changed(f"class {old_class} became {new_class}", path)
    if new_class in MODELS:
        return
    if new_class == "Lambda":
        notes.warn(
            "Keras 3 does not load a Lambda in safe mode, and only its own Python can run its code; "
            "left as it is: rebuild it with keras.ops.", path,
        )  # fmt: skip
        return
    accepted = arguments("layers", new_class)
    if accepted is None:
        _about_custom(entry, path, notes)
        return
    unknown = [key for key in config if key not in accepted] if era < 3 else []
    for key in unknown:
        _drop(config, key, new_class, path, notes)
    if unknown:
        what = (
            f"{', '.join(sorted(unknown))} dropped: {new_class} of Keras 3 has nothing of that name"
        )
        notes.changed(what, path)
    _dtype(config, path, notes)
    for key, value in config.items():
        if key.endswith("_initializer") and not _is_modern_initializer(value):
            config[key] = _initializer(value)
            notes.changed("initializers put in the terms of Keras 3", path)
        elif key.endswith(("_regularizer", "_constraint")):
            config[key] = _known_penalty(value, key, path, notes)
        elif key in ("activation", "recurrent_activation"):
            config[key] = _activation(value, path, notes)
    if new_class == "EinsumDense" and None in as_list(config.get("output_shape")):
        notes.warn(
            "Keras 3 may not know the shape of what an EinsumDense with None in its output_shape "
            "gives, and then not load what follows.", path,
        )  # fmt: skip


def wrapped_layers(entry: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the serialized layers that a wrapper or an RNN holds in its config, by their key."""
    config = as_dict(entry.get("config"))
    found = [(key, config[key]) for key in _WRAPPED if isinstance(config.get(key), dict)]
    cells = config.get("cells")
    found += [("cells", cell) for cell in cells or [] if isinstance(cell, dict)]
    return [(key, inner) for key, inner in found if "class_name" in inner]


def _about_custom(entry: dict[str, Any], path: str, notes: Notes) -> None:
    """Warn of a layer that Keras 3 does not have."""
    notes.warn(
        f"Keras 3 has no class {entry.get('class_name')}; left as it is: load the model with "
        "custom_objects.", path,
    )  # fmt: skip


def _special(new_class: str, old_class: str, config: dict[str, Any], era: int) -> str:
    """Apply what is peculiar to a class, and return the class that does the same in Keras 3."""
    if old_class == "ThresholdedReLU":
        config["threshold"] = config.pop("theta", 1.0)
    elif old_class == "SyncBatchNormalization":
        config["synchronized"] = True
    elif new_class == "LeakyReLU" and "alpha" in config:
        config["negative_slope"] = config.pop("alpha")
    elif new_class == "InputLayer" and "batch_input_shape" in config:
        config["batch_shape"] = config.pop("batch_input_shape")
    if old_class.startswith("CuDNN"):
        # What cuDNN computes, whatever the config says.
        config |= {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}
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
    return new_class


def _drop(config: dict[str, Any], key: str, class_name: str, path: str, notes: Notes) -> None:
    """Take out a key that Keras 3 does not accept."""
    value = config.pop(key)
    says_nothing = value in (None, False, [], {}) or value in _NEUTRAL.get(key, ())
    if key not in _HARMLESS and not says_nothing:
        notes.warn(
            f"{class_name} was saved with {key}={str(value)[:40]}, which Keras 3 does not have; "
            "dropped: compare the outputs.", path,
        )  # fmt: skip


def _dtype(config: dict[str, Any], path: str, notes: Notes) -> None:
    """Replace a dtype policy of tf.keras by its name, which every Keras 3 takes."""
    policy = config.get("dtype")
    if isinstance(policy, dict) and str(policy.get("class_name")).startswith("Policy"):
        config["dtype"] = as_dict(policy.get("config")).get("name")
        notes.changed("dtype policies named", path)
    if config.get("quantization_config", 0) is None:
        # Written by Keras 3.13 and later for every layer, and refused by those before.
        del config["quantization_config"]
        notes.changed("quantization_config dropped where it is null", path)


def _is_modern_initializer(value: Any) -> bool:  # noqa: ANN401 - JSON
    """Return whether Keras 3 takes an initializer as it stands."""
    if isinstance(value, dict):
        if value.get("class_name") == "__tensor__":
            return True
        accepted = arguments("initializers", value.get("class_name"))
        return accepted is not None and set(as_dict(value.get("config"))) <= accepted
    return value is None or knows_name("initializers", value)


def _initializer(value: Any) -> Any:  # noqa: ANN401 - JSON in, JSON out
    """Return an initializer that Keras 3 takes.

    The saved weights replace what it draws; one that Keras 3 does not know gives way to the
    default.
    """
    accepted = arguments("initializers", as_dict(value).get("class_name"))
    if accepted is None:
        return "glorot_uniform"
    config = as_dict(value.get("config"))
    return value | {"config": {key: config[key] for key in config if key in accepted}}


def _known_penalty(value: Any, key: str, path: str, notes: Notes) -> Any:  # noqa: ANN401 - JSON
    """Return a regularizer or constraint as Keras 3 takes it; one of somebody's own goes.

    It has a part in training only.
    """
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    class_name = value["class_name"]
    for kind in ("regularizers", "constraints"):
        accepted = arguments(kind, class_name)
        if accepted is not None and is_built_in(value):
            config = as_dict(value.get("config"))
            return value | {"config": {key: config[key] for key in config if key in accepted}}
    notes.warn(
        f"Keras 3 has no {key.rpartition('_')[2]} {class_name}, which counts in training only; "
        "dropped.", path,
    )  # fmt: skip
    return None


def _activation(value: Any, path: str, notes: Notes) -> Any:  # noqa: ANN401 - JSON
    """Return an activation as Keras 3 knows it; warn of a function of somebody's own."""
    name = value.get("config") if isinstance(value, dict) else value
    if isinstance(name, str) and name in _ACTIVATIONS:
        return _ACTIVATIONS[name]
    if value is None or knows_name("activations", name):
        return value
    class_name = value.get("class_name") if isinstance(value, dict) else value
    known_layer = arguments("layers", class_name) is not None
    if known_layer and (not isinstance(value, dict) or is_built_in(value)):
        return value
    shown = name if isinstance(name, str) else "a lambda"
    notes.warn(
        f"Keras 3 has no activation {shown}; left as it is: load the model with custom_objects.",
        path,
    )
    return value
