"""What low ranks cost networks whose last layer is most of them, nothing trained, by inputs without labels.

    LRCOMPRESS_DATA=DIR python benchmarks/vocabularies.py --work DIR \
        --output benchmarks/results/vocabularies.json

Three networks on books.txt.gz of that folder: the language model of examples/language_model.py with
10,000 and with 30,000 words, and a recommender: which of 10,000 words are among the 70 that follow
30 known ones, a sigmoid for each; the 200 commonest would be no news. Each is trained once and kept in
--work (the language models take half an hour and an hour on two cores; `--network` takes some). Each
factorization is a process of its own, with whatever it takes to calibrate and to choose.
`embedding,dense` makes both smaller under one budget; `layers` says what each got.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import keras
import numpy as np
from large_heads import measured

import lrcompress
from lrcompress.live import engine

# The example has the name of a benchmark beside this file.
_spec = spec_from_file_location(
    "words", Path(__file__).parent.parent / "examples" / "language_model.py"
)
example: Any = module_from_spec(_spec)  # type: ignore[arg-type]
sys.modules["words"] = example
_spec.loader.exec_module(example)  # type: ignore[union-attr]

BOOKS = "books.txt.gz"
COMMAND = [
    "python", "benchmarks/vocabularies.py", "--work", "DIR",
    "--output", "benchmarks/results/vocabularies.json",
]  # fmt: skip
# Of the parameters of the whole model.
SHARES = (0.40, 0.54, 0.68)
# `whitened` is what there was before heads of many classes got methods of their own.
METHODS = ("whitened", "weighted", "auto")
# Embedding and head under one budget: the same share saved of the whole model, shared out by what each loses.
BOTH = "embedding,dense"
# Of each layer that got smaller.
LAYER = ("name", "form", "rank", "size", "parameters_before", "parameters_after", "share")
# Words that are known, those to come after them, and from one sample to the next.
KNOWN, AHEAD, STRIDE = 30, 70, 25
# Samples in a row that are of one part, and how many such blocks make one of test data.
BLOCK, TEST_EVERY = 80, 20
# Words so common that nobody would recommend them.
COMMON = 200


def language_model(folder: Path, text: Path, size: Any) -> None:  # noqa: ANN401  # the example's
    """Train a language model and write its data."""
    words = example.read_words(text)
    data = example.make_dataset(words, example.make_vocabulary(words, size.vocabulary), size.steps)
    model = example.build_model(size)
    example.train(model, data, size, [keras.callbacks.BackupAndRestore(str(folder / "backup"))], 2)
    keep(model, data, folder)


def recommender(folder: Path, text: Path, size: Any) -> None:  # noqa: ANN401
    """Train a network that tells which words are still to come, and write its data."""
    words = example.read_words(text)
    vocabulary = example.make_vocabulary(words, size.vocabulary + COMMON)
    numbers = {word: number for number, word in enumerate(vocabulary)}
    text_of = np.array([numbers.get(word, 0) for word in words], np.int32)
    every = np.lib.stride_tricks.sliding_window_view(text_of, KNOWN + AHEAD)[::STRIDE]
    x, y = every[:, :KNOWN], np.zeros((len(every), size.vocabulary), np.bool_)
    for row, to_come in zip(y, every[:, KNOWN:], strict=True):
        row[to_come[to_come >= COMMON] - COMMON] = True
    test = np.arange(len(x)) // BLOCK % TEST_EVERY == 0
    data = {"x_train": x[~test], "y_train": y[~test], "x_test": x[test], "y_test": y[test]}
    model = keras.Sequential(
        [
            keras.Input((KNOWN,), dtype="int32"),
            keras.layers.Embedding(len(vocabulary), size.embedding),
            keras.layers.GlobalAveragePooling1D(),
            # The mean of thirty small rows is next to nothing.
            keras.layers.LayerNormalization(),
            keras.layers.Dense(size.units, "relu"),
            keras.layers.Dropout(size.dropout),
            keras.layers.Dense(size.vocabulary, "sigmoid", name="to_come"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(size.learning_rate), "binary_crossentropy", jit_compile=False
    )
    model.fit(x[~test], y[~test], batch_size=size.batch, epochs=size.epochs, verbose=2)
    keep(model, data, folder)


def keep(model: keras.Model, data: dict[str, Any], folder: Path) -> None:
    """Write a network, its data, and the inputs alone."""
    np.savez_compressed(folder / "data.npz", **data)
    np.savez_compressed(folder / "inputs.npz", x_train=data["x_train"])
    model.save(folder / "full.keras")


NETWORKS = {
    "words-10000": (language_model, example.Size()),
    "words-30000": (language_model, example.Size(vocabulary=30_000)),
    "recommender": (recommender, example.Size(units=512, batch=64, epochs=6, learning_rate=2e-3)),
}


def rank_that_saves(shape: tuple[int, int], parameters: int, share: float) -> int:
    """Return the largest rank of a kernel that saves so much of a whole model."""
    m, n = shape
    return int((m * n - share * parameters) / (m + n))


def figures(path: Path, folder: Path) -> dict[str, Any]:
    """Return what test data tell of a model."""
    (found,) = lrcompress.evaluate(path, dataset=str(folder / "data.npz"))
    return {"loss": found.loss, **found.figures}


def measure(folder: Path, methods: list[str]) -> dict[str, Any]:
    """Return what each method costs at each share, and how long it takes."""
    full = folder / "full.keras"
    model = keras.saving.load_model(full, compile=False)
    shape, parameters = model.layers[-1].kernel.shape, model.count_params()
    original = figures(full, folder)
    rows = []
    for share in SHARES:
        rank = rank_that_saves(shape, parameters, share)
        for method in methods:
            words = ["--rank", str(rank), "--method", method]
            small = folder / f"{method}-{rank}.keras"
            if method == BOTH:
                words = ["--layers", BOTH, "--reduction", str(share)]
                small = folder / f"both-{share}.keras"
            words = ["factorize", full.name, *words, "--dataset", "inputs.npz", "-o", small.name]
            spent = measured([sys.executable, "-m", "lrcompress", *words, "--overwrite"], folder)
            if spent["exit"]:
                raise SystemExit("\n".join(spent["said"]))
            record = json.loads(small.with_suffix(".lrcompress.json").read_text(encoding="utf-8"))
            found = figures(small, folder)
            # Of losses, the exponential of the difference is the factor on perplexity; that of yes or no for
            # each of thousands of words has none.
            more = found["loss"] - original["loss"]
            risen = math.expm1(more) if "perplexity" in found else more / original["loss"]
            row = {
                "method": method, "method_used": record["method"], "saved": share,
                "layers": [{key: layer.get(key) for key in LAYER} for layer in record["layers"]],
                "risen": 100 * risen, **found, **spent,
            }  # fmt: skip
            if method != BOTH:
                row["rank"] = rank
            rows.append(row)
            print(folder.name, json.dumps(row), flush=True)
    return {"parameters": parameters, "kernel": list(shape), "original": original, "rows": rows}


def main() -> None:
    """Train what is not there, measure all, and write the figures after each network."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--network", action="append", choices=NETWORKS, help="default all")
    parser.add_argument("--method", action="append", choices=(*METHODS, BOTH), help="default all")
    arguments = parser.parse_args()
    text = Path(os.environ.get("LRCOMPRESS_DATA", "")) / BOOKS
    if not text.is_file():
        print(f"skipped: {BOOKS} is not in the folder that LRCOMPRESS_DATA names")
        return
    document: dict[str, Any] = {"networks": {}}
    if arguments.output.exists():
        document = json.loads(arguments.output.read_text(encoding="utf-8"))
    document |= {
        "command": COMMAND, "versions": engine.versions(),
        "machine": platform.machine(), "cores": os.cpu_count(),
    }  # fmt: skip
    for name in arguments.network or NETWORKS:
        folder, (train, size) = arguments.work / name, NETWORKS[name]
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "full.keras").exists():
            keras.utils.set_random_seed(0)
            train(folder, text, size)
        found = measure(folder, arguments.method or [*METHODS, BOTH])
        document["networks"][name] = {"settings": size.__dict__, **found}
        arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
