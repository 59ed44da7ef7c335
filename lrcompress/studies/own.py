"""A user's own network to be trained from random weights: from a function, or from a model file."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from lrcompress.data.dataset import Dataset
from lrcompress.data.function import imported
from lrcompress.errors import TrainingError, one_line
from lrcompress.live import engine, storing
from lrcompress.live.outputs import outputs_of
from lrcompress.live.prepare import prepare
from lrcompress.modelfile import find_head, open_model
from lrcompress.studies.networks import Recipe
from lrcompress.studies.request import BATCH_SIZE, EPOCHS, is_model_file, network_name

# From a model and a rank to the model with its final Dense made two.
Narrow = Callable[[Any, int], Any]
Build = Callable[[int | None], Any]


def own_recipe(
    model: str | Path, data: Dataset, narrow: Narrow, scaling: str | None = None
) -> Recipe:
    """Return how a user's own network is built and trained; see `lrcompress.train_from_scratch`."""
    if is_model_file(model):
        opened, original = open_model(Path(model)), storing.load_model(Path(model))
        head = find_head(opened)
        build = _from_model(original, narrow)
        said = scaling or opened.origin.scaling_of(data.name)
        scaling = prepare(data, original, scaling=said).scaling.name
    else:
        build = _from_function(str(model), narrow)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            storing.save_model(build(None), path, None)
            head = find_head(open_model(path))
        is_bytes = not isinstance(data.x_train, dict) and data.x_train.dtype == "uint8"
        scaling = scaling or ("/255" if is_bytes else "as-is")
    m, n = head.kernel_shape
    name, bias = network_name(model), head.use_bias
    return Recipe(build, m, n, (None,), EPOCHS, BATCH_SIZE, scaling, use_bias=bias, network=name)


def _from_function(spec: str, narrow: Narrow) -> Build:
    """Return what builds a compiled network of a rank, None for full, by a user's function."""
    # The final Dense of what a function returns that takes no rank is made low-rank here.
    function = _imported(spec)
    takes_rank = _takes_rank(function)

    def build(rank: int | None) -> Any:
        try:
            model = function(rank) if takes_rank else function()
        except Exception as error:  # whatever the user's own code says
            msg = f"{spec} failed ({type(error).__name__}: {one_line(error)}); expected it to return a Keras model."
            raise TrainingError(msg, code="own_network") from error
        if not isinstance(model, keras.Model):
            msg = f"{spec} returned {type(model).__name__}; expected a Keras model."
            raise TrainingError(msg, code="own_network")
        if rank is not None and not takes_rank:
            return reinitialized(narrow(model, rank))
        return _ready(model)

    return build


def _from_model(model: Any, narrow: Narrow) -> Build:
    return lambda rank: reinitialized(model if rank is None else narrow(model, rank))


def reinitialized(model: Any) -> Any:
    """Return a compiled copy of a model whose weights are drawn anew from its own initializers."""
    compiled = model.get_compile_config() if model.compiled else None
    try:
        twin = keras.models.clone_model(model)
    except Exception as error:  # a layer's own from_config may raise anything
        msg = (
            f"Model {model.name} cannot be rebuilt from its config ({one_line(error)}); "
            "give module:function instead."
        )
        raise TrainingError(msg, code="own_network") from error
    for old, new in zip(model._flatten_layers(), twin._flatten_layers(), strict=True):
        # Those that training would not change keep their weights: frozen, or adapted to data.
        is_leaf = not getattr(old, "layers", None)
        if is_leaf and old.weights and (not old.trainable or hasattr(old, "adapt")):
            new.set_weights(old.get_weights())
            if hasattr(new, "finalize_state"):
                # What Normalization computes with is made from its weights once.
                new.finalize_state()
    twin.compiled = False
    if compiled:
        engine.compile_without_slots(twin, {**compiled, "jit_compile": engine.jit_compile()})
    return _ready(twin)


def _ready(model: Any) -> Any:
    """Return the model, compiled with Adam and cross-entropy if it is not compiled."""
    if not model.compiled or model.optimizer is None or model.loss is None:
        entropy = keras.losses.SparseCategoricalCrossentropy
        if model.outputs[0].shape[-1] == 1:
            entropy = keras.losses.BinaryCrossentropy
        loss = entropy(from_logits=outputs_of(model)[0].is_logits)
        model.compile(keras.optimizers.Adam(), loss, jit_compile=engine.jit_compile())
    return model


def _imported(spec: str) -> Callable[..., Any]:
    try:
        return imported(spec)
    except Exception as error:  # importing a module runs it
        module, _, name = spec.partition(":")
        msg = (
            f"Cannot import {name!r} from {module!r} ({one_line(error)}); expected a model "
            "file, or package.module:function importable from the current directory."
        )
        raise TrainingError(msg, code="own_network") from error


def _takes_rank(function: Callable[..., Any]) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    if first is None or first.kind not in kinds:
        return False
    return first.name == "rank" or first.default is inspect.Parameter.empty
