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
from lrcompress.live.predict import Mask, MaskReader, batch_size, masks_of, packed

# From here on what is kept lies on disk, in a nameless file that the system pages in.
IN_MEMORY_BYTES = 2**31
# Steps of one sequence are alike; inputs of a layer come from so many samples, at least.
FEWEST_SAMPLES = 1_000
# A layer's inputs on one batch, and their mask.
Seen = tuple[NDArray[np.float32], Mask | None]


def find_layer(model: Any, path: str) -> Any:
    """Return the layer at ``name`` or ``outer/inner/name``."""
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

    Returns:
        By path (samples, ..., m), float32; a file mapped into memory above `IN_MEMORY_BYTES`.
    """
    below = _below(model, paths)
    masks: dict[str, Mask | None] = {}
    if below is None:
        kept, masks = _from_watching(model, paths, x, with_masks=pack)
    elif not isinstance(x, dict) and all(tensor is below.inputs[0] for tensor in below.outputs):
        # A head alone: there is nothing below it.
        return dict.fromkeys(paths, np.asarray(x, np.float32))
    else:
        kept = _from_below(below, paths, x)
        masks = dict(zip(paths, masks_of(below, x), strict=True)) if pack else masks
    return {path: packed(inputs, masks.get(path)) for path, inputs in kept.items()}


def _below(model: Any, paths: Sequence[str]) -> Any | None:
    """Return a model of the same layers with the inputs of some of them as its outputs.

    None where a layer stands inside another one or is used again, or several devices share the batches.
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


def _from_below(below: Any, paths: Sequence[str], x: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return the inputs of the layers from a model that gives them out."""
    kept: dict[str, NDArray[np.float32]] = {}
    for part in _parts(x, batch_size(below, x)):
        found = keras.tree.flatten(below.predict_on_batch(take(x, part)))
        for path, inputs in zip(paths, found, strict=True):
            _keep(kept, path, part, inputs, count(x), len(paths))
    return kept


def _from_watching(
    model: Any, paths: Sequence[str], x: Arrays, *, with_masks: bool
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Mask | None]]:
    """Return the inputs of the layers, and their masks, from watching their `call`."""
    kept: dict[str, NDArray[np.float32]] = {}
    seen: dict[str, list[Seen]] = {path: [] for path in paths}
    masked: dict[str, list[Mask]] = {path: [] for path in paths}

    def is_enough() -> bool:
        # The first pass goes to the end: it tells whether a layer is used again.
        return bool(kept) and all(seen.values())

    with contextlib.ExitStack() as stack:
        for path, batches in seen.items():
            stack.enter_context(_watched(find_layer(model, path), batches, is_enough))
        for part in _parts(x, batch_size(model, x)):
            for batches in seen.values():
                batches.clear()
            tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, take(x, part))
            with contextlib.suppress(_Enough):
                model(tensors, training=False)
            for path, batches in seen.items():
                if len(batches) != 1:
                    msg = (
                        f"Layer {path!r} ran {len(batches)} times in one pass; expected once: "
                        "use --method svd without --dataset."
                    )
                    raise TrainingError(msg, code="shared_layer")
                inputs, mask = batches[0]
                _keep(kept, path, part, inputs, count(x), len(paths))
                if with_masks and mask is not None:
                    masked[path].append(mask)
    return kept, {path: np.concatenate(masks) for path, masks in masked.items() if masks}


def _parts(x: Arrays, batch: int) -> Iterator[slice]:
    """Yield the samples of each batch, and tell of it when it is done."""
    for part in chunks(count(x), batch):
        yield part
        progress("penultimate activations", part.stop, count(x))


def _keep(
    kept: dict[str, NDArray[np.float32]], path: str, part: slice, inputs: Any, samples: int, layers: int
) -> None:  # fmt: skip
    """Put a batch in its place in an array, which lies in a nameless file where all would fill the memory."""
    if path not in kept:
        shape = (samples, *inputs.shape[1:])
        if 4 * math.prod(shape) * layers <= IN_MEMORY_BYTES:
            kept[path] = np.empty(shape, np.float32)
        else:
            # The mapping keeps the file alive.
            with tempfile.TemporaryFile() as file:
                kept[path] = np.memmap(file, np.float32, "w+", shape=shape)
    kept[path][part] = inputs


def samples_for(model: Any, x: Arrays, rows: int) -> int:
    """Return how many samples give so many inputs of the head: a sequence gives one at each step."""
    first = next(iter(x.values())) if isinstance(x, dict) else x
    length = first.shape[1] if first.ndim > 1 else 1
    shapes = [tensor.shape[1:-1] for tensor in model.outputs]
    each = min(math.prod(int(size or length) for size in shape) for shape in shapes)
    return rows if each == 1 else max(FEWEST_SAMPLES, -(-rows // each))


class _Enough(BaseException):  # no error, and Keras must not take it for one
    """Ends a pass after the last of the layers, which spares what is above them: a large head."""


@contextlib.contextmanager
def _watched(layer: Any, seen: list[Seen], is_enough: Callable[[], bool]) -> Iterator[None]:
    """Collect a layer's inputs and their masks while the context lasts; end a pass when that is enough."""
    call: Callable[..., Any] = layer.call
    reader = MaskReader()

    def watching(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        mask = reader.read(inputs)
        seen.append((np.asarray(keras.ops.convert_to_numpy(inputs), np.float32), mask))
        if is_enough():
            raise _Enough
        return call(inputs, *args, **kwargs)

    layer.call = watching
    try:
        yield
    finally:
        layer.call = call
