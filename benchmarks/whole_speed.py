"""LiteRT on one thread: the CIFAR-100 ResNet beside itself at half the multiplications, float and with 8-bit weights.

    python benchmarks/whole_speed.py

It takes about two minutes on two cores. Few inputs calibrate: which layers get smaller, and by how much, hardly depends
on them, and whole_network.py measures what is lost.
All four exported models take turns on one input, in one run. The network and its data are looked for in
the folders that LRCOMPRESS_NETWORKS and LRCOMPRESS_DATA name.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from whole_network import resnet

from lrcompress.compression.network import NetworkRequest, compress
from lrcompress.live import engine, storing
from lrcompress.live.network import Networks
from lrcompress.live.timing import interleaved, speed
from lrcompress.modelfile import open_model, write_changed
from lrcompress.runtimes import TARGETS

RESULTS = Path(__file__).parent / "results" / "whole-speed.json"
LITERT = TARGETS["litert"]


def smaller(folder: Path, inputs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both models, and what became of the second."""
    task = resnet()
    some = task.train[np.random.default_rng(0).permutation(len(task.train))[:inputs]]
    opened, original = open_model(task.model), storing.load_model(task.model)
    judge = inputs // 6
    networks = Networks(some[judge:], some[:judge], original=original) if inputs else None
    request = NetworkRequest(budget=("multiplications", 0.5))
    found = compress(opened, request, networks, folder)
    path = folder / f"small{task.model.suffix}"
    written = write_changed(found.model, found.edits, path)
    about = {
        "inputs": inputs, "parameters_before": opened.parameters,
        "parameters_after": written.parameters,
        "layers": [f"{c.path}: {c.form} {c.size}/{c.largest}" for c in found.layers],
    }  # fmt: skip
    return {"original": original, "half": storing.load_model(path)}, about


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=600, help="to calibrate on; 0: by the weights alone"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="for each model")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        models, about = smaller(folder, arguments.inputs)
        one = np.random.default_rng(1).random((1, 32, 32, 3), np.float32)
        calls, sizes = {}, {}
        for precision in ("float", "int8"):
            for name, model in models.items():
                path = folder / f"{name}-{precision}.tflite"
                LITERT.write(model, path, int8=precision == "int8")
                runtime = LITERT.open(path, model, np.concatenate([one, one]))
                calls[f"{name}, {precision}"] = lambda run=runtime: run(one)
                sizes[f"{name}, {precision}"] = path.stat().st_size
        timings = interleaved(calls, seconds=arguments.seconds)
    document = about | {
        "command": f"python benchmarks/whole_speed.py --inputs {arguments.inputs}",
        "runtime": runtime.name, "threads": runtime.threads, "cores": os.cpu_count(),
        "machine": platform.machine(), "versions": engine.versions(), "bytes": sizes,
        "speed": {
            p: speed(timings[f"original, {p}"], timings[f"half, {p}"]).to_json()
            for p in ("float", "int8")
        },
        "timings": {name: timing.to_json() for name, timing in timings.items()},
    }  # fmt: skip
    print(json.dumps(document["speed"]))
    arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
