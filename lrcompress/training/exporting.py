"""Writing a model in the format of a runtime, by Keras' own exporters."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from lrcompress.errors import TrainingError
from lrcompress.training.formats import Format


def write(model: Any, path: Path, form: Format, *, int8: bool = False) -> None:
    """Export a model's predictions.

    A LiteRT file takes one sample a call, which is what phones do: with a free number of samples
    recurrent layers would need TensorFlow's own operations there. The other formats leave it free.

    Args:
        model: A functional or Sequential Keras model.
        path: A file ending in ``.tflite`` or ``.onnx``, or an empty folder.
        form: The format.
        int8: LiteRT only: weights as 8-bit integers (dynamic range); small ones stay as they are.

    Raises:
        TrainingError: If Keras or a converter cannot, or Keras does not run on TensorFlow, whose
            exporters these are.
    """
    engine = keras.backend.backend()
    if engine != "tensorflow":
        msg = (
            f"Keras runs on {engine}; models are exported under TensorFlow: set "
            "KERAS_BACKEND=tensorflow for this command."
        )
        raise TrainingError(msg, code="export_engine")
    samples = 1 if form.name == "litert" else None
    signature = [keras.tree.map_structure(lambda tensor: _spec(tensor, samples), _inputs(model))]
    options: dict[str, Any] = {"input_signature": signature}
    if int8:
        import tensorflow as tf

        options["optimizations"] = [tf.lite.Optimize.DEFAULT]
    try:
        with _no_notes():
            model.export(str(path), format=form.keras_name, verbose=False, **options)
    except OSError:
        raise
    except Exception as error:  # converters raise anything, and fail on operations they lack
        reason = " ".join(str(error).split())[:200]
        hint = "LiteRT needs Keras 3.13; " if form.name == "litert" and "Unrecognized" in reason else ""
        msg = (
            f"Keras {keras.__version__} cannot export {model.name} to {form.name} "
            f"({type(error).__name__}: {reason}); {hint}try another --format."
        )
        raise TrainingError(msg, code="export_failed") from error


def _inputs(model: Any) -> Any:
    """Return the input tensors in the structure that the model takes them in."""
    structure = getattr(model, "_inputs_struct", None)  # a Sequential model has none
    return model.inputs[0] if structure is None else structure


def _spec(tensor: Any, samples: int | None) -> Any:
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return keras.InputSpec(
        shape=(samples, *tensor.shape[1:]), dtype=dtype, name=exported_name(tensor.name)
    )


def exported_name(name: str) -> str:
    """Return what an input is called in exported models: TensorFlow fails on a blank in a name."""
    return re.sub(r"\W", "_", name)


@contextlib.contextmanager
def _no_notes() -> Iterator[None]:
    """Hold back what exporters log and warn of: names NumPy has dropped, their own progress."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
