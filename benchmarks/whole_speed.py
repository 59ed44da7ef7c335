"""LiteRT on one thread: the CIFAR-100 ResNet beside itself at half the multiplications, in floats and in 8 bits.

    python benchmarks/whole_speed.py

It takes three minutes on two cores. Ranks and channels are multiples of 16, which the runtime computes
faster than any others (`--multiple 1`). All exported models take turns on one input, in one run;
what is timed is the interpreter alone. The network and its data are looked for in the folders that LRCOMPRESS_NETWORKS
and LRCOMPRESS_DATA name.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from whole_network import Task, resnet

from lrcompress.compression.network import NetworkRequest, compress
from lrcompress.live import engine, storing
from lrcompress.live.network import Networks
from lrcompress.live.predict import predict_all
from lrcompress.live.timing import interleaved, speed
from lrcompress.lowrank import one_blas_thread
from lrcompress.modelfile import open_model, write_changed
from lrcompress.runtimes import TARGETS

RESULTS = Path(__file__).parent / "results" / "whole-speed.json"
LITERT = TARGETS["litert"]
# What `--int8` is given: weights of 8 bits, or integers throughout, for which some inputs calibrate.
PRECISIONS: dict[str, Any] = {"float": False, "int8": True, "int8 full": "full"}
CALIBRATES = 100


def smaller(
    task: Task, folder: Path, inputs: int, multiple: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return both models, and what became of the second."""
    some = task.train[np.random.default_rng(0).permutation(len(task.train))[:inputs]]
    opened, original = open_model(task.model), storing.load_model(task.model)
    judge = inputs // 6
    networks = Networks(some[judge:], some[:judge], original=original) if inputs else None
    request = NetworkRequest(budget=("multiplications", 0.5), multiple=multiple)
    # As the commands do.
    with one_blas_thread():
        found = compress(opened, request, networks, folder)
    path = folder / f"small{task.model.suffix}"
    written = write_changed(found.model, found.edits, path)
    about = {
        "inputs": inputs, "multiple": multiple, "parameters_before": opened.parameters,
        "parameters_after": written.parameters,
        "multiplications": {
            c.path: [c.multiplications_before, c.multiplications_after] for c in found.layers
        },
        "layers": [f"{c.path}: {c.form} {c.size}/{c.largest}" for c in found.layers],
    }  # fmt: skip
    models = {"original": original, "half": storing.load_model(path)}
    about["test_error"] = {
        name: task.score(*predict_all(model, task.test).values()) for name, model in models.items()
    }
    return models, about


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--inputs", type=int, default=3_000, help="to calibrate on; 0: by the weights alone"
    )
    parser.add_argument("--multiple", type=int, default=16, help="of ranks and channels")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each model")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        task = resnet()
        models, about = smaller(task, folder, arguments.inputs, arguments.multiple)
        one = np.random.default_rng(1).random((1, 32, 32, 3), np.float32)
        calls, sizes = {}, {}
        for precision, int8 in PRECISIONS.items():
            for name, model in models.items():
                path = folder / f"{name}-{precision}.tflite"
                LITERT.write(model, path, int8=int8, calibration=task.train[:CALIBRATES])
                # What the interpreter computes alone, without handing arrays over.
                interpreter = Interpreter(str(path), num_threads=1)
                interpreter.allocate_tensors()
                (given,) = interpreter.get_input_details()
                interpreter.set_tensor(given["index"], one.astype(given["dtype"]))
                calls[f"{name}, {precision}"] = interpreter.invoke
                sizes[f"{name}, {precision}"] = path.stat().st_size
        timings = interleaved(calls, seconds=arguments.seconds)
    document = about | {
        "command": ["python", "benchmarks/whole_speed.py"],
        "runtime": f"ai-edge-litert {version('ai-edge-litert')}", "threads": 1, "cores": os.cpu_count(),
        "machine": platform.machine(), "versions": engine.versions(), "bytes": sizes,
        "speed": {
            p: speed(timings[f"original, {p}"], timings[f"half, {p}"]).to_json()
            for p in PRECISIONS
        },
        "timings": {name: timing.to_json() for name, timing in timings.items()},
    }  # fmt: skip
    print(json.dumps(document["speed"]))
    arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
