"""How much the outputs care for each direction of a layer's responses, on every backend that Keras has.

The Fisher information of the outputs with respect to the responses, as in K-FAC (Martens & Grosse,
ICML 2015): the mean of ``g g^T`` over gradients g of the negative log likelihood of labels that are
drawn from the network's own outputs. A weight of the batch's own shape, zero, is added to each
response; one step of gradient descent at rate 1 leaves the negative gradients in it.

Dropout stays on, as Keras has it in any step of training, and draws the same each time. A network is sure of what
it was trained on, which is what it is calibrated with: without dropout, fewer of these inputs count.

Of a network that gives back its inputs it is the error of doing so that is made use of, above all to tell
what is unusual: there the inputs themselves are the targets, not what the network says.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, chunks, count, take
from lrcompress.events import progress
from lrcompress.kinds import Serialized
from lrcompress.kinds.cells import directions, input_kernel, with_input_kernel
from lrcompress.kinds.terms import taking
from lrcompress.live.engine import temporarily
from lrcompress.live.layers import find_layer
from lrcompress.live.outputs import outputs_of
from lrcompress.live.predict import batch_size

# Wider recurrent layers would take longer than what they tell is worth.
_WIDEST = 2048
# Samples at a time, fewer where each has many outputs, and at most.
_BATCH, _MOST = 100, 1_000
# A network is an autoencoder if what it gives for its own outputs differs by less than this share of their variance.
IDEMPOTENT = 0.5


def response_gradients(
    model: Any, paths: Sequence[str], x: Arrays
) -> dict[str, NDArray[np.float64]]:
    """Return the mean of g g^T, (n, n), for the responses (before the activation) of some layers."""
    # Of recurrent layers these are the inputs' share of the gates. Left out are layers inside nested models,
    # those whose response is not what they give but for an activation, and those that end the model.
    layers = [find_layer(model, path) for path in paths]
    ends = [_maker(tensor) for tensor in model.outputs]
    probed = {id(layer): layer for layer in layers if _responds(layer) and layer not in ends}
    if not probed or len(model.outputs) > 1 or isinstance(x, dict):
        return {}
    output = outputs_of(model)[0]
    returns = (output.is_logits or output.is_sigmoid) and gives_back(model, x)
    probes: dict[str, _Probe] = {}
    batch = min(_BATCH, batch_size(model, x))
    kept = {
        layer.name: layer.activation
        for layer in probed.values()
        if hasattr(layer, "activation") and not _has_gates(layer)
    }
    bare = [layer for layer in probed.values() if layer.name in kept]
    # The calls of a Sequential model cannot be changed, those of the graph in it can.
    network = getattr(model, "_functional", None) or model
    with (
        # A copy is compiled as its model is, which Keras cannot do without an optimizer.
        temporarily([network], "compiled", lambda _: False),
        temporarily(bare, "activation", lambda _: keras.activations.linear),
    ):
        probing = keras.models.clone_model(
            network,
            clone_function=lambda layer: layer,
            call_function=partial(_called, probed, kept, probes, partial(_Probe, batch)),
        )
        with temporarily([model], "trainable", lambda _: False):
            for probe in probes.values():
                probe.trainable = True
            with _seeded(model):
                found = _gradients(probing, probes, x, output, batch, returns=returns)
    return {path: found[name] for path in paths if (name := path.rpartition("/")[2]) in found}


@contextlib.contextmanager
def _seeded(model: Any) -> Iterator[None]:
    """Let a model's dropout draw the same each time, and go on from where it was afterwards."""
    layers = model._flatten_layers()
    found = [s for layer in layers if (s := getattr(layer, "seed_generator", None)) is not None]
    kept = [ops.convert_to_numpy(generator.state) for generator in found]
    try:
        for number, generator in enumerate(found):
            generator.state.assign(np.array([number, 0], np.uint32))
        yield
    finally:
        for generator, state in zip(found, kept, strict=True):
            generator.state.assign(state)


def gives_back(model: Any, x: NDArray[Any]) -> bool:
    """Return whether a network is an autoencoder: better than the mean, and what it gives it leaves as it is."""
    if model.outputs[0].shape[1:] != model.inputs[0].shape[1:]:
        return False
    some = np.asarray(take(x, slice(0, _BATCH)), np.float32)
    given = np.asarray(model.predict_on_batch(some), np.float32)
    again = np.asarray(model.predict_on_batch(given), np.float32)
    spread, spread_given = (np.square(a - a.mean(axis=0)).mean() for a in (some, given))
    apart, moved = np.square(given - some).mean(), np.square(again - given).mean()
    return bool(apart < spread and moved < IDEMPOTENT * spread_given)


class _Probe(keras.layers.Layer):  # type: ignore[misc]  # keras ships no types
    """Adds a weight of the whole batch's shape, zero, to what it is given."""

    def __init__(self, batch: int) -> None:
        """Of so many samples; hands on a mask."""
        super().__init__()
        self.supports_masking, self._batch = True, batch

    def build(self, shape: Any) -> None:
        """Make the weight."""
        self.added = self.add_weight(
            shape=(self._batch, *shape[1:]), initializer="zeros", name="added"
        )

    def call(self, inputs: Any) -> Any:
        """Return the sum."""
        return inputs + ops.cast(self.added, inputs.dtype)

    def compute_output_shape(self, shape: Any) -> Any:
        """Return the inputs': JAX could not find it out, a free batch axis being no `_BATCH`."""
        return shape


def _responds(layer: Any) -> bool:
    """Return whether a layer's response can be seen: that of what it gives, the rows of a table, or gates."""
    if isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional)):
        return _has_gates(layer)
    return hasattr(layer, "activation") or isinstance(layer, keras.layers.Embedding)


def _maker(tensor: Any) -> Any:
    """Return the layer that gives an output, activations passed over."""
    layer = tensor._keras_history.operation
    while isinstance(layer, (keras.layers.Activation, keras.layers.Softmax)):
        layer = layer._inbound_nodes[0].input_tensors[0]._keras_history.operation
    return layer


def _called(
    probed: Any, kept: Any, probes: dict[str, _Probe], probe: Any,
    layer: Any, *args: Any, **kwargs: Any,
) -> Any:  # fmt: skip
    """Return what a layer gives, its response probed where that is asked for."""
    if id(layer) in probed and _has_gates(layer):
        if len(args) > 1 or None in args[0].shape[1:]:
            return layer(*args, **kwargs)
        probes[layer.name] = probe()
        return _through_gates(layer, args[0], kwargs, probes[layer.name])
    outputs = layer(*args, **kwargs)
    if id(layer) not in probed:
        return outputs
    if None not in outputs.shape[1:]:
        probes[layer.name] = probe()
        outputs = probes[layer.name](outputs)
    return kept[layer.name](outputs) if layer.name in kept else outputs


def _gradients(
    probing: Any, probes: dict[str, _Probe], x: Arrays, output: Any, batch: int, *, returns: bool
) -> dict[str, NDArray[np.float64]]:
    """Return the second moments of the gradients at each probe, of a network that `returns` its inputs or not."""
    one = len(probing.inputs) == 1  # in a list, Keras warns of each batch that is not in one
    probing = keras.Model(probing.inputs[0] if one else probing.inputs, probing.outputs)
    probing.compile(optimizer=keras.optimizers.SGD(1.0), loss=_loss(output), jit_compile=False)
    draw = np.random.default_rng(0)
    sums: dict[str, NDArray[np.float64]] = {}
    samples = min(count(x), _MOST) // batch * batch
    for part in chunks(samples, batch):
        some = take(x, part)
        outputs = np.asarray(probing.predict_on_batch(some), np.float64)
        probing.train_on_batch(some, some if returns else _drawn(outputs, output, draw))
        for name, probe in probes.items():
            gradients = np.asarray(ops.convert_to_numpy(probe.added), np.float32)
            rows = gradients.reshape(-1, gradients.shape[-1])
            sums[name] = sums.get(name, 0.0) + (rows.T @ rows).astype(np.float64) / samples
            probe.added.assign(np.zeros(gradients.shape, np.float32))
        progress("what the outputs care for", part.stop, samples)
    return sums


def _loss(output: Any) -> Any:
    """Return the negative log likelihood of targets under outputs, summed over the batch."""

    def summed(y: Any, given: Any) -> Any:
        if output.is_logits:
            return ops.sum(ops.square(y - given)) / 2
        given = ops.clip(given, 1e-7, 1 - 1e-7)
        if output.is_sigmoid:
            return -ops.sum(y * ops.log(given) + (1 - y) * ops.log(1 - given))
        return -ops.sum(y * ops.log(given))

    return summed


def _drawn(outputs: NDArray[np.float64], output: Any, draw: Any) -> NDArray[np.float32]:
    """Return targets drawn from what the network says."""
    if output.is_logits:
        return np.asarray(outputs + draw.standard_normal(outputs.shape), np.float32)
    if output.is_sigmoid:
        return np.asarray(draw.random(outputs.shape) < outputs, np.float32)
    flat = outputs.reshape(-1, outputs.shape[-1])
    steps = (flat / flat.sum(-1, keepdims=True)).cumsum(-1)
    chosen = (draw.random((len(flat), 1)) > steps).sum(-1).clip(0, flat.shape[-1] - 1)
    made = np.zeros(flat.shape, np.float32)
    np.put_along_axis(made, chosen[:, None], 1, axis=-1)
    return made.reshape(outputs.shape)


def _has_gates(layer: Any) -> bool:
    """Return whether a layer is a recurrent one whose gates can be computed before it."""
    recurrent = isinstance(layer, (keras.layers.RNN, keras.layers.Bidirectional))
    if not recurrent or getattr(layer, "stateful", False):
        return False
    own = _as_in_file(layer)
    ways = directions(own)
    return bool(ways) and sum(way.gates * way.units for way in ways) <= _WIDEST


def _through_gates(
    layer: Any, inputs: Any, call: dict[str, Any], seen: Callable[[Any], Any]
) -> Any:
    """Return what a recurrent layer gives: a Dense computes x A, and `seen` of it goes into a copy."""
    own = _as_in_file(layer)
    kernel = input_kernel(own, own.arrays)
    width = kernel.shape[1]
    dense = keras.layers.Dense(width, use_bias=False, name=f"{layer.name}_gates")
    config = taking(own.config, width) | {"name": f"{layer.name}_behind"}
    entry = {"class_name": own.class_name, "config": config, "registered_name": None}
    copy = keras.layers.deserialize(entry | {"module": "keras.layers"})
    outputs = copy(seen(dense(inputs)), **call)
    dense.trainable = copy.trainable = False
    dense.set_weights([kernel])
    copy.set_weights(with_input_kernel(own, own.arrays, np.eye(width), None))
    return outputs


def _as_in_file(layer: Any) -> Serialized:
    """Return a layer as a file would hold it."""
    entry = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    return Serialized(entry["class_name"], entry["config"], tuple(layer.get_weights()))
