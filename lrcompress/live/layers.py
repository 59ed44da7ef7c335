"""Layers of a live model: found by their paths, copied, and their inputs for every sample from one run."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, chunks, count, take
from lrcompress.errors import TrainingError
from lrcompress.events import progress
from lrcompress.live.devices import replicas
from lrcompress.live.engine import nothing_drawn, temporarily
from lrcompress.live.masks import Mask, MaskReader, masks_of, packed
from lrcompress.live.predict import batch_size

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


@dataclass(frozen=True)
class HeadLayers:
    """The layers from the head to the output."""

    path: str  # of the first of them in the model, see `find_layer`
    layers: list[Any]  # one or two Dense layers and what follows them


def head_of(model: Any) -> HeadLayers:
    """Find the head: the last layer with weights, and the bias-free linear Dense before it, if any."""
    line = _line(model)
    weighty = [i for i, (_, layer) in enumerate(line) if layer.weights]
    if not weighty or not is_dense(line[weighty[-1]][1]):
        msg = (
            f"The last layer with weights of {model.name} is not a Dense layer that leads straight to "
            "its only output; use --scope model."
        )
        raise TrainingError(msg, code="no_head")
    first = weighty[-1]
    if first and is_dense(before := line[first - 1][1]):
        dense = unwrapped(before)
        if not dense.use_bias and dense.activation is keras.activations.linear:
            first -= 1
    return HeadLayers(line[first][0], [layer for _, layer in line[first:]])


def _line(model: Any, outer: str = "") -> list[tuple[str, Any]]:
    """Return path and layer from where the line to the output begins, in order of use."""
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1:
        return []
    tensor, line = outputs[0], list[tuple[str, Any]]()
    while True:
        layer = tensor._keras_history.operation
        if isinstance(layer, keras.Model):
            return _line(layer, f"{outer}{layer.name}/") + line
        inputs = layer._inbound_nodes[tensor._keras_history.node_index].input_tensors
        if len(inputs) != 1 or not isinstance(layer, keras.layers.Layer):
            return line
        line.insert(0, (outer + layer.name, layer))
        tensor = inputs[0]


def is_dense(layer: Any) -> bool:
    """Return whether a layer is a Dense, at each step or not."""
    return isinstance(unwrapped(layer), keras.layers.Dense)


def unwrapped(layer: Any) -> Any:
    """Return the layer inside a TimeDistributed, or the layer itself."""
    return layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer


def alone(layers: Sequence[Any], inputs: tuple[int, ...], name: str = "head") -> Any:
    """Return copies of layers in a row as a model of inputs of a shape, in which only Dense layers train."""
    copies = [type(layer).from_config(layer.get_config()) for layer in layers]
    with nothing_drawn():
        model = keras.Sequential([keras.Input(inputs), *copies], name=name)
    for layer, copy in zip(layers, copies, strict=True):
        copy.set_weights(layer.get_weights())
        copy.trainable = layer.trainable and is_dense(layer)
    return model


def copied(layer: Any) -> Any:
    """Return a copy of a built layer, which belongs to no model."""
    copy = type(layer).from_config(layer.get_config())
    with nothing_drawn():
        copy.build(layer.get_build_config()["input_shape"])
    copy.set_weights(layer.get_weights())
    return copy


def layer_inputs(model: Any, path: str, x: Arrays) -> NDArray[np.float32]:
    """Return what flows into one layer; see `inputs_of`."""
    return inputs_of(model, [path], x)[path]


def inputs_of(
    model: Any, paths: Sequence[str], x: Arrays, *, pack: bool = False
) -> dict[str, NDArray[np.float32]]:
    """Return what flows into some layers by path, (samples, ..., m), in inference mode, from one pass over the data."""
    # A compiled model that ends below the layers runs twice as fast as one that is watched. Where there is none, at a
    # layer inside a nested model, their `call` is watched, which works at any depth and under every backend.
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
    """Return a model of the same layers with the inputs of some of them as its outputs; None where there is none."""
    graph = getattr(model, "_functional", None) or model
    nodes = [node for level in getattr(graph, "_nodes_by_depth", {}).values() for node in level]
    layers = [find_layer(model, path) for path in paths]
    uses = [[node for node in nodes if node.operation is layer] for layer in layers]
    # A layer that stands inside another one has no node here, one that is used again has several.
    once = all(len(found) == 1 == len(found[0].input_tensors) for found in uses)
    if len(replicas().devices) > 1 or not once:
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
    """Put a batch in its place in an array, in a nameless file mapped into memory where all would fill that."""
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

    with temporarily([layer], "call", lambda _: watching):
        yield
