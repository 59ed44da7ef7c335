"""Seconds of `finetune --scope head` after Keras has started, beside what it recovers.

    LRCOMPRESS_DATA=DIR python benchmarks/finetune_head.py scratch-mnist/mnist-full.keras --ranks 8 6 4 2

The wall time is of everything that the command does after Keras has been imported: loading both
models and the data, one pass of the network, re-fitting, training, measuring, saving. The CPU time
stands beside it because a machine may be shared.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import lrcompress

COMMAND = ["python", "benchmarks/finetune_head.py"]


def main() -> None:
    """Measure each rank in one process and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--ranks", type=int, nargs="+", default=[4])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    from lrcompress.live import engine

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for rank in arguments.ranks:
            small = Path(folder) / f"rank{rank}.keras"
            lrcompress.factorize(arguments.model, rank=rank, output=small)
            wall, cpu = time.perf_counter(), time.process_time()
            result = lrcompress.finetune(
                small, scope="head", epochs=arguments.epochs, dataset=arguments.dataset
            )
            rows.append(
                {
                    "rank": rank,
                    "wall_seconds": time.perf_counter() - wall,
                    "cpu_seconds": time.process_time() - cpu,
                    "training_seconds": result.seconds,
                    "best_epoch": result.best_epoch,
                    "epochs": result.epochs,
                    "validation": [
                        [entry["what"], entry["validation_error_rate"], entry["validation_loss"]]
                        for entry in result.history
                    ],
                    "error_rate_original": result.error_rate_original,
                    "error_rate_before": result.error_rate_before,
                    "error_rate_after": result.error_rate_after,
                }
            )
    document = {
        "command": [
            *COMMAND, arguments.model.name, "--ranks", *map(str, arguments.ranks),
            "--dataset", arguments.dataset,
        ],
        "device": engine.describe_device(),
        "versions": engine.versions(),
        "rows": rows,
    }  # fmt: skip
    text = json.dumps(document, indent=2) + "\n"
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
