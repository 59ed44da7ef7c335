"""Time and peak memory of `factorize` on small and large files, against `cp` and against Keras.

    python benchmarks/scale.py --work DIR --output benchmarks/results/scale.json

Makes its model files in DIR (3 GB): the paper's MNIST network, VGG16 with random weights, and a
2 GB model that is mostly an embedding. Each measurement is a fresh process; the three ways are
taken in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Name, file, layer, rank.
CASES = [
    ("MNIST network, predictions", "mnist.h5", "predictions", 4),
    ("VGG16, predictions", "vgg16.h5", "predictions", 128),
    ("VGG16 archive, predictions", "vgg16.keras", "predictions", 128),
    ("VGG16, fc1", "vgg16.h5", "fc1", 512),
    ("2 GB embedding, predictions", "embedding.keras", "predictions", 128),
]
COMMAND = ["python", "benchmarks/scale.py"]
MAKE = """
import sys
import keras
from keras import layers
name, path = sys.argv[1:]
keras.utils.set_random_seed(0)
if name == "mnist":
    from lrcompress.studies.networks import RECIPES
    model = RECIPES["mnist"].build(None)
elif name == "vgg16":
    model = keras.applications.VGG16(weights=None)
else:
    model = keras.Sequential([
        keras.Input((20,), dtype="int32"), layers.Embedding(500_000, 1_000),
        layers.GlobalAveragePooling1D(), layers.Dense(1_000, name="predictions"),
    ])
model.save(path)
"""


def measure(command: list[str], folder: Path) -> tuple[float, float]:
    """Return wall seconds and peak resident megabytes of a process."""
    started = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit((folder / "log").read_text())
    return seconds, usage.ru_maxrss / 1024


def run_case(folder: Path, file: str, layer: str, rank: int, repeats: int) -> dict[str, Any]:
    """Measure the three ways on one file."""
    source = folder / file
    if not source.exists():
        subprocess.run([sys.executable, "-c", MAKE, source.stem, str(source)], check=True)
    peer = Path(__file__).with_name("peer.py").resolve()
    ours = [sys.executable, "-m", "lrcompress", "factorize", file, "--layer", layer]
    ways = {
        "lrcompress": [*ours, "--rank", str(rank), "-o", f"ours{source.suffix}", "--overwrite"],
        "copy": ["cp", file, f"copy{source.suffix}"],
        "keras": [sys.executable, str(peer), file, f"theirs{source.suffix}", layer, str(rank)],
    }
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, command in ways.items():
            found[way].append(measure(command, folder))
    result: dict[str, Any] = {
        "file": file,
        "bytes": source.stat().st_size,
        "layer": layer,
        "rank": rank,
    }
    for way, pairs in found.items():
        result[way] = {
            "seconds": [seconds for seconds, _ in pairs],
            "median_seconds": statistics.median(seconds for seconds, _ in pairs),
            "peak_megabytes": max(memory for _, memory in pairs),
        }
    return result


def main() -> None:
    """Measure all cases and write the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    idle = measure([sys.executable, "-c", "import h5py, numpy"], arguments.work)[1]
    document: dict[str, Any] = {
        "command": COMMAND,
        "interpreter_megabytes": idle,
        "cores": os.cpu_count(),
        "cases": [],
    }
    for name, file, layer, rank in CASES:
        case = {"name": name, **run_case(arguments.work, file, layer, rank, arguments.repeats)}
        document["cases"].append(case)
        print(json.dumps(case), flush=True)
        arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
