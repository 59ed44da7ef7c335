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

# Written into the result; folders of one machine are left out.
COMMAND = ["python", "benchmarks/factorize_vs_keras.py"]


def main() -> None:
    """Time both and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rank", default="4")
    parser.add_argument("--layer", default="predictions")
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
        peer = Path(__file__).with_name("peer.py").resolve()
        target = f"keras{source.suffix}"
        theirs = [sys.executable, str(peer), str(source), target, arguments.layer, arguments.rank]
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
