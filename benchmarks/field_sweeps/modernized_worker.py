"""Build models of Keras 2 with tf_keras, save them in both formats, with inputs and outputs.

    python modernized_worker.py FOLDER

A process of its own: tf_keras and Keras 3 share names of classes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers

Model = keras.Model


def network(shape: tuple[int | None, ...], *stack: Any) -> Model:
    """Return a functional model that applies layers one after the other."""
    entry = tensor = keras.Input(shape)
    for layer in stack:
        tensor = layer(tensor)
    return Model(entry, tensor)


def dense_stack(**options: Any) -> Model:
    """Return a Sequential model with one Dense of some options."""
    return keras.Sequential([layers.Dense(6, input_shape=(5,), **options), layers.Dense(3)])


def compiled(optimizer: Any, loss: Any = "mse", metrics: Any = None) -> Model:
    """Return a compiled model."""
    model = dense_stack()
    model.compile(optimizer, loss, metrics)
    return model


def teachable_machine() -> Model:
    """Return a Functional in a Sequential in a Sequential, as Teachable Machine exports it."""
    trunk = network(
        (8, 8, 3), layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D()
    )
    inner = keras.Sequential([trunk])
    top = keras.Sequential([layers.Dense(5, input_shape=(4,), activation="relu"), layers.Dense(3)])
    return keras.Sequential([inner, top])


def list_of_one() -> Model:
    """Return a model whose output is a list of one tensor, used by another."""
    entry = keras.Input((5,))
    inner = Model([entry], [layers.Dense(4)(entry)])
    outer = keras.Input((5,))
    return Model([outer], [layers.Dense(2)(inner(outer))])


def slashes() -> Model:
    """Return a model with slashes in the names of its layers, two of which differ by it only."""
    entry = keras.Input((5,), name="the/input")
    left = layers.Dense(4, name="block/dense")(entry)
    right = layers.Dense(4, name="block_dense")(entry)
    model = Model(entry, layers.Dense(2, name="out/put")(layers.Add(name="a/b/c")([left, right])))
    model.compile("adam", {"out/put": "mse"})
    return model


def nested_slashes() -> Model:
    """Return a nested model with slashes in its own name and in those of its layers."""
    entry = keras.Input((5,))
    inner = Model(entry, layers.Dense(4, name="x/y")(entry), name="inner/model")
    outer = keras.Input((5,))
    return Model(outer, layers.Dense(2)(inner(outer)))


def attention(cls: type, **options: Any) -> Model:
    """Return a model with an attention layer of three inputs."""
    entry = keras.Input((4, 6))
    query, value = layers.Dense(5)(entry), layers.Dense(5)(entry)
    return Model(entry, layers.Dense(3)(cls(**options)([query, value])))


def multi_head() -> Model:
    """Return a model with MultiHeadAttention."""
    entry = keras.Input((4, 6))
    return Model(entry, layers.Dense(3)(layers.MultiHeadAttention(2, 3)(entry, entry)))


def seq2seq(cell: type, masked: bool = True, between: bool = False) -> Model:
    """Return an encoder and a decoder that starts from its states."""
    source, target = keras.Input((6,), dtype="int32"), keras.Input((5,), dtype="int32")
    encoded = layers.Embedding(9, 4, mask_zero=masked)(source)
    _, *states = cell(7, return_state=True)(encoded)
    decoded = layers.Embedding(9, 4, mask_zero=masked)(target)
    if between:
        decoded = layers.Dropout(0.1)(decoded)
    out = cell(7, return_sequences=True)(decoded, initial_state=states)
    return Model([source, target], layers.Dense(3)(out))


def masking_states() -> Model:
    """Return a Masking layer before a recurrent layer with initial states."""
    entry, state = keras.Input((5, 3)), keras.Input((4,))
    out = layers.GRU(4)(layers.Masking(0.0)(entry), initial_state=state)
    return Model([entry, state], layers.Dense(2)(out))


def stacked_decoders() -> Model:
    """Return two decoders, one behind the other, both with states, behind padding."""
    target, state = keras.Input((5,), dtype="int32"), keras.Input((4,))
    steps = layers.Embedding(9, 4, mask_zero=True)(target)
    steps = layers.GRU(4, return_sequences=True)(steps, initial_state=state)
    out = layers.GRU(4, return_sequences=True)(layers.Dense(4)(steps), initial_state=state)
    return Model([target, state], layers.Dense(3)(out))


def bidirectional_decoder() -> Model:
    """Return a Bidirectional with states behind padding."""
    target, state = keras.Input((5,), dtype="int32"), keras.Input((4,))
    steps = layers.Embedding(9, 4, mask_zero=True)(target)
    out = layers.Bidirectional(layers.GRU(4))(steps, initial_state=[state, state])
    return Model([target, state], layers.Dense(3)(out))


def dot() -> Model:
    """Return a model with merging layers."""
    one, two = keras.Input((4, 3)), keras.Input((4, 3))
    joined = [layers.Dot(-1, normalize=True)([one, two]), layers.Subtract()([one, two])]
    return Model([one, two], layers.Concatenate(-1)([*joined, layers.Maximum()([one, two])]))


def shared() -> Model:
    """Return a model that calls a layer and a nested model twice."""
    one, two = keras.Input((4,)), keras.Input((4,))
    inner = keras.Sequential([layers.Dense(3, input_shape=(5,)), layers.ReLU()])
    wide = layers.Dense(5)
    return Model([one, two], layers.Add()([inner(wide(one)), inner(wide(two))]))


def tagger() -> Model:
    """Return a tagger with padding."""
    model = keras.Sequential([layers.Embedding(9, 4, mask_zero=True, input_length=6)])
    model.add(layers.Bidirectional(layers.LSTM(5, return_sequences=True)))
    model.add(layers.TimeDistributed(layers.Dense(3, activation="softmax")))
    return model


def operators(work: Callable[[Any], Any]) -> Model:
    """Return a model with TensorFlow's functions among its layers."""
    entry = keras.Input((5,))
    return Model(entry, layers.Dense(2)(work(layers.Dense(4)(entry))))


def no_input_shape() -> Model:
    """Return a Sequential model that was built by its first call."""
    model = keras.Sequential([layers.Dense(4), layers.Dense(2)])
    model(np.zeros((1, 5), "float32"))
    return model


def never_negative(weights: Any) -> Any:
    """Return weights as a constraint of one's own leaves them."""
    return tf.abs(weights)


class Positive(keras.constraints.Constraint):
    """A constraint of one's own."""

    def __call__(self, w: Any) -> Any:
        """Return weights above 0."""
        return tf.abs(w)


@keras.saving.register_keras_serializable("mine")
class Drawn(keras.initializers.Initializer):
    """An initializer of one's own."""

    def __call__(self, shape: Any, dtype: Any = None, **_: Any) -> Any:
        """Return ones."""
        return tf.ones(shape, dtype or tf.float32)


def preprocessing() -> Model:
    """Return a model that scales, normalizes and augments images."""
    norm = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])
    return network(
        (8, 8, 3), layers.Rescaling(1 / 127.5, offset=-1), norm, layers.RandomFlip(),
        layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(2),
    )  # fmt: skip


MODELS: dict[str, Callable[[], Model]] = {
    "teachable machine": teachable_machine,
    "outputs in a list of one": list_of_one,
    "slashes in names": slashes,
    "slashes in nested names": nested_slashes,
    "attention": lambda: attention(layers.Attention),
    "attention, concat": lambda: attention(layers.Attention, score_mode="concat"),
    "attention, scaled": lambda: attention(layers.Attention, use_scale=True),
    "additive attention": lambda: attention(layers.AdditiveAttention),
    "multi-head attention": multi_head,
    "activation is a lambda": lambda: dense_stack(activation=lambda x: x * 2),
    "activation of one's own": lambda: dense_stack(activation=never_negative),
    "constraint of one's own": lambda: dense_stack(kernel_constraint=Positive()),
    "initializer of one's own": lambda: dense_stack(kernel_initializer=Drawn()),
    "regularizer, stock": lambda: dense_stack(kernel_regularizer="l2", kernel_constraint="max_norm"),
    "activations of tf.nn": lambda: dense_stack(activation=tf.nn.leaky_relu),
    "activation relu of tf.nn": lambda: dense_stack(activation=tf.nn.relu),
    "activation swish": lambda: dense_stack(activation="swish"),
    "activation hard_sigmoid": lambda: dense_stack(activation="hard_sigmoid"),
    "activation layer": lambda: network((5,), layers.Dense(4), layers.LeakyReLU(0.1), layers.PReLU(),
                                        layers.ELU(), layers.Softmax(), layers.Dense(2)),
    "no input shape": no_input_shape,
    "seq2seq LSTM with padding": lambda: seq2seq(layers.LSTM),
    "seq2seq GRU with padding": lambda: seq2seq(layers.GRU),
    "seq2seq with dropout between": lambda: seq2seq(layers.LSTM, between=True),
    "seq2seq without padding": lambda: seq2seq(layers.LSTM, masked=False),
    "masking beside states": masking_states,
    "stacked decoders": stacked_decoders,
    "bidirectional decoder": bidirectional_decoder,
    "tagger with padding": tagger,
    "operator +": lambda: operators(lambda t: t + layers.Dense(4)(t)),
    "operator + constant": lambda: operators(lambda t: t + 0.5),
    "operator *": lambda: operators(lambda t: t * layers.Dense(4)(t)),
    "operator * constant": lambda: operators(lambda t: 2.5 * t),
    "operator -": lambda: operators(lambda t: t - layers.Dense(4)(t)),
    "operator - from constant": lambda: operators(lambda t: 1.0 - t),
    "operator /": lambda: operators(lambda t: t / 3.0),
    "tf.nn.relu as a layer": lambda: operators(tf.nn.relu),
    "tf.nn.softmax as a layer": lambda: operators(tf.nn.softmax),
    "tf.sigmoid as a layer": lambda: operators(tf.sigmoid),
    "tf.reduce_mean as a layer": lambda: operators(lambda t: tf.reduce_mean(t, axis=-1, keepdims=True)),
    "tf.concat as a layer": lambda: operators(lambda t: tf.concat([t, t], axis=-1)),
    "tf.reshape as a layer": lambda: operators(lambda t: tf.reshape(t, (-1, 4))),
    "slice": lambda: operators(lambda t: t[:, 1:3]),
    "optimizer Adam": lambda: compiled("adam", metrics=["mae"]),
    "optimizer legacy Adam": lambda: compiled(keras.optimizers.legacy.Adam(1e-4, decay=1e-6)),
    "optimizer SGD": lambda: compiled(keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)),
    "optimizer of one's own": lambda: compiled(type("Mine", (keras.optimizers.Adam,), {})()),
    "schedule": lambda: compiled(keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))),
    "loss of one's own": lambda: compiled("adam", lambda y, p: tf.reduce_mean(tf.abs(y - p))),
    "convolutions": lambda: network(
        (9, 9, 2), layers.Conv2D(4, 3, padding="same"), layers.DepthwiseConv2D(3), layers.SeparableConv2D(5, 3),
        layers.Conv2DTranspose(3, 3, strides=2), layers.BatchNormalization(), layers.GlobalMaxPooling2D()),
    "batch normalization, axis in a list": lambda: network(
        (9, 9, 2), layers.BatchNormalization(axis=[3]), layers.GlobalAveragePooling2D(keepdims=True), layers.Flatten()),
    "GRU, reset before": lambda: network((5, 3), layers.GRU(4, reset_after=False), layers.Dense(2)),
    "SimpleRNN": lambda: network((5, 3), layers.SimpleRNN(4), layers.Dense(2)),
    "RNN of cells": lambda: network((5, 3), layers.RNN([layers.LSTMCell(4), layers.LSTMCell(3)]), layers.Dense(2)),
    "Bidirectional GRU": lambda: network((5, 3), layers.Bidirectional(layers.GRU(4), merge_mode="sum")),
    "ConvLSTM2D": lambda: network((3, 6, 6, 2), layers.ConvLSTM2D(3, 3), layers.Flatten(), layers.Dense(2)),
    "preprocessing": preprocessing,
    "EinsumDense": lambda: network(
        (4, 6), layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d"), layers.Flatten(), layers.Dense(2)),
    "layer normalization": lambda: network((6,), layers.LayerNormalization(), layers.UnitNormalization()),
    "upsampling and padding": lambda: network(
        (4, 4, 2), layers.UpSampling2D(interpolation="bilinear"), layers.ZeroPadding2D(1), layers.Cropping2D(1)),
    "mixed precision": lambda: network((5,), layers.Dense(4, dtype="mixed_float16"), layers.Dense(2, dtype="float32")),
    "noise and dropout": lambda: network(
        (4, 6), layers.GaussianNoise(0.1), layers.SpatialDropout1D(0.1), layers.AlphaDropout(0.1),
        layers.ActivityRegularization(0.1), layers.GaussianDropout(0.1), layers.Dense(2)),
    "permute, repeat, reshape": lambda: network(
        (6,), layers.RepeatVector(3), layers.Permute((2, 1)), layers.Reshape((3, 6)), layers.Dense(2)),
    "one-dimensional": lambda: network(
        (9, 3), layers.Conv1D(4, 3, padding="causal"), layers.SeparableConv1D(4, 3), layers.Conv1DTranspose(3, 3),
        layers.UpSampling1D(2), layers.ZeroPadding1D(1), layers.Cropping1D(1), layers.LocallyConnected1D(2, 3)),
    "three-dimensional": lambda: network(
        (5, 5, 5, 2), layers.Conv3D(3, 3), layers.Conv3DTranspose(2, 3), layers.AveragePooling3D(), layers.Flatten()),
    "grouped convolution": lambda: network((9, 9, 4), layers.Conv2D(4, 3, groups=2), layers.GlobalAveragePooling2D()),
    "group normalization": lambda: network((9, 9, 4), layers.GroupNormalization(2), layers.Conv2D(2, 3)),
    "ThresholdedReLU": lambda: network((5,), layers.Dense(4), layers.ThresholdedReLU(0.5), layers.Dense(2)),
    "random images": lambda: network(
        (8, 8, 3), layers.RandomRotation(0.1), layers.RandomZoom(0.1), layers.RandomContrast(0.1),
        layers.RandomTranslation(0.1, 0.1), layers.RandomBrightness(0.1), layers.CenterCrop(6, 6),
        layers.Resizing(4, 4)),
    "Embedding with input_length": lambda: network((6,), layers.Embedding(9, 4, input_length=6), layers.Flatten()),
    "category encoding": lambda: network((3,), layers.CategoryEncoding(9, "multi_hot"), layers.Dense(2)),
    "Dot and Concatenate": dot,
    "shared layer": shared,
}  # fmt: skip


def inputs_for(model: Model) -> list[np.ndarray]:
    """Return inputs with some padding, the same for every model of a shape."""
    draw = np.random.default_rng(0)
    found = []
    for tensor in model.inputs if model.inputs else [tf.zeros((1, 5))]:
        shape = (4, *tensor.shape[1:])
        takes_tokens = any(
            isinstance(x, layers.Embedding | layers.CategoryEncoding) for x in model.layers
        )
        if tensor.dtype.is_integer or (takes_tokens and len(model.inputs) == 1):
            # Padding from the middle of every other sample on.
            tokens = draw.integers(1, 9, shape)
            tokens[1::2, shape[1] // 2 :] = 0
            found.append(tokens)
        else:
            values = draw.normal(size=shape).astype("float32")
            if len(shape) == 3:
                values[1::2, 3:] = 0
            found.append(values)
    return found


def main(folder: Path) -> None:
    """Write `NAME.h5`, `NAME.keras` and `NAME.npz` for every model."""
    for name, build in MODELS.items():
        keras.backend.clear_session()
        keras.utils.set_random_seed(1)
        model = build()
        x = inputs_for(model)
        y = model.predict(x if len(x) > 1 else x[0], verbose=0)
        np.savez(folder / f"{name.replace('/', ' div ')}.npz", *x, y=y)
        for suffix in (".h5", ".keras"):
            try:
                model.save(folder / f"{name.replace('/', ' div ')}{suffix}")
            except Exception as error:
                print(f"{name}{suffix}: not saved ({type(error).__name__})")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
