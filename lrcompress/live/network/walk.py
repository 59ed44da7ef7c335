"""A whole network that runs layer by layer: what flows through its layers, with other arrays in some of them."""

from __future__ import annotations

import contextlib
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from lrcompress.live.activations import find_layer
from lrcompress.live.network.gradients import response_gradients
from lrcompress.live.trial import NetworkTrial
from lrcompress.lowrank import metric_of, takes_metric
from lrcompress.modelfile import ModelFile

# Samples that flow through a layer at once.
_BATCH = 250


@dataclass
class Networks:
    """Loads model files to run them on the same inputs; the first is the one that others are judged by.

    Attributes:
        fit: Scaled inputs to calibrate on.
        judge: Scaled inputs to judge by, others than those.
        labels: Of these, None without.
        weights: Of these, None where all weigh alike.
        by_labels: Whether the labels are new to the original, and a drop counts them.
        original: The first model, if Keras has loaded it already.
    """

    fit: Inputs
    judge: Inputs
    labels: Inputs | None = None
    weights: NDArray[Any] | None = None
    by_labels: bool = False
    original: Any = None
    _trial: NetworkTrial | None = None

    def __call__(self, model: ModelFile) -> Network:
        """Load a model."""
        loaded = self.original if self._trial is None and self.original is not None else None
        loaded = storing.load_model(model.path) if loaded is None else loaded
        if self._trial is None:
            self._trial = NetworkTrial(
                loaded, self.judge, self.labels,
                sample_weight=self.weights, by_labels=self.by_labels,
            )  # fmt: skip
        return Network(loaded, self.fit, self._trial)


class Network:
    """A Keras model, inputs to calibrate on, and a trial by which it is judged; see `compression.network.Observed`."""

    def __init__(self, model: Any, fit: Inputs, trial: NetworkTrial) -> None:
        """Of a functional or Sequential model."""
        self._model, self._fit, self._trial = model, fit, trial

    def trial(self, arrays: Arrays, task: str) -> Outcome:
        """Measure the network with other arrays in some layers on held-out inputs."""
        with _changed(self._model, arrays):
            return self._trial.of(self._model, task)

    def gather(self, places: Sequence[Place], arrays: Arrays) -> dict[str, Any]:
        """Return what each kind gathered of the calibration inputs, by path."""
        known = {place.path: place for place in places}
        seen: dict[str, Any] = {}

        def visit(path: str, batches: list[Batch], _: list[Batch] | None) -> None:
            place = known[path]
            if place.kind is None:
                raise AssertionError  # it has forms
            for batch in batches:
                seen[path] = place.kind.gather(place, arrays, batch, seen.get(path))

        walk = _Walk(self._model, self._fit, known, "what flows through the layers")
        walk.run(visit)
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
        """Run the calibration inputs through the network as it is, and as `visit` changes it layer by layer."""
        known = {place.path: place for place in places}

        def visited(path: str, old: list[Batch], new: list[Batch] | None) -> Arrays | None:
            return visit(known[path], old, new or old)

        _Walk(self._model, self._fit, known, "correcting layer by layer", twice=True).run(visited)


# Is shown what goes through one layer, in the network as it is and in the changed one; returns new arrays.
_Visit = Callable[[str, list[Batch], "list[Batch] | None"], "Arrays | None"]


class _Walk:
    """One pass of all inputs through a network, each layer run on all batches before the next."""

    def __init__(
        self, model: Any, x: Inputs, known: Mapping[str, Place], task: str, *, twice: bool = False
    ) -> None:
        self._model, self._known, self._task, self._twice = model, known, task, twice
        parts = [take(x, part) for part in chunks(count(x), _BATCH)]
        self._batches = [self._tensors(part) for part in parts]
        self._done = 0
        self._changed: dict[str, tuple[NDArray[Any], ...]] = {}

    def run(self, visit: _Visit) -> None:
        """Run the model; `visit` sees the layers of known places in the order in which they are computed."""
        self._visit = visit
        with contextlib.ExitStack() as self._stack:
            old = [list(tensors) for tensors in self._batches]
            new = [list(tensors) for tensors in self._batches] if self._twice else None
            self._through(self._model, "", old, new)

    def _tensors(self, part: Inputs) -> list[Any]:
        """Return a batch of inputs as tensors in the model's order."""
        inputs = self._model.inputs
        arrays = [part[t.name] for t in inputs] if isinstance(part, dict) else [part]
        return [
            keras.ops.convert_to_tensor(array, dtype=tensor.dtype)
            for array, tensor in zip(arrays, inputs, strict=True)
        ]

    def _through(self, model: Any, prefix: str, old: Any, new: Any) -> tuple[Any, Any]:
        """Run a model's nodes; `old` and `new` are tensors by batch, and so is what is returned."""
        graph = getattr(model, "_functional", None) or model
        nodes = [
            node
            for depth in sorted(graph._nodes_by_depth, reverse=True)
            for node in graph._nodes_by_depth[depth]
            if not node.is_input
        ]
        left = Counter(id(t) for node in nodes for t in node.input_tensors)
        left.update(id(t) for t in graph.outputs)
        inputs = [id(t) for t in graph.inputs]
        flows = [
            None if side is None else [dict(zip(inputs, tensors, strict=True)) for tensors in side]
            for side in (old, new)
        ]
        for number, node in enumerate(nodes):
            self._node(node, prefix, flows)
            if not prefix:
                progress(self._task, number + 1, len(nodes))
            for tensor in node.input_tensors:
                left[id(tensor)] -= 1
                if not left[id(tensor)]:
                    for side in flows:
                        for batch in side or ():
                            batch.pop(id(tensor), None)
        outputs = [
            None if side is None else [[batch[id(t)] for t in graph.outputs] for batch in side]
            for side in flows
        ]
        return outputs[0], outputs[1]

    def _node(self, node: Any, prefix: str, flows: list[Any]) -> None:
        operation = node.operation
        path = f"{prefix}{operation.name}"
        inner = getattr(operation, "_functional", None) or operation
        if hasattr(inner, "_nodes_by_depth") and len(operation._inbound_nodes) <= 2:
            sides = [
                None if side is None else [[b[id(t)] for t in node.input_tensors] for b in side]
                for side in flows
            ]
            found = self._through(operation, f"{path}/", *sides)
        else:
            found = self._layer(node, path, flows)
        for side, outputs in zip(flows, found, strict=True):
            if side is None:
                continue
            for batch, values in zip(side, outputs, strict=True):
                for tensor, value in zip(node.outputs, values, strict=True):
                    batch[id(tensor)] = value

    def _layer(self, node: Any, path: str, flows: list[Any]) -> tuple[Any, Any]:
        old, new = flows
        given = self._run(node, old, path)
        if path not in self._known:
            return given, None if new is None else self._run(node, new, path, changed=True)
        before = self._seen(node, old, given)
        if new is None:
            self._visit(path, before, None)
            return given, None
        changed = self._visit(path, before, self._seen(node, new, given))
        self._changed.update(changed or {})
        return given, self._run(node, new, path, changed=True)

    def _run(self, node: Any, side: Any, path: str, *, changed: bool = False) -> list[list[Any]]:
        """Run one layer on all batches, with its changed arrays if those are asked for."""
        arrays = {path: self._changed[path]} if changed and path in self._changed else {}
        found = []
        with _changed(self._model, arrays):
            for batch in side:
                args, kwargs = node.arguments.fill_in(batch)
                if (
                    isinstance(node.operation, keras.layers.Layer)
                    and node.operation._call_has_training_arg
                ):
                    kwargs["training"] = False
                outputs = node.operation(*args, **kwargs)
                found.append(keras.tree.flatten(outputs))
        return found

    def _seen(self, node: Any, side: Any, given: list[list[Any]]) -> list[Batch]:
        """Return what a layer takes in and gives, batch by batch."""
        batches = []
        for number, (batch, outputs) in enumerate(zip(side, given, strict=True)):
            args, kwargs = node.arguments.fill_in(batch)
            tensors = [
                t
                for t in keras.tree.flatten(_in_order(node.operation, args, kwargs))
                if keras.ops.is_tensor(t)
            ]
            mask = kwargs.get("mask")
            if not keras.ops.is_tensor(mask):
                mask = getattr(tensors[0], "_keras_mask", None)
            batches.append(
                Batch(
                    tuple(np.asarray(keras.ops.convert_to_numpy(t)) for t in tensors),
                    np.asarray(keras.ops.convert_to_numpy(outputs[0])),
                    None
                    if mask is None
                    else np.asarray(keras.ops.convert_to_numpy(mask), np.bool_),
                    seed=number,
                )
            )
        return batches


def _in_order(operation: Any, args: Any, kwargs: Any) -> list[Any]:
    """Return what an operation is called with in the order of its arguments, however they were given."""
    bound = inspect.signature(operation.call).bind(*args, **kwargs)
    return list(bound.arguments.values())


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
