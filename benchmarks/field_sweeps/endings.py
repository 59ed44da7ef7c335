"""Outputs that end in probabilities or logits, in the ways that people write them.

Each ending is put on the same trained layers, for one unit that tells two classes apart, for labels
any of which may hold, and for classes. Right is what Keras itself says of error and loss.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

import lrcompress
from lrcompress.errors import LRCompressError

UNITS = {"binary": 1, "labels": 6, "classes": 6}
TRAINING = 600
Ending = Callable[[Any, "Kind"], Any]


class Kind:
    """Data of a kind, and layers trained on them: features of a sample and the kernel of its logits."""

    def __init__(self, name: str) -> None:
        """Draw the data and train."""
        self.name, self.units = name, UNITS[name]
        self.squash = "softmax" if name == "classes" else "sigmoid"
        draw = np.random.default_rng(0)
        centres = draw.normal(size=(6, 8))
        classes = draw.integers(0, 6, 1000)
        self.x = (centres[classes] + 0.9 * draw.normal(size=(1000, 8))).astype("float32")
        y = {"binary": classes // 3, "classes": classes}
        bits = np.stack([(classes >> bit) & 1 for bit in range(3)], axis=1)
        self.y = y.get(name, np.concatenate([bits, 1 - bits], axis=1))
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((8,)), layers.Dense(16, "relu"), layers.Dense(self.units, self.squash)]
        )
        model.compile(keras.optimizers.Adam(0.01), self.loss(from_logits=False))
        model.fit(self.x[:TRAINING], self.y[:TRAINING], epochs=8, verbose=0)
        self.weights = model.get_weights()

    def loss(self, *, from_logits: bool) -> Any:
        """Return Keras' loss of the kind."""
        if self.name == "classes":
            return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
        return keras.losses.BinaryCrossentropy(from_logits=from_logits)

    def dense(self, features: Any, activation: Any = None, **options: Any) -> Any:
        """Return the trained output layer on some features, with an activation."""
        layer = layers.Dense(self.units, activation=activation, **options)
        found = layer(features)
        layer.set_weights(self.weights[2:])
        return found

    def model(self, ending: Ending) -> keras.Model:
        """Return the trained layers with an ending."""
        entry = keras.Input((8,))
        layer = layers.Dense(16, "relu")
        features = layer(entry)
        layer.set_weights(self.weights[:2])
        return keras.Model(entry, ending(features, self))

    def keras_says(self, model: keras.Model, *, logits: bool) -> tuple[float, float]:
        """Return error in percent and loss on the test part, by Keras' own metrics."""
        metric: Any = keras.metrics.SparseCategoricalAccuracy()
        if self.name != "classes":
            metric = keras.metrics.BinaryAccuracy(threshold=0.0 if logits else 0.5)
        model.compile(loss=self.loss(from_logits=logits), metrics=[metric])
        loss, accuracy = model.evaluate(self.x[TRAINING:], self.y[TRAINING:], verbose=0)
        return 100 * (1 - accuracy), loss


def squash(kind: Kind) -> Callable[[Any], Any]:
    """Return the function of `keras.ops` that makes probabilities."""
    return ops.softmax if kind.name == "classes" else ops.sigmoid


def as_layer(kind: Kind) -> Any:
    """Return the activation as a layer."""
    return layers.Softmax() if kind.name == "classes" else layers.Activation("sigmoid")


def by_hand(features: Any, kind: Kind) -> Any:
    """Write the activation out in `keras.ops`."""
    logits = kind.dense(features)
    if kind.name == "classes":
        powers = ops.exp(logits)
        return powers / ops.sum(powers, axis=-1, keepdims=True)
    return 1 / (1 + ops.exp(-logits))


def nested(features: Any, kind: Kind) -> Any:
    """Put the output layer into a model of its own."""
    entry = keras.Input((16,))
    return keras.Model(entry, squash(kind)(kind.dense(entry)), name="inner")(features)


def nested_sequential(features: Any, kind: Kind) -> Any:
    """Put the output layer and its activation into a Sequential model."""
    inner = keras.Sequential([keras.Input((16,)), layers.Dense(kind.units), as_layer(kind)])
    inner.set_weights(kind.weights[2:])
    return inner(features)


def per_step(features: Any, kind: Kind) -> Any:
    """Apply the activation under TimeDistributed to one step."""
    steps = layers.Reshape((1, kind.units))(kind.dense(features))
    return layers.Flatten()(layers.TimeDistributed(as_layer(kind))(steps))


def ensemble(features: Any, kind: Kind) -> Any:
    """Average the outputs of two heads."""
    return layers.Average()([kind.dense(features, kind.squash), kind.dense(features, kind.squash)])


def parts(features: Any, kind: Kind) -> Any:
    """Join the halves of the outputs again."""
    whole = kind.dense(features, kind.squash)
    half = max(kind.units // 2, 1)
    pieces = [piece for piece in (whole[:, :half], whole[:, half:]) if piece.shape[-1]]
    return layers.Concatenate()(pieces) if len(pieces) > 1 else whole[:, :half]


def softmax_pairs(features: Any, kind: Kind) -> Any:
    """Make a softmax of each logit and 0, and keep the first of each two."""
    logits = ops.expand_dims(kind.dense(features), -1)
    return ops.softmax(ops.concatenate([logits, ops.zeros_like(logits)], axis=-1), axis=-1)[..., 0]


PROBABILITIES: dict[str, Ending] = {
    "activation by name": lambda f, k: k.dense(f, k.squash),
    "activation a layer": lambda f, k: k.dense(f, as_layer(k)),
    "activation Activation(layer)": lambda f, k: k.dense(f, layers.Activation(as_layer(k))),
    "activation a function of ops": lambda f, k: k.dense(f, squash(k)),
    "layer of its own": lambda f, k: as_layer(k)(k.dense(f)),
    "Activation with a name of its own": lambda f, k: layers.Activation(k.squash, name=f"p{k.units}")(k.dense(f)),
    "keras.ops": lambda f, k: squash(k)(k.dense(f)),
    "keras.activations": lambda f, k: getattr(keras.activations, k.squash)(k.dense(f)),
    "hard_sigmoid": lambda f, k: k.dense(f, "hard_sigmoid"),
    "hard_sigmoid of ops": lambda f, k: ops.hard_sigmoid(k.dense(f)),
    "sparsemax or sparse_sigmoid": lambda f, k: k.dense(f, "sparsemax" if k.name == "classes" else "sparse_sigmoid"),
    "written out": by_hand,
    "half of tanh plus a half": lambda f, k: layers.Rescaling(0.5, 0.5)(layers.Activation("tanh")(k.dense(f))),
    "temperature, Rescaling": lambda f, k: as_layer(k)(layers.Rescaling(0.5)(k.dense(f))),
    "temperature, ops": lambda f, k: squash(k)(k.dense(f) / 2.0),
    "nested model": nested,
    "nested Sequential": nested_sequential,
    "TimeDistributed(activation)": per_step,
    "Reshape before": lambda f, k: squash(k)(layers.Reshape((k.units,))(k.dense(f))),
    "Reshape and Flatten after": lambda f, k: layers.Flatten()(layers.Reshape((1, k.units))(k.dense(f, k.squash))),
    "Dropout and Identity after": lambda f, k: layers.Identity()(layers.Dropout(0.3)(k.dense(f, k.squash))),
    "cast after": lambda f, k: ops.cast(squash(k)(k.dense(f, dtype="float64")), "float32"),
    "clipped": lambda f, k: ops.clip(k.dense(f, k.squash), 1e-6, 1 - 1e-6),
    "slice of all": lambda f, k: k.dense(f, k.squash)[:, : k.units],
    "two halves joined": parts,
    "average of two heads": ensemble,
    "softmax of pairs": softmax_pairs,
}  # fmt: skip
LOGITS: dict[str, Ending] = {
    "logits": lambda f, k: k.dense(f),
    "logits, Identity after": lambda f, k: layers.Identity()(k.dense(f)),
    "logits, clipped": lambda f, k: ops.clip(k.dense(f), -8, 8),
    "logits, normalised": lambda f, k: layers.BatchNormalization()(k.dense(f)),
    "tanh": lambda f, k: k.dense(f, "tanh"),
    "log_softmax or log_sigmoid": lambda f, k: k.dense(f, "log_softmax" if k.name == "classes" else "log_sigmoid"),
}  # fmt: skip
NONE: dict[str, Ending] = {
    "argmax or a decision": lambda f, k: ops.argmax(k.dense(f), axis=-1)
    if k.name == "classes" else ops.cast(k.dense(f) > 0, "int32"),
}  # fmt: skip


def outcome(kind: Kind, ending: Ending, work: Path, *, logits: bool | None) -> str:
    """Return how `evaluate` fares with an ending; None of `logits` expects a refusal."""
    keras.utils.set_random_seed(0)
    model = kind.model(ending)
    path = work / "model.keras"
    model.save(path)
    data = f"{work / kind.name}.npz"
    try:
        with contextlib.redirect_stdout(None):
            found = lrcompress.evaluate([path], dataset=data, scaling="as-is")[0]
    except LRCompressError as error:
        return f"refused: {error}"
    if logits is None:
        return f"wrong: said {found.value}, expected a refusal"
    error, loss = kind.keras_says(model, logits=logits)
    near = abs(found.value - error) < 1e-4 and abs(found.loss - loss) < 2e-4 * max(loss, 1)
    if found.measure == "rmse" or not near:
        said = f"{found.measure} {found.value:.4f}, loss {found.loss:.6f}"
        return f"wrong: said {said}; Keras {error:.4f} %, loss {loss:.6f}"
    return "right"


def sweep(work: Path) -> dict[str, str]:
    """Try every ending with every kind of labels."""
    cases = {}
    for name in UNITS:
        kind = Kind(name)
        x_train, x_test = kind.x[:TRAINING], kind.x[TRAINING:]
        y_train, y_test = kind.y[:TRAINING], kind.y[TRAINING:]
        np.savez(work / name, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
        for endings, logits in ((PROBABILITIES, False), (LOGITS, True), (NONE, None)):
            for what, ending in endings.items():
                cases[f"{name}: {what}"] = outcome(kind, ending, work, logits=logits)
    return cases
