"""How inputs were scaled in training: found, or asked for.

Small networks are trained on images and tables scaled in the ways that people scale them; `evaluate`
sees the raw inputs. Right is Keras' own error on what the network was trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers
from keras.applications.imagenet_utils import preprocess_input

import lrcompress
from lrcompress.errors import LRCompressError

TRAINING = 1000


def per_image(x: Any) -> Any:
    """Return images less their own means, by their own deviations."""
    axes = (1, 2, 3)
    return (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)


STYLES: dict[str, Callable[[Any], Any]] = {
    "as they are": lambda x: x,
    "/255": lambda x: x / 255,
    "/127.5-1": lambda x: x / 127.5 - 1,
    "x - 128": lambda x: x - 128,
    "caffe": lambda x: preprocess_input(x.copy(), mode="caffe"),
    "torch": lambda x: preprocess_input(x.copy(), mode="torch"),
    "BGR": lambda x: x[..., ::-1],
    "BGR / 255": lambda x: x[..., ::-1] / 255,
    "standardized": lambda x: (x - x.mean((0, 1, 2))) / x.std((0, 1, 2)),
    "each image": per_image,
    "square root": lambda x: np.sqrt(x / 255),
    "inverted": lambda x: 1 - x / 255,
}


def plain() -> list[Any]:
    """Return the layers of a small convolutional network."""
    return [layers.Conv2D(12, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten()]


NETWORKS: dict[str, Callable[[], list[Any]]] = {
    "convolutions": plain,
    "dense": lambda: [layers.Flatten(), layers.Dense(32, "relu")],
    "normalised": lambda: [
        layers.Conv2D(12, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(),
    ],
    "global pooling": lambda: [
        layers.Conv2D(24, 3, activation="relu"), layers.GlobalAveragePooling2D(), layers.Dense(32, "relu"),
    ],
    "scales itself": lambda: [layers.Rescaling(1 / 128), *plain()],
}  # fmt: skip


def pictures() -> tuple[Any, Any]:
    """Return coloured digits in noise: bytes, (samples, 8, 8, 3), and classes."""
    from lrcompress.data.sources import load

    data = load("digits", None)
    grey = np.concatenate([data.x_train, data.x_test]).reshape(-1, 8, 8, 1).astype("f4") * 12
    draw = np.random.default_rng(0)
    colour = grey * [0.9, 0.6, 0.3] + [20, 40, 60] + draw.normal(size=(len(grey), 8, 8, 3)) * 30
    return np.clip(colour, 0, 255).astype(np.uint8), np.concatenate([data.y_train, data.y_test])


def sweep(work: Path) -> dict[str, str]:
    """Train each network on each style and evaluate it on raw images; then tables."""
    raw, y = pictures()
    np.savez(work / "images", x_train=raw[:TRAINING], y_train=y[:TRAINING],
             x_test=raw[TRAINING:], y_test=y[TRAINING:])  # fmt: skip
    cases = {}
    for network, make in NETWORKS.items():
        for style, scale in STYLES.items():
            x = np.asarray(scale(raw.astype("f4")), "f4")
            cases[f"{network}: {style}"] = outcome(make(), x, y, work / "images.npz")
    for seed in range(4):
        draw = np.random.default_rng(seed)
        labels = draw.integers(0, 12, 1600)
        table = (draw.normal(size=(12, 16)) * 2)[labels] + 2.2 * draw.normal(size=(1600, 16))
        table = table.astype("f4")
        np.savez(work / "table", x_train=table[:TRAINING], y_train=labels[:TRAINING],
                 x_test=table[TRAINING:], y_test=labels[TRAINING:])  # fmt: skip
        cases[f"table {seed}"] = outcome(
            [layers.Dense(64, "relu")], table, labels, work / "table.npz"
        )
    return cases


def outcome(hidden: list[Any], x: Any, y: Any, data: Path) -> str:
    """Train a network on scaled inputs, and say what `evaluate` makes of it on the raw ones."""
    keras.utils.set_random_seed(0)
    classes = int(y.max()) + 1
    network = keras.Sequential(
        [keras.Input(x.shape[1:]), *hidden, layers.Dense(classes, "softmax")]
    )
    network.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    network.fit(x[:TRAINING], y[:TRAINING], epochs=8, verbose=0)
    path = data.with_name("model.keras")
    network.save(path)
    error = 100 * float(np.mean(network.predict(x[TRAINING:], verbose=0).argmax(1) != y[TRAINING:]))
    try:
        (found,) = lrcompress.evaluate([path], dataset=str(data))
    except LRCompressError as refusal:
        return f"refused: {refusal}"
    said = f"{found.error_rate:.2f} % ({found.scaling}); Keras {error:.2f} %"
    return f"{'right' if abs(found.value - error) < 1 else 'wrong'}: {said}"
