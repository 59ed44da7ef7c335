"""The Python API in a training script: watch the rank while training, compress, train on.

    python in_training.py              # the bundled digits, under a minute
    python in_training.py --quick      # two epochs and one

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


class RankWatcher(keras.callbacks.Callback):
    """Says after each epoch how much of the head's kernel some ranks would keep."""

    def __init__(self, layer: str, ranks: tuple[int, ...]) -> None:
        super().__init__()
        self.layer, self.ranks = layer, ranks

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Factorize the kernel as it is, milliseconds each, and print the relative errors."""
        kernel = np.asarray(self.model.get_layer(self.layer).kernel)
        errors = [
            lrcompress.truncated_svd(kernel, r).certificate.frobenius_error for r in self.ranks
        ]
        said = ", ".join(f"rank {r}: {e:.3f}" for r, e in zip(self.ranks, errors, strict=True))
        print(f"epoch {epoch + 1}: relative error of the kernel at {said}")


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
watcher = RankWatcher("predictions", (2, 4, 8))
model.fit(x_train, y_train, epochs=EPOCHS, verbose=0, callbacks=[watcher])

# 3. One Dense becomes two. The model that was trained stays as it is.
result = lrcompress.factorize(model, rank=RANK)
small = result.model
print(
    [layer.name for layer in small.layers], f"{model.count_params():,} -> {small.count_params():,}"
)

# 4. It is compiled as the first one was: train on.
before = small.evaluate(x_test, y_test, verbose=0)[1]
small.fit(x_train, y_train, epochs=MORE, verbose=0)
after = small.evaluate(x_test, y_test, verbose=0)[1]
full = model.evaluate(x_test, y_test, verbose=0)[1]
print(
    f"test accuracy: {full:.4f} full, {before:.4f} factorized, {after:.4f} after {MORE} more epochs"
)
small.save("small.keras")
