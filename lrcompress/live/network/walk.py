"""A whole network that runs layer by layer: what flows through its layers, with other arrays in some of them."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.compression.network import Visit
from lrcompress.compression.trial import Outcome
from lrcompress.data.arrays import Arrays as Inputs
from lrcompress.data.arrays import chunks, count, take
from lrcompress.events import progress
from lrcompress.kinds import Arrays, Batch, Place
from lrcompress.live import storing
from lrcompress.live.evaluate import NetworkTrial
from lrcompress.live.layers import find_layer
from lrcompress.live.network.beside import added, knee_of, only_takers
from lrcompress.live.network.gradients import response_gradients
from lrcompress.lowrank import metric_of, takes_metric
from lrcompress.modelfile import ModelFile

# Tensors by the symbolic tensor that they stand for, of each batch.
_Flow = list[dict[int, Any]]
# Samples that flow through a layer at once.
_BATCH = 250
# Bytes that the tensors between two layers may take, how many of the largest there are of each sample, and
# how many samples run whatever they take.
_MEMORY, _LIVE, _FEWEST = 2**31, 4, 64


@dataclass
class Networks:
    """Loads model files to run them on the same inputs; the first is the one that others are judged by."""

    fit: Inputs  # scaled, to calibrate on
    judge: Inputs  # scaled, others than those; labels and weights are theirs
    labels: Inputs | None = None
    weights: NDArray[Any] | None = None
    by_labels: bool = False  # whether labels are new to the original, and a drop counts them
    decided: bool = False  # whether they are what the original decides
    original: Any = None  # the first model, if Keras has loaded it already
    _trial: NetworkTrial | None = None
    _first: Any = None

    def __call__(self, model: ModelFile) -> Network:
        """Load a model."""
        is_original = self._trial is None and self.original is not None
        loaded = self.original if is_original else storing.load_model(model.path)
        if self._trial is None:
            self._trial = NetworkTrial(
                loaded, self.judge, self.labels,
                sample_weight=self.weights, by_labels=self.by_labels, decided=self.decided,
            )  # fmt: skip
        if self._first is None or _names(self._first) != _names(loaded):
            # The one that judges may have other layers: factors that were merged before.
            self._first = loaded
        return Network(loaded, self.fit, self._trial, self._first)


def _names(model: Any) -> set[str]:
    """Return the names of a model's layers, also of nested models."""
    # Not of layers inside of other layers: Keras numbers some of them anew whenever it loads a model.
    inner = (_names(layer) for layer in model.layers if isinstance(layer, keras.Model))
    return {layer.name for layer in model.layers}.union(*inner)


class Network:
    """A Keras model, inputs to calibrate on, and a trial by which it is judged; see `compression.network.Observed`."""

    def __init__(self, model: Any, fit: Inputs, trial: NetworkTrial, first: Any) -> None:
        # The first one, of the same layers, is what the model comes from.
        self._model, self._fit, self._trial, self._first = model, fit, trial, first

    def trial(self, arrays: Arrays, task: str) -> Outcome:
        """Measure the network with other arrays in some layers on held-out inputs."""
        with _changed(self._model, arrays):
            return self._trial.of(self._model, task)

    def gather(self, places: Sequence[Place], arrays: Arrays) -> dict[str, Any]:
        """Return what each kind gathered of the calibration inputs, by path."""
        known = {place.path: place for place in places}
        seen: dict[str, Any] = {}

        for part in chunks(count(self._fit), samples_at_once(self._model, self._fit)):
            walk = _Walk(self._model, take(self._fit, part), known)
            for path, batches in walk.steps("what flows through the layers"):
                place = known[path]
                if place.kind is None:
                    raise AssertionError  # it has forms
                for batch in batches:
                    seen[path] = place.kind.gather(place, arrays, batch, seen.get(path))
        # How much the outputs care for the responses of each layer.
        whole = {p: s for p, s in seen.items() if takes_metric(s)}
        for path, moments in response_gradients(self._model, list(whole), self._fit).items():
            kind: Any = known[path].kind
            own = arrays[path]
            kernel = kind.kernel(known[path].layer, own) if kind.linear else own[0]
            if len(moments) == kernel.shape[-1]:
                whole[path].metric = metric_of(moments)
        return seen

    def in_order(self, places: Sequence[Place], visit: Visit) -> None:
        """Run the calibration inputs through the first network, and through this one as `visit` changes it."""
        known = {place.path: place for place in places}
        # All of them at once, layer by layer: of large images fewer than there are.
        some = take(self._fit, slice(0, samples_at_once(self._model, self._fit)))
        old, new = (_Walk(model, some, known, beside=True) for model in (self._first, self._model))
        both = zip(old.steps(""), new.steps("correcting layer by layer"), strict=True)
        for (path, before), (_, after) in both:
            new.changed.update(visit(known[path], before, after) or {})


def samples_at_once(model: Any, x: Inputs) -> int:
    """Return how many samples may stand in memory at one layer, a few tensors of each of two networks."""
    graph = getattr(model, "_functional", None) or model
    arrays = x.values() if isinstance(x, dict) else [x]
    longest = max((array.shape[1] for array in arrays if array.ndim > 1), default=1)
    outputs = [t for nodes in graph._nodes_by_depth.values() for n in nodes for t in n.outputs]
    largest = max(math.prod(int(n or longest) for n in t.shape[1:]) for t in outputs)
    return int(max(_FEWEST, _MEMORY // (4 * largest * _LIVE)))


class _Walk:
    """One pass of all inputs through a network, each layer run on all batches before the next."""

    def __init__(
        self, model: Any, x: Inputs, known: Collection[str], *, beside: bool = False
    ) -> None:
        self._model, self._known, self._beside = model, known, beside
        self._batches = [self._tensors(take(x, part)) for part in chunks(count(x), _BATCH)]
        # Other arrays of layers by path, which may be set until these have run.
        self.changed: dict[str, tuple[NDArray[Any], ...]] = {}

    def steps(self, task: str) -> Iterator[tuple[str, list[Batch]]]:
        """Yield what goes through each known layer, in their order; one whose arrays are changed then is run again."""
        yield from self._through(self._model, "", self._batches, task)

    def _tensors(self, part: Inputs) -> list[Any]:
        """Return a batch of inputs as tensors in the model's order."""
        inputs = self._model.inputs
        arrays = [part[t.name] for t in inputs] if isinstance(part, dict) else [part]
        pairs = zip(arrays, inputs, strict=True)
        return [keras.ops.convert_to_tensor(array, dtype=given.dtype) for array, given in pairs]

    def _through(
        self, model: Any, prefix: str, given: list[list[Any]], task: str = ""
    ) -> Generator[tuple[str, list[Batch]], None, list[list[Any]]]:
        """Run a model's nodes; `given` are tensors by batch, and so is what is returned."""
        graph = getattr(model, "_functional", None) or model
        depths = sorted(graph._nodes_by_depth.items(), reverse=True)
        nodes = [node for _, level in depths for node in level if not node.is_input]
        left = Counter(id(t) for node in nodes for t in node.input_tensors)
        left.update(id(t) for t in graph.outputs)
        takers = only_takers(nodes, graph.outputs)
        inputs = [id(t) for t in graph.inputs]
        flow = [dict(zip(inputs, tensors, strict=True)) for tensors in given]
        for number, node in enumerate(nodes, 1):
            found = yield from self._node(node, prefix, flow, takers)
            for batch, values in zip(flow, found, strict=True):
                for tensor, value in zip(node.outputs, values, strict=True):
                    batch[id(tensor)] = value
            if task:
                progress(task, number, len(nodes))
            for tensor in node.input_tensors:
                left[id(tensor)] -= 1
                if not left[id(tensor)]:
                    for batch in flow:
                        batch.pop(id(tensor), None)
        return [[batch[id(t)] for t in graph.outputs] for batch in flow]

    def _node(
        self, node: Any, prefix: str, flow: _Flow, takers: dict[int, Any]
    ) -> Generator[tuple[str, list[Batch]], None, list[list[Any]]]:
        operation = node.operation
        path = f"{prefix}{operation.name}"
        inner = getattr(operation, "_functional", None) or operation
        if hasattr(inner, "_nodes_by_depth") and len(operation._inbound_nodes) <= 2:
            given = [[batch[id(t)] for t in node.input_tensors] for batch in flow]
            return (yield from self._through(operation, f"{path}/", given))
        outputs = self._run(node, flow, path)
        if path not in self._known:
            return outputs
        before = self.changed.get(path)
        beside = knee = None
        if self._beside:
            beside = added(
                node, takers, flow, lambda n: self._run(n, flow, f"{prefix}{n.operation.name}")
            )
            knee = knee_of(node, takers, summed=beside is not None)
        yield path, self._seen(node, flow, outputs, beside, knee)
        return outputs if self.changed.get(path) is before else self._run(node, flow, path)

    def _run(self, node: Any, flow: _Flow, path: str) -> list[list[Any]]:
        """Run one layer on all batches, with its changed arrays if there are any."""
        arrays = {path: self.changed[path]} if path in self.changed else {}
        found = []
        with _changed(self._model, arrays):
            for batch in flow:
                args, kwargs = node.arguments.fill_in(batch)
                if getattr(node.operation, "_call_has_training_arg", False):
                    kwargs["training"] = False
                found.append(keras.tree.flatten(node.operation(*args, **kwargs)))
        return found

    def _seen(
        self, node: Any, flow: _Flow, given: list[list[Any]], beside: list[Any] | None, knee: Any
    ) -> list[Batch]:
        """Return what a layer takes in and gives, batch by batch."""
        batches = []
        for number, (batch, outputs) in enumerate(zip(flow, given, strict=True)):
            args, kwargs = node.arguments.fill_in(batch)
            # In the order of the arguments, however they were given.
            bound = inspect.signature(node.operation.call).bind(*args, **kwargs).arguments
            flat = keras.tree.flatten(list(bound.values()))
            tensors = [t for t in flat if keras.ops.is_tensor(t)]
            mask = kwargs.get("mask")
            if not keras.ops.is_tensor(mask):
                mask = getattr(tensors[0], "_keras_mask", None)
            mask = None if mask is None else np.asarray(_array(mask), np.bool_)
            plus = None if beside is None else _array(beside[number])
            inputs = tuple(map(_array, tensors))
            batches.append(Batch(inputs, _array(outputs[0]), mask, number, plus, knee))
        return batches


def _array(tensor: Any) -> NDArray[Any]:
    """Return what a tensor holds, not to be written to: Keras copies it, with which a third of the time would go."""
    shared = keras.backend.backend() != "torch" and hasattr(tensor, "__array__")
    return np.asarray(tensor if shared else keras.ops.convert_to_numpy(tensor))


@contextlib.contextmanager
def _changed(model: Any, arrays: Arrays) -> Iterator[None]:
    """Give layers other arrays while the context lasts."""
    kept: list[tuple[Any, Any]] = []
    try:
        for path, values in arrays.items():
            layer = find_layer(model, path)
            kept.append((layer, layer.get_weights()))
            layer.set_weights([np.asarray(value, np.float32) for value in values])
        yield
    finally:
        for layer, values in reversed(kept):
            layer.set_weights(values)
