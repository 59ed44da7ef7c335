"""`lrcompress factorize` as a whole process against Keras: load, SVD, save, side by side.

    python benchmarks/factorize_vs_keras.py MODEL.h5 --rank 4 --output benchmarks/results/...json

Both are timed as fresh processes, taken in turns, so that a noisy machine is noisy for both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEER = """
import sys
import keras, numpy as np
source, target, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = keras.saving.load_model(source)
*_, head = model.layers
kernel, bias = head.get_weights()
u, s, vt = np.linalg.svd(kernel, full_matrices=False)
config = head.get_config()
first = keras.layers.Dense(rank, use_bias=False, name=config["name"] + "_lowrank")
second = keras.layers.Dense.from_config(config)
small = keras.Sequential([*model.layers[:-1], first, second])
small.build(model.input_shape)
first.set_weights([u[:, :rank] * np.sqrt(s[:rank])])
second.set_weights([np.sqrt(s[:rank])[:, None] * vt[:rank], bias])
small.save(target)
"""

# Written into the result; folders of one machine are left out.
COMMAND = ["python", "benchmarks/factorize_vs_keras.py"]


def main() -> None:
    """Time both and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rank", default="4")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {"lrcompress": [], "keras": []}
    source = arguments.model.resolve()
    with tempfile.TemporaryDirectory() as folder:
        ours = [
            sys.executable,
            "-m",
            "lrcompress",
            "factorize",
            str(source),
            "--rank",
            arguments.rank,
        ]
        theirs = [sys.executable, "-c", PEER, str(source), f"keras{source.suffix}", arguments.rank]
        commands = {"lrcompress": [*ours, "--overwrite"], "keras": theirs}
        for _ in range(arguments.repeats):
            for name, command in commands.items():
                started = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
                times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "command": [
            *COMMAND,
            source.name,
            "--rank",
            arguments.rank,
            "--repeats",
            str(arguments.repeats),
        ],
        "what": "wall seconds of whole processes, taken in turns",
        "model": source.name,
        "model_bytes": source.stat().st_size,
        "rank": int(arguments.rank),
        "seconds": times,
        "median_seconds": medians,
        "ratio": medians["lrcompress"] / medians["keras"],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    text = json.dumps(result, indent=2) + "\n"
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
