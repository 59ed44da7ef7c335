"""A word-level language model, most of which is its last layer: made ready for lrcompress.

    python language_model.py --text books.txt.gz           # half an hour on two cores
    lrcompress factorize language_model.keras --dataset language_model.npz --reduction 0.56
    lrcompress finetune --epochs 1
    lrcompress report

Reads any text, plain or gzip, writes `language_model.keras` and `language_model.npz` to the current
directory; `--tiny` makes everything small enough for a page of text and a few seconds.
"""

from __future__ import annotations

import argparse
import gzip
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

# Words with their apostrophes, and every other mark for itself.
WORD = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")
UNKNOWN = "<unknown>"
# Passages of so many samples; every twentieth is test data, so that all of the text is in both.
PASSAGE, TEST_EVERY = 50, 20


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes:
        vocabulary: The commonest words, one of them standing for all others.
        steps: Words a sample; the network knows nothing before the first.
        embedding: Units of the embedding.
        units: Of the LSTM, and so inputs of the last layer.
        epochs: Passes over the training text.
        batch: Samples a step.
    """

    vocabulary: int = 10_000
    steps: int = 40
    embedding: int = 64
    units: int = 256
    epochs: int = 3
    batch: int = 32
    learning_rate: float = 3e-3
    dropout: float = 0.2


TINY = Size(
    vocabulary=40,
    steps=8,
    embedding=8,
    units=16,
    epochs=3,
    batch=8,
    learning_rate=2e-2,
    dropout=0.0,
)


def read_words(path: Path) -> list[str]:
    """Return the words and punctuation marks of a text, lower case."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return WORD.findall(file.read().lower())


def make_vocabulary(words: Sequence[str], size: int) -> list[str]:
    """Return the commonest words; the first stands for all that are not in it."""
    commonest = Counter(words).most_common(size - 1)
    return [UNKNOWN, *(word for word, _ in commonest)]


def make_dataset(
    words: Sequence[str], vocabulary: Sequence[str], steps: int
) -> dict[str, NDArray[np.int32]]:
    """Return x and y, (samples, steps): y is the word that follows, at every step."""
    numbers = {word: number for number, word in enumerate(vocabulary)}
    text = np.array([numbers.get(word, 0) for word in words], np.int32)
    samples = (len(text) - 1) // steps
    x = text[: samples * steps].reshape(samples, steps)
    y = text[1 : samples * steps + 1].reshape(samples, steps)
    is_test = np.arange(samples) // PASSAGE % TEST_EVERY == TEST_EVERY - 1
    if not is_test.any():  # a short text
        is_test = np.arange(samples) % TEST_EVERY == TEST_EVERY - 1
    return {
        "x_train": x[~is_test],
        "y_train": y[~is_test],
        "x_test": x[is_test],
        "y_test": y[is_test],
    }


def build_model(size: Size) -> keras.Model:
    """Return an untrained network that predicts the next word at every step."""
    return keras.Sequential(
        [
            keras.Input((size.steps,), dtype="int32", name="words"),
            keras.layers.Embedding(size.vocabulary, size.embedding, name="embedding"),
            keras.layers.LSTM(size.units, return_sequences=True, name="lstm"),
            keras.layers.Dropout(size.dropout, name="dropout"),
            keras.layers.Dense(size.vocabulary, activation="softmax", name="next_word"),
        ],
        name="language_model",
    )


def train(
    model: keras.Model,
    data: dict[str, NDArray[np.int32]],
    size: Size,
    callbacks: Sequence[Any] = (),
    verbose: int = 1,
) -> keras.callbacks.History:
    """Train a network on the training part of a text."""
    steps = size.epochs * -(-len(data["x_train"]) // size.batch)
    warm_up = steps // 20
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warm_up, alpha=0.01, warmup_target=size.learning_rate, warmup_steps=warm_up
    )
    # Gradients of recurrent networks are now and then far too long.
    model.compile(
        keras.optimizers.Adam(rate, clipnorm=1.0), "sparse_categorical_crossentropy",
        jit_compile=False,
    )  # fmt: skip
    return model.fit(
        data["x_train"], data["y_train"], batch_size=size.batch, epochs=size.epochs,
        callbacks=list(callbacks), verbose=verbose,
    )  # fmt: skip


def main() -> None:
    """Train a language model on a text and save it with its data set."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", type=Path, required=True, help="any text; .gz is unpacked")
    parser.add_argument("--tiny", action="store_true", help="a small network for a short text")
    arguments = parser.parse_args()
    size = TINY if arguments.tiny else Size()
    keras.utils.set_random_seed(0)
    words = read_words(arguments.text)
    vocabulary = make_vocabulary(words, size.vocabulary)
    data = make_dataset(words, vocabulary, size.steps)
    np.savez_compressed("language_model.npz", **data)
    model = build_model(size)
    train(model, data, size)
    model.save("language_model.keras")
    print(f"{len(words):,} words, {model.count_params():,} parameters")


if __name__ == "__main__":
    main()
