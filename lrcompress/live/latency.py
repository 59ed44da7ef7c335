"""How long models take for their predictions, and their heads alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import TrainingError
from lrcompress.live import storing
from lrcompress.live.activations import find_layer
from lrcompress.live.head import Tail, alone, tail_of
from lrcompress.live.multiplications import multiplications
from lrcompress.live.outputs import input_names

# What stands for a length that a model leaves open: an image's side, or the steps of a sequence.
SIDE, STEPS = 224, 32

Inputs = NDArray[Any] | dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Subject:
    """A model to be timed.

    Attributes:
        path: The file.
        model: The whole Keras model.
        head: The layers from the head to the output as a model of their own, or the layers that were
            factorized; None where they do not stand alone.
        parameters: Weights of the whole model.
        head_parameters: Weights of `head`.
        multiplications: By kernels, for one sample; None where some layer could not be counted.
        head_multiplications: Of `head`.
        not_counted: Classes of layers that could not be counted.
    """

    path: Path
    model: Any
    head: Any | None
    parameters: int
    head_parameters: int | None
    multiplications: int | None
    head_multiplications: int | None
    not_counted: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return what is known before anything is timed."""
        return {
            "model": str(self.path),
            "parameters": self.parameters,
            "head_parameters": self.head_parameters,
            "multiplications": self.multiplications,
            "head_multiplications": self.head_multiplications,
            "not_counted": self.not_counted,
        }


def runnable(path: Path) -> Any:
    """Load a model that says what it takes in.

    Raises:
        TrainingError: If Keras cannot load it, or it does not say so.
    """
    model = storing.load_model(path)
    if not getattr(model, "inputs", None):
        msg = f"{path} does not say what it takes in; expected a functional or Sequential model."
        raise TrainingError(msg, code="no_inputs")
    return model


def check_same_inputs(path: Path, model: Any, other_path: Path, other: Any) -> None:
    """Refuse two models that do not take the same inputs.

    Raises:
        TrainingError: With code ``inputs_differ``.
    """
    shapes = [[tuple(tensor.shape[1:]) for tensor in one.inputs] for one in (model, other)]
    if shapes[0] != shapes[1]:
        msg = (
            f"{path} takes inputs of shape {shapes[0]}, {other_path} of {shapes[1]}; expected "
            "models of the same inputs."
        )
        raise TrainingError(msg, code="inputs_differ")


def subject(path: Path, layers: Sequence[Sequence[str]] | None = None) -> Subject:
    """Load a model to be timed.

    Args:
        path: The file.
        layers: Paths of the layers to be timed alone, one or two in a row each; None for the head.
    """
    model = runnable(path)
    try:
        tails = [tail_of(model)] if layers is None else [_row(model, paths) for paths in layers]
        head = _alone(tails)
    except TrainingError:
        head = None
    total, not_counted = multiplications(model, STEPS)
    return Subject(
        path=path,
        model=model,
        head=head,
        parameters=model.count_params(),
        head_parameters=None if head is None else head.count_params(),
        multiplications=total,
        head_multiplications=None if head is None else multiplications(head, STEPS)[0],
        not_counted=not_counted,
    )


def _row(model: Any, paths: Sequence[str]) -> Tail:
    """Return layers that follow each other."""
    return Tail(paths[0], [find_layer(model, path) for path in paths])


def _alone(tails: Sequence[Tail]) -> Any:
    """Return rows of layers side by side as one model, each with an input of its own."""
    models = []
    for number, tail in enumerate(tails):
        shape = keras.tree.flatten(tail.layers[0].input)[0].shape[1:]
        models.append(alone(tail.layers, tuple(n or STEPS for n in shape), f"part_{number}"))
    if len(models) == 1:
        return models[0]
    entries = [keras.Input(model.input_shape[1:], name=f"into_{model.name}") for model in models]
    outputs = [model(entry) for model, entry in zip(models, entries, strict=True)]
    return keras.Model(entries, outputs)


def random_inputs(model: Any, samples: int, seed: int = 0) -> Inputs:
    """Return inputs that a model takes: numbers from 0 to 1, or indices that its embeddings know.

    Args:
        model: A Keras model.
        samples: How many.
        seed: Of the numbers.

    Returns:
        An array of shape (samples, ...) in the input's dtype, or a dictionary of them by input
        name where there are several.

    Raises:
        TrainingError: If the model takes text.
    """
    generator = np.random.default_rng(seed)
    known = [layer.input_dim for layer in model._flatten_layers()
             if isinstance(layer, keras.layers.Embedding)]  # fmt: skip
    arrays = {}
    for name, tensor in zip(input_names(model), model.inputs, strict=True):
        rest = tensor.shape[1:]
        open_length = SIDE if len(rest) > 2 else STEPS
        shape = (samples, *(n or open_length for n in rest))
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if dtype == "string":
            msg = f"Input {name} of {model.name} takes text; expected numbers, so that inputs can be drawn."
            raise TrainingError(msg, code="text_inputs")
        if known or "int" in dtype:
            # An index that every embedding of the model knows; without one, bytes of an image.
            arrays[name] = generator.integers(0, min(known, default=256), shape).astype(dtype)
        else:
            arrays[name] = generator.random(shape, np.float32).astype(dtype)
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))


def open_lengths(model: Any) -> bool:
    """Return whether a model leaves a length of its inputs open."""
    return any(None in tensor.shape[1:] for tensor in model.inputs)


def predicts(model: Any, x: Inputs) -> Callable[[], object]:
    """Return a call that computes and fetches the outputs on `x`, compiled as `predict` is."""
    return lambda: model.predict_on_batch(x)


def cores() -> int:
    """Return how many cores this process may use, which is what engines take threads from."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
