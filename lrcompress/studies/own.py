"""A user's own network to be trained from random weights: from a function, or from a model file."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from lrcompress.errors import TrainingError, one_line
from lrcompress.live import engine
from lrcompress.live.evaluate import outputs_probabilities

# From a model and a rank to the model with its final Dense made two.
Narrow = Callable[[Any, int], Any]


def from_function(spec: str, narrow: Narrow) -> Callable[[int | None], Any]:
    """Return what builds a compiled network of a rank, by a user's function.

    A function with an argument named rank, or one without a default, is given the rank, None for
    full rank; the final Dense of what any other returns is made low-rank here.

    Args:
        spec: ``package.module:function``, importable from the current directory.
        narrow: Makes the final Dense two.

    Raises:
        TrainingError: If there is no such function; what is returned, if it fails or gives no model.
    """
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
        return ready(model)

    return build


def from_model(model: Any, narrow: Narrow) -> Callable[[int | None], Any]:
    """Return what builds a network of a rank with the architecture of a model, weights drawn anew."""

    def build(rank: int | None) -> Any:
        return reinitialized(model if rank is None else narrow(model, rank))

    return build


def reinitialized(model: Any) -> Any:
    """Return a compiled copy of a model whose weights are drawn anew from its own initializers.

    Layers that training would not change keep their weights: frozen ones, and those adapted to
    data, such as Normalization.

    Raises:
        TrainingError: If Keras cannot make the layers anew from their configs.
    """
    compiled = model.get_compile_config() if model.compiled else None
    try:
        twin = keras.models.clone_model(model)
    except Exception as error:  # a layer's own from_config may raise anything
        msg = (
            f"Model {model.name} cannot be made anew from its config ({one_line(error)}); "
            "give module:function instead."
        )
        raise TrainingError(msg, code="own_network") from error
    for old, new in zip(model._flatten_layers(), twin._flatten_layers(), strict=True):
        is_leaf = not getattr(old, "layers", None)
        if is_leaf and old.weights and (not old.trainable or hasattr(old, "adapt")):
            new.set_weights(old.get_weights())
            if hasattr(new, "finalize_state"):
                # What Normalization computes with is made from its weights once.
                new.finalize_state()
    twin.compiled = False
    if compiled:
        engine.compile_without_slots(twin, {**compiled, "jit_compile": engine.jit_compile()})
    return ready(twin)


def ready(model: Any) -> Any:
    """Return the model, compiled with Adam and cross-entropy if it is not compiled."""
    if not model.compiled or model.optimizer is None or model.loss is None:
        is_logits = not outputs_probabilities(model)
        units = model.outputs[0].shape[-1]
        loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=is_logits)
        if units == 1:
            loss = keras.losses.BinaryCrossentropy(from_logits=is_logits)
        optimizer = keras.optimizers.Adam()
        model.compile(optimizer=optimizer, loss=loss, jit_compile=engine.jit_compile())
    return model


def _imported(spec: str) -> Callable[..., Any]:
    module_name, _, function_name = spec.partition(":")
    # A command line does not put the current directory on the path as `python script.py` does.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # importing a module runs it
        msg = (
            f"Cannot import {function_name!r} from {module_name!r} ({one_line(error)}); expected a model "
            "file, or package.module:function importable from the current directory."
        )
        raise TrainingError(msg, code="own_network") from error
    return function


def _takes_rank(function: Callable[..., Any]) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    if first is None or first.kind not in kinds:
        return False
    return first.name == "rank" or first.default is inspect.Parameter.empty
