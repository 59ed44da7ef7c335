"""Inputs as weights before a network, which descend to where BatchNormalization sees its own statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrcompress.events import progress
from lrcompress.live.engine import jit_compile, temporarily
from lrcompress.live.network.gradients import IDEMPOTENT
from lrcompress.live.outputs import SIDE, STEPS, outputs_of

TASK = "inputs from the network's own statistics"
# A loss of the statistics at which inputs are good.
CONVERGED = 0.02
# Steps of Adam at the start, each round twice those of the one before, and at most; its rate falls to 0.
FIRST_STEPS, MOST_STEPS, RATE = 60, 2_000, 0.2
# A round must lower the loss to this share, or there is no other.
FALLING = 0.9
# What else the loss holds: that all classes appear. A larger weight makes single outputs surer than real
# inputs do (at 0.3 a ResNet's entropy was 0.1 in the place of 0.4), and what is estimated on them too small.
ENTROPY = 0.05
# Standard deviation of the logarithm of the contrasts of inputs, about that of photographs. Of inputs that are
# all alike the network is alike sure.
CONTRASTS = 0.5
# How large inputs are is sought among these, and their mean among multiples of it.
SIZES = tuple(2.0**power for power in range(-5, 10))
MEANS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


def shape_of(tensor: Any) -> tuple[int, ...]:
    """Return the shape of a sample, with a usual length where the network leaves it open."""
    shape = tensor.shape[1:]
    return tuple(size or (SIDE if len(shape) > 2 else STEPS) for size in shape)


# Of a layer each time that it runs: mean and variance of its inputs by channel.
Seen = dict[int, list[tuple[Any, Any]]]


@contextlib.contextmanager
def watched(layers: Sequence[Any]) -> Iterator[Seen]:
    """Note mean and variance of what flows into some layers, which works inside other models too."""
    seen: Seen = {id(layer): [] for layer in layers}

    def watching(layer: Any, call: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        own = layer.axis % len(inputs.shape)
        others = [axis for axis in range(len(inputs.shape)) if axis != own]
        seen[id(layer)].append(ops.moments(ops.cast(inputs, "float32"), others))
        return call(inputs, *args, **kwargs)

    with temporarily(layers, "call", lambda layer: partial(watching, layer, layer.call)):
        yield seen


class Descent(keras.Model):  # type: ignore[misc]  # keras ships no types
    """A batch of inputs as weights, before a network; what it gives out is its loss."""

    def __init__(self, model: Any, layers: Sequence[Any], seen: Seen, batch: int) -> None:
        super().__init__(name="synthetic")
        structure = (getattr(model, "_functional", None) or model)._inputs_struct
        # In functions, so that Keras neither trains nor counts the network as a part of this one.
        self.run: Callable[[list[Any]], list[Any]] = lambda x: keras.tree.flatten(
            model(keras.tree.pack_sequence_as(structure, x), training=False)
        )
        self.targets: Callable[[], list[Any]] = lambda: [
            (seen[id(layer)], layer.moving_mean, layer.moving_variance, layer.epsilon)
            for layer in layers
        ]
        shapes = [shape_of(tensor) for tensor in model.inputs]
        self.samples, self.scales_sought = batch, len(SIZES) * len(MEANS) * len(shapes)
        self.cosines = [_Cosines(shape) for shape in shapes]
        self.amplitudes = [
            self.add_weight(shape=(batch, *shape), initializer="zeros", name=f"amplitudes{i}")
            for i, shape in enumerate(shapes)
        ]
        self.scales = [
            self.add_weight(shape=(2,), initializer="ones", trainable=False, name=f"scale{i}")
            for i in range(len(shapes))
        ]
        outputs = outputs_of(model)
        self.softmax = [not one.is_logits and not one.is_sigmoid for one in outputs]
        alike = len(shapes) == len(outputs) == 1 and outputs[0].shape == model.inputs[0].shape[1:]
        self.may_reconstruct = alike and not self.softmax[0]
        self.compiled_for = (0, 0.0)

    def begin(self, generator: np.random.Generator) -> None:
        """Start from noise, as real inputs are: of some there is more than of others."""
        for weight in self.amplitudes:
            noise = generator.standard_normal(weight.shape, np.float32)
            weight.assign(noise * _contrasts(generator, weight.shape, CONTRASTS))

    def mix(self, generator: np.random.Generator) -> None:
        """Start from sums of two inputs each: their means and covariances are about those of the batch before."""
        for weight in self.amplitudes:
            before = np.asarray(ops.convert_to_numpy(weight))
            mean = before.mean(axis=0)
            one = generator.permutation(before - mean)
            # Each with the next: no pair comes twice, none is of one input alone. Sums differ less in contrast.
            both = (one + np.roll(one, 1, axis=0)) / np.sqrt(2)
            weight.assign(mean + both * _contrasts(generator, weight.shape, CONTRASTS / np.sqrt(2)))

    def scale(self, scales: Sequence[tuple[float, float]]) -> None:
        """Set mean and size of each input."""
        for weight, scale in zip(self.scales, scales, strict=True):
            weight.assign(scale)

    def batch(self) -> list[Any]:
        """Return the inputs that the weights stand for."""
        parts = zip(self.amplitudes, self.cosines, self.scales, strict=True)
        return [scale[0] + scale[1] * cosines.inputs(weight) for weight, cosines, scale in parts]

    def call(self, step: Any) -> Any:
        """Return the whole loss and that of the statistics, (1, 2)."""
        targets = self.targets()
        for seen, *_ in targets:
            seen.clear()
        x = self.batch()
        outputs = self.run(x)
        # What the outputs do not come of does not run.
        differences = [_differ(*target) for target in targets if target[0]]
        statistics = sum(differences) / len(differences)
        loss = statistics
        for given, is_softmax in zip(outputs, self.softmax, strict=True):
            if is_softmax:
                mean = ops.mean(ops.cast(given, "float32"), axis=tuple(range(len(given.shape) - 1)))
                loss = loss + ENTROPY * ops.sum(mean * ops.log(mean + 1e-7))
        return ops.reshape(ops.stack([loss, statistics]), (1, 2))

    def find_scales(self) -> list[tuple[float, float]]:
        """Return the mean and the size of each input with which the loss is least."""
        scales = [(0.0, 1.0)] * len(self.scales)
        grid = [(mean * size, size) for size in SIZES for mean in MEANS]
        total = len(grid) * len(scales)
        for place in range(len(scales)):
            losses = []
            for number, scale in enumerate(grid, len(grid) * place + 1):
                self.scale([*scales[:place], scale, *scales[place + 1 :]])
                losses.append(self.measure()[0])
                progress(f"{TASK}: their scale", number, total)
            scales[place] = grid[int(np.nanargmin(np.nan_to_num(losses, nan=np.inf)))]
        self.scale(scales)
        return scales

    def reconstruct(self) -> bool:
        """Put in the place of the inputs what an autoencoder gives back of them; return whether it is one."""
        # What it gives out lies where its training data lie, and it leaves that as it is.
        if not self.may_reconstruct:
            return False
        once = self.run(self.batch())[0]
        apart = ops.mean((self.run([once])[0] - once) ** 2)
        spread = ops.mean((once - ops.mean(once, axis=0, keepdims=True)) ** 2)
        if not float(ops.convert_to_numpy(apart / (spread + 1e-12))) < IDEMPOTENT:
            return False
        mean, size = map(float, ops.convert_to_numpy(self.scales[0]))
        given = np.asarray(ops.convert_to_numpy(once), np.float32)
        self.amplitudes[0].assign(self.cosines[0].amplitudes((given - mean) / size))
        return True

    def converge(self, done: str, seconds: float, spent: Callable[[], float]) -> int:
        """Descend in rounds, each longer up to some seconds, until the loss falls no more; return the last's steps."""
        steps, before = FIRST_STEPS, self.measure()[1]
        while True:
            begun = spent()
            self.descend(steps, RATE, done)
            now, took = self.measure()[1], spent() - begun
            # What is not a number never falls.
            falls = now < FALLING * before
            if now < CONVERGED or not falls or 2 * steps > MOST_STEPS or 2 * took > seconds:
                return steps
            steps, before = 2 * steps, now

    def descend(self, steps: int, rate: float, done: str) -> None:
        """Take some steps down from where the weights are, at a rate that falls to 0."""
        if self.compiled_for != (steps, rate):
            self.compiled_for = steps, rate
            adam = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
            self.compile(adam, lambda _, loss: loss[:, 0], jit_compile=jit_compile())
        for variable in self.optimizer.variables:
            variable.assign(np.zeros(variable.shape, variable.dtype))
        nothing = np.zeros((steps, 1), np.float32)
        tell = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: progress(f"{TASK}: {done}", batch + 1, steps)
        )
        self.fit(nothing, nothing, batch_size=1, shuffle=False, verbose=0, callbacks=[tell])

    def measure(self) -> tuple[float, float]:
        """Return the whole loss and that of the statistics."""
        whole, statistics = self.predict_on_batch(np.zeros((1, 1), np.float32))[0]
        return float(whole), float(statistics)

    def arrays(self) -> list[NDArray[np.float32]]:
        """Return the inputs as arrays."""
        return [np.asarray(ops.convert_to_numpy(x), np.float32) for x in self.batch()]


def _contrasts(
    generator: np.random.Generator, shape: tuple[int, ...], deviation: float
) -> NDArray[np.float32]:
    """Return factors of mean square 1, (samples, 1, ...)."""
    drawn = deviation * generator.standard_normal((shape[0], *[1] * (len(shape) - 1)), np.float32)
    return np.asarray(np.exp(drawn - deviation**2), np.float32)


def _differ(seen: list[tuple[Any, Any]], mean: Any, variance: Any, epsilon: float) -> Any:
    """Return how far the statistics of a layer's inputs are from its own; of several uses, their averages."""
    mean, variance = ops.convert_to_tensor(mean), ops.convert_to_tensor(variance)
    # As small as the layer itself takes variances for, but never so large that it hides them.
    least = ops.minimum(epsilon, 0.01 * ops.mean(variance)) + 1e-12
    here, spread = (sum(values) / len(seen) for values in zip(*seen, strict=True))
    apart = ops.sqrt(spread + least) - ops.sqrt(variance + least)
    return ops.mean(((here - mean) ** 2 + apart**2) / (variance + least))


class _Cosines:
    """Inputs of a shape as amplitudes, of variance 1 like them, of cosines along all axes but the channels'."""

    # They weigh what they do in what cameras and sensors see, in inverse proportion to their frequency: who descends on
    # amplitudes settles low ones first, and the noise that fools a network hardly arises. It takes a third of the
    # steps that pixels need, and no term for smoothness.

    def __init__(self, shape: tuple[int, ...]) -> None:
        first = len(shape) > 2 and shape[0] <= 4 < shape[-1]
        axes = range(1, len(shape)) if first else range(len(shape) - 1)
        squares = np.zeros([1] * len(shape))
        for axis in axes:
            along = np.arange(shape[axis]) / shape[axis]
            others = [other for other in range(len(shape)) if other != axis]
            squares = squares + np.expand_dims(along**2, others)
        longest = max((shape[axis] for axis in axes), default=1)
        weights = 1 / np.sqrt(np.maximum(squares, 1 / longest**2))
        self.weights = (weights / np.sqrt(np.mean(weights**2))).astype(np.float32)
        self.bases = [(axis + 1, _cosine_basis(shape[axis])) for axis in axes]

    def inputs(self, amplitudes: Any) -> Any:
        """Return the inputs, (samples, *shape), that some amplitudes make."""
        x = amplitudes * self.weights
        for axis, basis in self.bases:
            x = ops.moveaxis(ops.tensordot(x, basis, [[axis], [0]]), -1, axis)
        return x

    def amplitudes(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the amplitudes of inputs."""
        for axis, basis in self.bases:
            x = np.moveaxis(np.tensordot(x, basis, ([axis], [1])), -1, axis)
        return np.asarray(x / self.weights, np.float32)


def _cosine_basis(length: int) -> NDArray[np.float32]:
    """Return the orthonormal cosines of the DCT-II, (frequencies, positions)."""
    frequency, position = np.arange(length)[:, None], np.arange(length)[None]
    basis = np.sqrt(2 / length) * np.cos(np.pi * frequency * (2 * position + 1) / (2 * length))
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)
