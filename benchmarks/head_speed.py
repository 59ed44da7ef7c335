"""Heads alone before and after, for one input and for 32: LiteRT, ONNX Runtime and Keras, in turns.

    python benchmarks/head_speed.py --output benchmarks/results/head-speed.json

Takes three minutes on two cores. Beside each ratio stands how many multiplications fewer there are, and the
share of that which is there in time. Weights are random: they do not matter for speed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lrcompress.live import engine
from lrcompress.live.timing import interleaved, speed
from lrcompress.runtimes import TARGETS

COMMAND = ["python", "benchmarks/head_speed.py", "--output", "benchmarks/results/head-speed.json"]
# Features, classes, rank.
HEADS = [(256, 10_000, 64), (512, 10_000, 64), (768, 50_257, 128)]
BATCHES = (1, 32)


def head(features: int, classes: int, rank: int | None, batch: int) -> keras.Model:
    """Return a head of so many inputs a sample, which are the steps of one."""
    shape = (features,) if batch == 1 else (batch, features)
    first = [] if rank is None else [keras.layers.Dense(rank, use_bias=False, name="lowrank")]
    last = keras.layers.Dense(classes, activation="softmax", name="head")
    return keras.Sequential([keras.Input(shape), *first, last])


def calls_of(models: dict[str, keras.Model], x: Any, folder: Path) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """Return what runs each model once, by runtime."""
    found: dict[str, dict[str, Callable[[], Any]]] = {"keras": {}}
    for name, model in models.items():
        found["keras"][name] = lambda model=model: model.predict_on_batch(x)
        for target, suffix in (("litert", ".tflite"), ("onnx", ".onnx")):
            path = folder / f"{name}{suffix}"
            path.unlink(missing_ok=True)
            TARGETS[target].write(model, path, int8=False)
            runtime = TARGETS[target].open(path, model, np.concatenate([x, x]))
            found.setdefault(target, {})[name] = lambda runtime=runtime: runtime(x)
    return found


def main() -> None:
    """Time all heads and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each call")
    arguments = parser.parse_args()
    rows = []
    for features, classes, rank in HEADS:
        fewer = features * classes / (rank * (features + classes))
        for batch in BATCHES:
            models = {
                "before": head(features, classes, None, batch),
                "after": head(features, classes, rank, batch),
            }
            x = np.random.default_rng(0).standard_normal(
                (1, *models["before"].input_shape[1:]), np.float32
            )
            with tempfile.TemporaryDirectory() as folder:
                for runtime, calls in calls_of(models, x, Path(folder)).items():
                    found = interleaved(calls, seconds=arguments.seconds)
                    ratio = speed(found["before"], found["after"])
                    row = {
                        "features": features, "classes": classes, "rank": rank, "batch": batch,
                        "runtime": runtime, "fewer": fewer, "share": ratio.ratio / fewer,
                        "speed": ratio.to_json(),
                        **{name: timing.to_json() for name, timing in found.items()},
                    }  # fmt: skip
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    document = {
        "command": COMMAND, "versions": engine.versions(), "cores": os.cpu_count(),
        "machine": platform.machine(), "rows": rows,
    }  # fmt: skip
    arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
