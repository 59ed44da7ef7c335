"""Whole networks made smaller: points of test error lost, nothing trained, no labels, on the whole test data.

    python benchmarks/whole_network.py --goal resnet-50 --seeds 3
    python benchmarks/whole_network.py --goal resnet-50 --goal resnet-75 --without-data
    python benchmarks/whole_network.py --seeds 3 --missing

The last one goes on where it was stopped: a result is kept as soon as it is there. Each goal is a
network, a budget and what may be lost. The networks and their data are looked for in the folders
that LRCOMPRESS_NETWORKS, LRCOMPRESS_MLPERF_TINY and LRCOMPRESS_DATA name. Results go to
benchmarks/results/whole-network.json, one entry a goal, seed and way.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lrcompress.compression.network import Observe

RESULTS = Path(__file__).parent / "results" / "whole-network.json"
INPUTS = 3_000
# Of them, to judge by; the others are calibrated on.
JUDGE = 500


@dataclass(frozen=True)
class Task:
    """A network, inputs of it, and how it is scored: lower is better.

    Attributes:
        model: The file.
        train: Unlabelled inputs to draw from.
        score: From all outputs on the test data to points lost against 0, lower better.
        test: Test inputs.
        unit: Of the score.
        labels: Of training and test inputs, where there are classes.
    """

    model: Path
    train: NDArray[Any]
    test: NDArray[Any]
    score: Callable[[NDArray[Any]], float]
    unit: str = "% error"
    inputs: int = INPUTS
    judge: int = JUDGE
    labels: tuple[NDArray[Any], NDArray[Any]] | None = None


def folder(name: str) -> Path:
    """Return the folder that an environment variable names."""
    if not os.environ.get(name):
        sys.exit(f"skipped: {name} names no folder")
    return Path(os.environ[name])


def labels_of(data: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the class numbers of training and test inputs."""
    return data["y_train"].reshape(-1), data["y_test"].reshape(-1)


def wrong(labels: NDArray[Any]) -> Callable[[NDArray[Any]], float]:
    """Return the error rate in percent."""
    truth = labels.reshape(-1)
    return lambda outputs: 100 * float((outputs.argmax(-1) != truth).mean())


def resnet() -> Task:
    """CIFAR-100 ResNet."""
    data = np.load(folder("LRCOMPRESS_DATA") / "cifar100.npz")
    x, test = (data[k].astype(np.float32) / 255 for k in ("x_train", "x_test"))
    path = folder("LRCOMPRESS_NETWORKS") / "cifar100_resnet.keras"
    return Task(path, x, test, wrong(data["y_test"]), labels=labels_of(data))


def books(which: str) -> Task:
    """Which of ten books."""
    data = np.load(folder("LRCOMPRESS_NETWORKS") / "books_authors.npz")
    path = folder("LRCOMPRESS_NETWORKS") / f"books_{which}.keras"
    x, test = data["x_train"], data["x_test"]
    return Task(path, x, test, wrong(data["y_test"]), labels=labels_of(data))


def paper(which: str) -> Task:
    """The paper's network, at the place that LRCOMPRESS_PAPER_MNIST or LRCOMPRESS_PAPER_CIFAR100 names."""
    data = np.load(folder("LRCOMPRESS_DATA") / f"{which}.npz")
    x, test = (data[k].astype(np.float32) / 255 for k in ("x_train", "x_test"))
    if x.ndim == 3:
        x, test = x[..., None], test[..., None]
    path = folder(f"LRCOMPRESS_PAPER_{which.upper()}")
    return Task(path, x, test, wrong(data["y_test"]), labels=labels_of(data))


def resnet8() -> Task:
    """MLPerf Tiny image classification, on JPEG copies of CIFAR-10."""
    tiny = folder("LRCOMPRESS_MLPERF_TINY")
    data = np.load(tiny / "cifar10_jpeg.npz")
    x, test = (data[k].astype(np.float32) for k in ("x_train", "x_test"))
    return Task(tiny / "pretrainedResnet.h5", x, test, wrong(data["y_test"]), "% error", 2_000, 400)


def anomaly() -> Task:
    """MLPerf Tiny anomaly detection: 100 (1 - AUC), the mean over four machines."""
    tiny = folder("LRCOMPRESS_MLPERF_TINY")
    data = np.load(tiny / "ad01.npz")
    logmel, anomaly, machine, is_test = (
        data[k] for k in ("logmel", "anomaly", "machine", "is_test")
    )

    def windows(files: NDArray[Any]) -> NDArray[np.float32]:
        """Return five frames in a row, flattened, 196 a file."""
        frames = files.astype(np.float32)
        parts = [frames[:, i : i + 196] for i in range(5)]
        return np.concatenate(parts, axis=-1).reshape(-1, 640)

    test = windows(logmel[is_test])
    truth, of = anomaly[is_test].astype(bool), machine[is_test]

    def score(outputs: NDArray[Any]) -> float:
        scores = ((outputs - test) ** 2).mean(-1).reshape(len(truth), 196).mean(-1)
        return 100 * (
            1 - float(np.mean([_auc(scores[of == m], truth[of == m]) for m in np.unique(of)]))
        )

    train = windows(logmel[~is_test])
    return Task(tiny / "ad01.h5", train, test, score, "100 (1 - AUC)", 20_000, 2_000)


def _auc(scores: NDArray[Any], truth: NDArray[Any]) -> float:
    order = np.argsort(np.argsort(scores, kind="stable")) + 1
    positive = truth.sum()
    return float((order[truth].sum() - positive * (positive + 1) / 2) / (positive * (~truth).sum()))


# Name: task, budget, value, points that may be lost, the prototype's.
GOALS: dict[str, tuple[Callable[[], Task], str, float, float, float]] = {
    "resnet-50": (resnet, "reduction", 0.5, 0.9, 1.2),
    "resnet-75": (resnet, "reduction", 0.75, 5.0, 7.0),
    "resnet-multiplications-50": (resnet, "multiplications", 0.5, 1.0, 1.7),
    "lstm-93": (lambda: books("lstm"), "reduction", 0.93, 0.3, 0.36),
    "transformer-75": (lambda: books("transformer"), "reduction", 0.75, 0.5, 0.74),
    "transformer-90": (lambda: books("transformer"), "reduction", 0.90, 3.0, 6.3),
    "cifar100-80": (lambda: paper("cifar100"), "reduction", 0.80, 1.5, 2.2),
    "cifar100-90": (lambda: paper("cifar100"), "reduction", 0.90, 6.0, 7.8),
    "mnist-93": (lambda: paper("mnist"), "reduction", 0.93, 0.2, 0.30),
    "mnist-96": (lambda: paper("mnist"), "reduction", 0.96, 0.6, 0.87),
    "mnist-multiplications-90": (lambda: paper("mnist"), "multiplications", 0.9, 0.4, 0.61),
    "resnet8-30": (resnet8, "reduction", 0.30, 1.0, 1.7),
    "resnet8-50": (resnet8, "reduction", 0.50, 5.0, 6.7),
    "ad01-50": (anomaly, "reduction", 0.50, 0.5, 1.15),
    "ad01-80": (anomaly, "reduction", 0.80, 4.0, 5.9),
}

# The same without any data, on inputs that the networks' own normalizations describe.
WITHOUT = {
    "resnet-50": (1.2, 1.6), "resnet-75": (8.0, 10.7), "resnet8-30": (2.0, 3.1),
    "resnet8-50": (5.0, 6.2), "ad01-50": (3.0, 4.5), "ad01-80": (5.0, 7.2),
}  # fmt: skip


@functools.lru_cache(maxsize=1)
def synthetic(model: Path, seed: int) -> Observe | None:
    """Return the synthetic inputs of a network, which serve all goals that are measured in a row."""
    from lrcompress.modelfile import open_model
    from lrcompress.verbs.networks.compress import synthetic_networks

    return synthetic_networks(open_model(model), seed).observe


def measure(goal: str, seed: int, *, without_data: bool = False) -> dict[str, Any]:
    """Compress one network and score it."""
    from lrcompress.compression.network import NetworkRequest, compress
    from lrcompress.live import storing
    from lrcompress.live.evaluate import NetworkTrial
    from lrcompress.live.network import Networks
    from lrcompress.live.predict import predict_all
    from lrcompress.lowrank import one_blas_thread
    from lrcompress.modelfile import open_model, write_changed

    make, budget, value, may, prototype = GOALS[goal]
    task = make()
    draw = np.random.default_rng(seed).permutation(len(task.train))[: task.inputs]
    some = task.train[draw]
    opened = open_model(task.model)
    original = storing.load_model(task.model)
    networks: Any = Networks(some[task.judge :], some[: task.judge], original=original)
    started, cpu_started = time.perf_counter(), time.process_time()
    if without_data:
        may, prototype = WITHOUT[goal]
        networks = synthetic(task.model, seed)
    with tempfile.TemporaryDirectory() as made:
        request = NetworkRequest(budget=(budget, value))  # type: ignore[arg-type]
        # As the commands do.
        with one_blas_thread():
            found = compress(opened, request, networks, Path(made))
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started
        path = Path(made) / f"small{task.model.suffix}"
        written = write_changed(found.model, found.edits, path)
        small = storing.load_model(path)
        scores = []
        for model in (original, small):
            (outputs,) = predict_all(model, task.test).values()
            scores.append(task.score(outputs))
        # From all of it: the first windows of the anomaly detector's are of a few files alike.
        real = NetworkTrial(original, task.test[:: -(-len(task.test) // 2_000)], None)
        true = real.of(small, "small").output_error
    return {
        "goal": goal, "seed": seed, "budget": budget, "value": value,
        "parameters_before": opened.parameters, "parameters_after": written.parameters,
        "saved": 1 - written.parameters / opened.parameters,
        "before": scores[0], "after": scores[1], "lost": scores[1] - scores[0], "unit": task.unit,
        "may_lose": may, "prototype": prototype, "seconds": seconds,
        "cpu_seconds": cpu_seconds, "inputs": task.inputs,
        "without_data": without_data, "true_error": true,
        "predicted": found.predicted, "measured": found.measured and found.measured.output_error,
        "layers": [f"{c.path}: {c.form} {c.size}/{c.largest}" for c in found.layers],
    }  # fmt: skip


def main() -> None:
    """Run the goals that are asked for, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--goal", action="append", choices=[*GOALS], help="default: all")
    parser.add_argument("--without-data", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--missing", action="store_true", help="only what has no result yet")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    without = arguments.without_data
    # Goals of one network in a row, so that its synthetic inputs are made once a seed.
    goals = arguments.goal or [*(WITHOUT if without else GOALS)]
    cells = [(goal, seed) for seed in range(arguments.seeds) for goal in goals]
    for goal, seed in cells:
        name = f"{goal}, seed {seed}{', without data' if without else ''}"
        if not (arguments.missing and name in known):
            known[name] = row = measure(goal, seed, without_data=without)
            print(json.dumps(row), flush=True)
            known["command"] = ["python", "benchmarks/whole_network.py"]
            arguments.output.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
