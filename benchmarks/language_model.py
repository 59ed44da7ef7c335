"""What a rank costs a word-level language model, most of which is its last layer, and what it saves.

    LRCOMPRESS_DATA=DIR python benchmarks/language_model.py --work DIR \
        --output benchmarks/results/language-model.json

Trains the network of examples/language_model.py on books.txt.gz of that folder, measures perplexity
and next-word error at many ranks, recovers the rank that saves 40 % of the whole model with a tenth
of its training, and times both. What is done is kept in --work and not done again; the speeds are
measured last, in turns, and only their ratios say much on a machine that does other work.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

import lrcompress
from lrcompress.live import engine, storing
from lrcompress.live.layers import layer_inputs
from lrcompress.lowrank import Factors, Problem, factorize_ranks

# Before this folder, where this file has the example's own name.
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import language_model as example
from language_model_speed import speed

BOOKS = "books.txt.gz"
HEAD = "next_word"
CLOSED_RANKS = (208, 176, 160, 144, 128, 111, 96, 80, 64, 48, 32, 16)
CLOSED = ("svd", "centered", "whitened")
REFINED_RANKS = (111, 32)
# Training samples that the methods may look at: 40 words each.
CALIBRATION = 1_000
# The methods are compared on every so-manieth test sample.
SWEEP_STEP = 4
# Of the parameters of the whole model.
REDUCTION = 0.40
# Recovery begins from it: the best of the methods that take seconds.
METHOD = "whitened"
# Of the samples of the full training that recovery may see, each once.
RECOVERY = 0.10
BLOCK = 512
COMMAND = [
    "python", "benchmarks/language_model.py", "--work", "DIR",
    "--output", "benchmarks/results/language-model.json",
]  # fmt: skip


class Bench:
    """The data, the trained network and a folder of what is already known."""

    def __init__(self, text: Path, work: Path, size: example.Size) -> None:
        """Read the text; train the network unless that is done."""
        self.work, self.size = work, size
        work.mkdir(parents=True, exist_ok=True)
        words = example.read_words(text)
        vocabulary = example.make_vocabulary(words, size.vocabulary)
        self.data = example.make_dataset(words, vocabulary, size.steps)
        self.about = {
            "words": len(words),
            "vocabulary": len(vocabulary),
            "train_samples": len(self.data["x_train"]),
            "test_samples": len(self.data["x_test"]),
            "settings": size.__dict__,
        }
        self.dataset = work / "books.npz"
        if not self.dataset.exists():
            np.savez_compressed(self.dataset, **self.data)
        self.full = work / "full.keras"
        self.training = self.kept("full", self._train)
        self.model = storing.load_model(self.full)
        head = self.model.get_layer(HEAD)
        self.kernel, self.bias = (np.asarray(weight) for weight in head.get_weights())

    def kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what an earlier run measured, or measure it now."""
        path = self.work / f"{name}.json"
        if not path.exists():
            print(f"{name} ...", flush=True)
            path.write_text(json.dumps(make(), indent=2) + "\n", encoding="utf-8")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def _train(self) -> dict[str, Any]:
        keras.utils.set_random_seed(0)
        model = example.build_model(self.size)
        resume = keras.callbacks.BackupAndRestore(str(self.work / "backup"))
        started = time.perf_counter()
        history = example.train(model, self.data, self.size, [resume], verbose=2)
        model.save(self.full)
        return {"seconds": time.perf_counter() - started, "loss": history.history["loss"]}


def ranks(bench: Bench, methods: tuple[str, ...], wanted: tuple[int, ...]) -> dict[str, Any]:
    """Return perplexity and error at many ranks, without training the network."""
    some = bench.data["x_train"][:: len(bench.data["x_train"]) // CALIBRATION]
    inputs = layer_inputs(bench.model, HEAD, some)
    x_test, y_test = (bench.data[key][::SWEEP_STEP] for key in ("x_test", "y_test"))
    test = layer_inputs(bench.model, HEAD, x_test).reshape(-1, bench.size.units)
    y = y_test.reshape(-1)
    rows, seconds = [], {}
    for method in methods:
        started = time.perf_counter()
        problem = Problem(bench.kernel, bench.bias, softmax=True, inputs=inputs)
        found = factorize_ranks(problem, wanted, method)
        seconds[method] = time.perf_counter() - started
        for rank in wanted:
            row = {"method": method, "method_used": found[rank].method, "rank": rank}
            rows.append(row | saved(bench, rank) | head_measure(bench, test, y, found[rank]))
            print(rows[-1], flush=True)
    return {
        "test_words": len(y),
        "calibration_inputs": int(np.prod(inputs.shape[:-1])),
        "original": head_measure(bench, test, y, None),
        "rows": rows,
        "seconds": seconds,
    }


def saved(bench: Bench, rank: int) -> dict[str, float]:
    """Return the shares of the head and of the model that a rank saves."""
    m, n = bench.kernel.shape
    fewer = m * n - rank * (m + n)
    return {
        "layer_reduction": fewer / (m * n),
        "model_reduction": fewer / bench.model.count_params(),
    }


def head_measure(
    bench: Bench, x: NDArray[np.float32], y: NDArray[np.int32], factors: Factors | None
) -> dict[str, float]:
    """Return perplexity and next-word error in percent of a head on its test inputs, (k, m)."""
    bias = bench.bias if factors is None or factors.bias is None else factors.bias
    loss, wrong = 0.0, 0
    for start in range(0, len(x), BLOCK):
        rows, words = x[start : start + BLOCK], y[start : start + BLOCK]
        logits = rows @ bench.kernel if factors is None else rows @ factors.B @ factors.C
        logits += bias
        logits -= logits.max(axis=1, keepdims=True)
        own = logits[np.arange(len(words)), words]
        loss += float((np.log(np.exp(logits).sum(axis=1)) - own).sum(dtype=np.float64))
        wrong += int((own < 0).sum())
    return {"perplexity": math.exp(loss / len(x)), "error_rate": 100 * wrong / len(x)}


def rank_that_saves(bench: Bench, share: float) -> int:
    """Return the largest rank that saves so much of the whole model."""
    m, n = bench.kernel.shape
    return int((m * n - share * bench.model.count_params()) / (m + n))


def recovery_data(bench: Bench) -> Path:
    """Write and return a data set with a tenth of the samples that the full training went through.

    lrcompress keeps a tenth of them for validation, so that training sees even less.
    """
    path = bench.work / "recovery.npz"
    count = int(RECOVERY * bench.size.epochs * len(bench.data["x_train"]))
    picked = np.sort(np.random.default_rng(0).permutation(len(bench.data["x_train"]))[:count])
    some = {key: array[picked] if "train" in key else array for key, array in bench.data.items()}
    np.savez_compressed(path, **some)
    return path


def recovery(bench: Bench, rank: int) -> dict[str, Any]:
    """Return what a rank loses on the test text, and after a tenth of the training."""
    small = bench.work / f"rank{rank}.keras"
    started = time.perf_counter()
    lrcompress.factorize(
        bench.full, rank=rank, method=METHOD, dataset=str(bench.dataset), output=small,
        overwrite=True,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    return {"rank": rank, "factorize_seconds": seconds} | finetuned(bench, small, small)


def finetuned(bench: Bench, model: Path, name: Path) -> dict[str, Any]:
    """Fine-tune a model for a tenth of the training and return what it was and became."""
    output = name.with_stem(f"{name.stem}-finetuned")
    data = recovery_data(bench)
    tuned = lrcompress.finetune(model, epochs=1, dataset=str(data), output=output, overwrite=True)
    stages = {stage["name"]: stage for stage in lrcompress.report(tuned.record)["stages"]}
    for stage in stages.values():
        stage["perplexity"] = math.exp(stage["loss"])
    return {
        "samples": len(np.load(data)["x_train"]),
        "finetune_seconds": tuned.seconds,
        "history": tuned.history,
        # None for a model that was not factorized.
        "original": stages.get("original"),
        "before": stages["factorized"],
        "after": stages["finetuned"],
        "model": output.name,
    }


def main() -> None:
    """Measure, part by part, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--refined", action="store_true", help="descend too, which takes longest")
    arguments = parser.parse_args()
    text = Path(os.environ.get("LRCOMPRESS_DATA", "")) / BOOKS
    if not text.is_file():
        print(f"skipped: {BOOKS} is not in the folder that LRCOMPRESS_DATA names")
        return
    bench = Bench(text, arguments.work, example.Size())
    rank = rank_that_saves(bench, REDUCTION)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "ranks": lambda: ranks(bench, CLOSED, CLOSED_RANKS),
        "recovery": lambda: recovery(bench, rank),
        "speed": lambda: speed(
            bench.full, bench.work / document["recovery"]["model"], bench.data, bench.size.batch
        ),
        # A model that was not factorized has no original to learn from: the labels alone teach it.
        "full_again": lambda: finetuned(bench, bench.full, bench.full),
    }
    if arguments.refined:
        parts["refined"] = lambda: ranks(bench, ("refined",), REFINED_RANKS)
    document: dict[str, Any] = {
        "command": COMMAND,
        "versions": engine.versions() | {"numpy": np.__version__},
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "text": bench.about,
        "parameters": bench.model.count_params(),
        "kernel": list(bench.kernel.shape),
        "training": bench.training,
        "method": METHOD,
    }
    for name, measure in parts.items():
        document[name] = bench.kept(name, measure)
        arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
