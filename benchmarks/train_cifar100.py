"""Train the paper's CIFAR-100 network by Adam, for a few epochs, as the head benchmarks use it.

    python benchmarks/train_cifar100.py --output DIR/cifar100-adam.keras

The published recipe (RMSprop at 1e-4, 50 epochs) takes hours on two cores and is
`lrcompress train-from-scratch --dataset cifar100 --ranks full`. Adam at its default rate comes
within a few points of it in ten epochs. The state is saved after each epoch, and the same command
goes on from there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import keras
import numpy as np

from lrcompress.data import sources
from lrcompress.data.scaling import parse
from lrcompress.live import engine
from lrcompress.live.evaluate import evaluate
from lrcompress.live.storing import save_model
from lrcompress.studies.networks import RECIPES

SEED = 0


def main() -> None:
    """Train, saving after every epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=10)
    arguments = parser.parse_args()
    recipe = RECIPES["cifar100"]
    data = sources.load("cifar100")
    scaling = parse(recipe.scaling, data.x_train)
    keras.utils.set_random_seed(SEED)
    model = recipe.build(None)
    model.compile(
        optimizer=keras.optimizers.Adam(), loss="categorical_crossentropy", metrics=["accuracy"],
        jit_compile=engine.jit_compile(),
    )  # fmt: skip
    kept = arguments.output.with_suffix(".state.keras")
    log = arguments.output.with_suffix(".csv")
    done = len(log.read_text().splitlines()) - 1 if log.exists() and kept.exists() else 0
    if done:
        model = keras.saving.load_model(kept)
    started = time.perf_counter()
    model.fit(
        scaling(data.x_train), keras.utils.to_categorical(data.y_train, recipe.classes),
        batch_size=recipe.batch_size, initial_epoch=max(done, 0), epochs=arguments.epochs, verbose=2,
        callbacks=[keras.callbacks.CSVLogger(log, append=done > 0), keras.callbacks.ModelCheckpoint(kept)],
    )  # fmt: skip
    origin = {"dataset": "cifar100", "scaling": recipe.scaling}
    save_model(model, arguments.output, origin)
    result = evaluate(model, scaling(data.x_test), np.asarray(data.y_test))
    print(f"test error {result.error_rate:.2f} %, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
