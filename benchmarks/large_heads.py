"""Time and memory of the commands on heads of 10,000 to 1,000,000 classes.

    python benchmarks/large_heads.py --work DIR --output benchmarks/results/large-heads.json

Makes untrained networks with the class frequencies of words (Zipf) in DIR, 2.5 GB, and data sets of
integers beside them: words in, class numbers out, or the set of classes that hold. Each command is a fresh
process of its own. `--case` and `--command` take some of them. What is done is kept in --output and
not done again; all of it takes an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

COMMAND = [
    "python", "benchmarks/large_heads.py", "--work", "DIR",
    "--output", "benchmarks/results/large-heads.json",
]  # fmt: skip
# Words that the networks take in, and how wide their rows are.
WORDS, WIDTH = 10_000, 32
# Of the spectrum of the heads, and of the logits; logits of outputs that all may hold.
DECAY, SPREAD, RARE = 0.7, 2.0, -7.0


@dataclass(frozen=True)
class Case:
    """One head.

    Attributes:
        features: m.
        classes: n.
        rank: That the commands are given.
        train: Training samples.
        test: Test samples.
        steps: Predictions a sample.
        ending: softmax or sigmoid; the labels of a sigmoid are the classes that hold.
    """

    features: int
    classes: int
    rank: int
    train: int
    test: int = 1_000
    steps: int = 1
    ending: str = "softmax"


CASES = {
    "10000": Case(512, 10_000, 64, 20_000),
    "10000-steps": Case(256, 10_000, 64, 1_000, 250, 40),
    "10000-sigmoid": Case(512, 10_000, 64, 5_000, ending="sigmoid"),
    "50257": Case(768, 50_257, 128, 20_000),
    "50257-steps": Case(768, 50_257, 128, 1_000, 100, 20),
    "50257-sigmoid": Case(768, 50_257, 128, 2_000, 500, ending="sigmoid"),
    "1000000": Case(256, 1_000_000, 64, 5_000, 500),
}
# What each command is given; files stand in the case's own folder.
COMMANDS: dict[str, list[str]] = {
    "factorize": ["factorize", "model.keras", "--rank", "{rank}", "--method", "weighted",
                  "--dataset", "data.npz", "-o", "small.keras", "--overwrite"],
    "evaluate": ["evaluate", "model.keras", "small.keras", "--dataset", "data.npz"],
    "sweep": ["sweep", "model.keras", "--method", "weighted", "--ranks", "{rank},{half}",
              "--dataset", "data.npz"],
    "max-drop": ["factorize", "model.keras", "--max-drop", "{drop}", "--method", "weighted",
                 "--dataset", "data.npz", "-o", "dropped.keras", "--overwrite"],
    "finetune": ["finetune", "small.keras", "--scope", "head", "--epochs", "1", "--dataset", "data.npz",
                 "-o", "tuned.keras", "--overwrite"],
}  # fmt: skip


def head(case: Case) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a kernel whose singular values fall as those of trained heads do, and Zipf biases."""
    rng = np.random.default_rng(0)
    scale = (1.0 + np.arange(case.features, dtype=np.float32)) ** -DECAY
    turn = np.linalg.qr(rng.standard_normal((case.features, case.features)))[0]
    mixed = (turn * scale).astype(np.float32)
    # Block by block: the whole is large.
    kernel = np.empty((case.features, case.classes), np.float32)
    for start in range(0, case.classes, 65_536):
        part = kernel[:, start : start + 65_536]
        part[:] = mixed @ rng.standard_normal(part.shape, np.float32)
    kernel *= SPREAD / np.linalg.norm(scale)
    bias = -np.log(np.arange(case.classes) + 2.7).astype(np.float32)
    return kernel, bias + (0 if case.ending == "softmax" else RARE + np.log(case.classes) / 2)


def make(case: Case, folder: Path) -> None:
    """Write a network and a data set that was drawn from what it says."""
    import keras

    keras.utils.set_random_seed(0)
    steps = case.steps > 1
    words = keras.Input((case.steps,) if steps else (4,), dtype="int32", name="words")
    rows = keras.layers.Embedding(WORDS, WIDTH, embeddings_initializer="random_normal")(words)
    if not steps:
        rows = keras.layers.Flatten()(rows)
    rows = keras.layers.LayerNormalization()(rows)
    rows = keras.layers.Dense(case.features, "relu")(rows)
    features = keras.layers.LayerNormalization()(rows)
    outputs = keras.layers.Dense(case.classes, case.ending, name="head")(features)
    model, below = keras.Model(words, outputs), keras.Model(words, features)
    kernel, bias = head(case)
    model.get_layer("head").set_weights([kernel, bias])
    model.compile(
        loss="binary_crossentropy"
        if case.ending == "sigmoid"
        else "sparse_categorical_crossentropy"
    )
    model.save(folder / "model.keras")
    rng = np.random.default_rng(1)
    data = {}
    for part, samples in (("train", case.train), ("test", case.test)):
        x = np.minimum(rng.zipf(1.3, (samples, *words.shape[1:])), WORDS - 1).astype(np.int32)
        inputs = below.predict(x, batch_size=512, verbose=0).reshape(-1, case.features)
        drawn = [
            _drawn(inputs[i : i + 64] @ kernel + bias, case.ending, rng)
            for i in range(0, len(inputs), 64)
        ]
        y = np.concatenate(drawn)
        data |= {f"x_{part}": x, f"y_{part}": y.reshape(x.shape) if steps else y}
    np.savez_compressed(folder / "data.npz", **data)


def _drawn(logits: NDArray[np.float32], ending: str, rng: np.random.Generator) -> NDArray[Any]:
    """Return class numbers, or which classes hold, as likely as the logits say."""
    if ending == "sigmoid":
        return np.asarray(rng.random(logits.shape, np.float32) < 1 / (1 + np.exp(-logits)))
    logits -= logits.max(axis=1, keepdims=True)
    sums = np.exp(logits).cumsum(axis=1, dtype=np.float64)
    levels = rng.random((len(logits), 1)) * sums[:, -1:]
    return np.array([np.searchsorted(*pair) for pair in zip(sums, levels[:, 0], strict=True)])


def measured(command: list[str], folder: Path) -> dict[str, Any]:
    """Run a command as a process of its own; return its time, memory and last lines."""
    started = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    said = (folder / "log").read_text().splitlines()
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_megabytes": usage.ru_maxrss / 1024,
        "exit": process.returncode,
        # What it says of what was found; all of it where it failed.
        "said": [line.strip() for line in said if "perplexity" in line or "rank " in line][:6]
        if not process.returncode
        else said[-5:],
    }


def main() -> None:
    """Measure all cases, and write the figures after each command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--case", action="append", choices=CASES, help="default all")
    parser.add_argument("--command", action="append", choices=COMMANDS, help="default all")
    parser.add_argument("--again", action="store_true", help="measure what is there already, too")
    arguments = parser.parse_args()
    document: dict[str, Any] = {"cases": {}}
    if arguments.output.exists():
        document = json.loads(arguments.output.read_text(encoding="utf-8"))
    document |= {"command": COMMAND, "cores": os.cpu_count(), "machine": platform.machine()}
    for name in arguments.case or CASES:
        case, folder = CASES[name], arguments.work / name
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "data.npz").exists():
            # In a process of its own, so that its memory is given back.
            code = f"import large_heads as h; from pathlib import Path; h.make(h.CASES[{name!r}], Path('.'))"
            path = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    [str(Path(__file__).parent.resolve()), os.environ.get("PYTHONPATH", "")]
                ),
            }
            subprocess.run([sys.executable, "-c", code], cwd=folder, env=path, check=True)
        told = document["cases"].setdefault(name, {"settings": case.__dict__, "commands": {}})
        for verb, words in COMMANDS.items():
            wanted = verb in (arguments.command or COMMANDS)
            if not wanted or (verb in told["commands"] and not arguments.again):
                continue
            values = {
                "rank": case.rank, "half": case.rank // 2,
                "drop": "1%" if case.ending == "softmax" else "0.5",
            }  # fmt: skip
            given = [word.format(**values) for word in words]
            found = measured([sys.executable, "-m", "lrcompress", *given], folder)
            told["commands"][verb] = {"words": given, **found}
            print(name, verb, json.dumps(found), flush=True)
            arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
