"""A LiteRT file that computes in 8-bit integers throughout, for devices without floating-point units.

Ranges of activations are those on calibration inputs. Inputs and outputs are 8-bit integers, too, but for
token ids, which stay 32-bit integers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from lrcompress.data.arrays import chunks, count, take
from lrcompress.errors import LRCompressWarning, TrainingError
from lrcompress.live.outputs import word_inputs
from lrcompress.runtimes.target import Inputs, Target, exported_name
from lrcompress.runtimes.writing import changed, check_engine, write

if TYPE_CHECKING:
    from lrcompress.data.arrays import Arrays


def write_integers(model: Any, path: Path, target: Target, calibration: Arrays) -> None:
    """Write a model whose weights and activations are 8-bit integers."""
    check_engine()
    twin = _without_loops(model)
    # The converter's calibration kills the process where a loop is left, so that this is seen to first.
    try:
        write(twin, path, target)
    except TrainingError as error:
        if "Cannot unroll" not in str(error):
            raise
        raise _loops(model, "over a number of steps that it leaves open") from error
    if _has_loops(path):
        raise _loops(model, "that cannot be unrolled")
    import tensorflow as tf

    write(
        twin,
        path,
        target,
        optimizations=[tf.lite.Optimize.DEFAULT],
        representative_dataset=lambda: _samples(twin, calibration),
        target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]},
        inference_input_type=tf.int8,
        inference_output_type=tf.int8,
    )
    _drop_names(path)
    if any(getattr(layer, "unroll", None) is False for layer in model._flatten_layers()):
        warnings.warn(
            "LiteRT has no loops in 8-bit integers: recurrent layers are unrolled, and the file grows with each step.",
            LRCompressWarning,
            stacklevel=3,
        )


def _loops(model: Any, which: str) -> TrainingError:
    msg = (
        f"LiteRT has no loops in 8-bit integers, and {model.name} has one {which}: give its inputs a fixed length, or "
        "take --int8 alone, whose activations stay float32."
    )
    return TrainingError(msg, code="int8_loops")


def _samples(model: Any, calibration: Arrays) -> Iterator[dict[str, Any]]:
    """Yield samples one by one, by the names of the inputs."""
    dtypes = {exported_name(t.name): keras.backend.standardize_dtype(t.dtype) for t in model.inputs}
    named = Inputs(model, dtypes)
    for part in chunks(count(calibration), 1):
        yield named(take(calibration, part))


def _without_loops(model: Any) -> Any:
    """Return a twin with recurrent layers unrolled, and token ids as the integers they are.

    Ids in float32 would become 8-bit integers like all else in float32.
    """
    words = word_inputs(model)

    def change(config: dict[str, Any]) -> dict[str, Any]:
        inner = config.get("config")
        if not isinstance(inner, dict):
            return config
        if config.get("class_name") == "InputLayer" and inner["name"] in words:
            return config | {"config": inner | {"dtype": "int32"}}
        return (
            config | {"config": inner | {"unroll": True}}
            if inner.get("unroll") is False
            else config
        )

    return changed(model, change)


def _has_loops(path: Path) -> bool:
    """Return whether a LiteRT file has more than one graph: the bodies of its loops."""
    from ai_edge_litert.interpreter import Interpreter

    return bool(Interpreter(str(path)).num_subgraphs() > 1)


def _drop_names(path: Path) -> None:
    """Leave out the names of all tensors but inputs and outputs: of unrolled layers, most of the file."""
    from tensorflow.lite.tools import flatbuffer_utils

    found = flatbuffer_utils.convert_bytearray_to_object(bytearray(path.read_bytes()))
    for graph in found.subgraphs:
        kept = {*np.atleast_1d(graph.inputs), *np.atleast_1d(graph.outputs)}
        for place, tensor in enumerate(graph.tensors):
            if place not in kept:
                tensor.name = b""
    path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(found))
