"""The inputs of some layers, for every sample: the network below them runs once."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, chunks, count, take
from lrcompress.errors import TrainingError
from lrcompress.events import progress
from lrcompress.live.devices import replicas
from lrcompress.live.evaluate import batch_size
from lrcompress.live.padding import Asked, Mask, masks_of, packed

# From here on what is kept lies on disk, in a nameless file that the system pages in.
IN_MEMORY_BYTES = 2**31
# Steps of one sequence are alike; inputs of a layer come from so many samples, at least.
FEWEST_SAMPLES = 1_000


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


def layer_inputs(model: Any, path: str, x: Arrays) -> NDArray[np.float32]:
    """Return what flows into one layer; see `inputs_of`."""
    return inputs_of(model, [path], x)[path]


def inputs_of(
    model: Any, paths: Sequence[str], x: Arrays, *, pack: bool = False
) -> dict[str, NDArray[np.float32]]:
    """Return what flows into some layers, in inference mode, from one pass over the data.

    A compiled model that ends below the layers runs twice as fast as one that is watched. Where
    there is none, at a layer inside a nested model, the layers' `call` is watched while the model
    runs, which works at any depth and under every backend.

    Args:
        model: A Keras model.
        paths: The layers, see `find_layer`.
        x: Scaled inputs, (samples, ...), or a dictionary of them by input name.
        pack: Leave padding out, see `padding.packed`: moments and fits are not of that.

    Returns:
        By path (samples, ..., m), float32; a file mapped into memory above `IN_MEMORY_BYTES`.

    Raises:
        TrainingError: If a layer is not there, or is used more than once.
    """
    below = _below(model, paths)
    if below is not None:
        if not isinstance(x, dict) and all(tensor is below.inputs[0] for tensor in below.outputs):
            # A head alone: there is nothing below it.
            return dict.fromkeys(paths, np.asarray(x, np.float32))
        found = _outputs_of(below, paths, x)
        if not pack:
            return found
        masks = dict(zip(paths, masks_of(below, x), strict=True))
        return {path: packed(inputs, masks[path]) for path, inputs in found.items()}
    kept: dict[str, NDArray[np.float32]] = {}
    seen: dict[str, list[tuple[NDArray[np.float32], Mask | None]]] = {path: [] for path in paths}
    masked: dict[str, list[Mask]] = {path: [] for path in paths}

    def is_enough() -> bool:
        # The first pass goes to the end: it tells whether a layer is used again.
        return bool(kept) and all(seen.values())

    with contextlib.ExitStack() as stack:
        for path, batches in seen.items():
            stack.enter_context(_watched(find_layer(model, path), batches, is_enough))
        samples = count(x)
        for part in chunks(samples, batch_size(model, x)):
            for batches in seen.values():
                batches.clear()
            with contextlib.suppress(_Enough):
                model(_tensors(take(x, part)), training=False)
            for path, batches in seen.items():
                if len(batches) != 1:
                    msg = (
                        f"Layer {path!r} ran {len(batches)} times in one pass; expected once: "
                        "use --method svd without --dataset."
                    )
                    raise TrainingError(msg, code="shared_layer")
                inputs, mask = batches[0]
                if path not in kept:
                    kept[path] = _room((samples, *inputs.shape[1:]), len(paths))
                kept[path][part] = inputs
                masked[path] += [] if mask is None else [mask]
            progress("penultimate activations", part.stop, samples)
    if not pack:
        return kept
    return {
        path: packed(inputs, np.concatenate(masked[path]) if masked[path] else None)
        for path, inputs in kept.items()
    }


def _below(model: Any, paths: Sequence[str]) -> Any | None:
    """Return a model of the same layers with the inputs of some of them as its outputs.

    Returns:
        None where a layer stands inside another one or is used again, or several devices share
        the batches.
    """
    graph = getattr(model, "_functional", None) or model
    nodes = [node for level in getattr(graph, "_nodes_by_depth", {}).values() for node in level]
    layers = [find_layer(model, path) for path in paths]
    uses = [[node for node in nodes if node.operation is layer] for layer in layers]
    if len(replicas().devices) > 1 or any(
        len(found) != 1 or len(found[0].input_tensors) != 1 for found in uses
    ):
        return None
    return keras.Model(graph._inputs_struct, [node.input_tensors[0] for (node,) in uses])


def _outputs_of(below: Any, paths: Sequence[str], x: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return what `inputs_of` does, from a model that gives it out."""
    kept: dict[str, NDArray[np.float32]] = {}
    samples, batch = count(x), batch_size(below, x)
    for part in chunks(samples, batch):
        found = keras.tree.flatten(below.predict_on_batch(take(x, part)))
        for path, inputs in zip(paths, found, strict=True):
            if path not in kept:
                kept[path] = _room((samples, *inputs.shape[1:]), len(paths))
            kept[path][part] = inputs
        progress("penultimate activations", part.stop, samples)
    return kept


def samples_for(model: Any, x: Arrays, rows: int) -> int:
    """Return how many samples give so many inputs of the head: a sequence gives one at each step."""
    first = next(iter(x.values())) if isinstance(x, dict) else x
    length = first.shape[1] if first.ndim > 1 else 1
    shapes = [tensor.shape[1:-1] for tensor in model.outputs]
    each = min(math.prod(int(size or length) for size in shape) for shape in shapes)
    return rows if each == 1 else max(FEWEST_SAMPLES, -(-rows // each))


def _tensors(x: Arrays) -> Any:
    if isinstance(x, dict):
        return {name: keras.ops.convert_to_tensor(array) for name, array in x.items()}
    return keras.ops.convert_to_tensor(x)


class _Enough(BaseException):  # no error, and Keras must not take it for one
    """Ends a pass after the last of the layers, which spares what is above them: a large head."""


@contextlib.contextmanager
def _watched(
    layer: Any, seen: list[tuple[NDArray[np.float32], Mask | None]], is_enough: Callable[[], bool]
) -> Iterator[None]:
    """Collect a layer's inputs and their masks while the context lasts; end a pass when that is enough."""
    call: Callable[..., Any] = layer.call
    asked = Asked()

    def watching(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        mask = keras.ops.convert_to_numpy(asked(inputs))
        seen.append((
            np.asarray(keras.ops.convert_to_numpy(inputs), np.float32),
            np.asarray(mask, np.bool_) if asked.has_mask else None,
        ))  # fmt: skip
        if is_enough():
            raise _Enough
        return call(inputs, *args, **kwargs)

    layer.call = watching
    try:
        yield
    finally:
        layer.call = call


def _room(shape: tuple[int, ...], layers: int) -> NDArray[np.float32]:
    """Return an empty array, in a nameless file where it and its like would fill the memory."""
    if 4 * int(np.prod(shape)) * layers <= IN_MEMORY_BYTES:
        return np.empty(shape, np.float32)
    # The mapping keeps the file alive.
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)
