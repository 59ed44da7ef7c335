"""The Python API in a training script: watch the rank while training, compress, train on.

    python in_training.py              # the bundled digits, under a minute
    python in_training.py --quick      # two epochs and one
    KERAS_BACKEND=jax python in_training.py   # or torch: the same under another engine

No files are needed: the model stays in memory, and what comes out is a stock Keras model.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

import lrcompress

EPOCHS, MORE = (2, 1) if "--quick" in sys.argv else (12, 3)
RANK = 4


# 1. Your data and your model; here the digits that come with the package.
with np.load(Path(lrcompress.__file__).parent / "data" / "digits.npz") as arrays:
    x_train, y_train = arrays["x_train"] / 16.0, arrays["y_train"]
    x_test, y_test = arrays["x_test"] / 16.0, arrays["y_test"]
keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((8, 8)),
        keras.layers.Flatten(),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10, activation="softmax", name="predictions"),
    ]
)
model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy", metrics=["accuracy"])

# 2. Train as ever.
watcher = lrcompress.LowRankCallback()
model.fit(x_train, y_train, epochs=EPOCHS, verbose=0, callbacks=[watcher])
for epoch in watcher.history:
    said = ", ".join(f"{layer} {rank}" for layer, rank in epoch["ranks"].items())
    print(f"epoch {epoch['epoch'] + 1}: ranks that keep 95 % of the energy: {said}")

# 3. One Dense becomes two. The model that was trained stays as it is.
result = lrcompress.factorize(model, rank=RANK)
small = result.model
print(
    [layer.name for layer in small.layers], f"{model.count_params():,} -> {small.count_params():,}"
)

# 4. All layers at once, calibrated on the training data, to a half of the weights.
data = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
half = lrcompress.factorize(model, layers="all", reduction=0.5, dataset=data, scaling="as-is")
print(f"half of the weights: {half!r}")

# 5. A result is compiled as the first model was: train on.
before = small.evaluate(x_test, y_test, verbose=0)[1]
small.fit(x_train, y_train, epochs=MORE, verbose=0)
after = small.evaluate(x_test, y_test, verbose=0)[1]
full = model.evaluate(x_test, y_test, verbose=0)[1]
print(
    f"test accuracy: {full:.4f} full, {before:.4f} factorized, {after:.4f} after {MORE} more epochs"
)
small.save("small.keras")
