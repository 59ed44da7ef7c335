"""The inputs of one layer, for every sample: the network below it runs once."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import TrainingError
from lrcompress.progress import Progress, silent
from lrcompress.training.evaluate import BATCH


def find_layer(model: Any, path: str) -> Any:
    """Return the layer at ``name`` or ``outer/inner/name``.

    Raises:
        TrainingError: If the loaded model has no such layer.
    """
    layer = model
    for name in path.split("/"):
        # A wrapper such as TimeDistributed holds its one layer under its own name.
        inner = getattr(layer, "layers", None) or [getattr(layer, "layer", None)]
        layer = next((item for item in inner if getattr(item, "name", None) == name), None)
        if layer is None:
            msg = (
                f"Keras loaded the model without a layer {path!r}; factorize it without --dataset."
            )
            raise TrainingError(msg, code="layer_not_loaded")
    return layer


def layer_inputs(
    model: Any, path: str, x: NDArray[Any], progress: Progress = silent
) -> NDArray[np.float32]:
    """Return what flows into a layer, in inference mode.

    The layer's `call` is watched while the model runs, which works at any depth of nesting and
    under every backend, where a sub-model up to the layer would not.

    Args:
        model: A Keras model.
        path: The layer, see `find_layer`.
        x: Scaled inputs, (samples, ...).
        progress: Told of every batch.

    Returns:
        (samples, ..., m), float32.
    """
    layer = find_layer(model, path)
    seen: list[NDArray[np.float32]] = []
    call = layer.call

    def watching(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(np.asarray(keras.ops.convert_to_numpy(inputs), np.float32))
        return call(inputs, *args, **kwargs)

    layer.call = watching
    try:
        parts = []
        for start in range(0, len(x), BATCH):
            seen.clear()
            model(keras.ops.convert_to_tensor(x[start : start + BATCH]), training=False)
            if len(seen) != 1:
                msg = f"Layer {path!r} ran {len(seen)} times in one pass; expected once: use --method svd."
                raise TrainingError(msg, code="shared_layer")
            parts.append(seen[0])
            progress("penultimate activations", min(start + BATCH, len(x)), len(x), {})
    finally:
        layer.call = call
    return np.concatenate(parts)
