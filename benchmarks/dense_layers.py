"""What the whole network loses when all of its Dense layers share out one reduction.

    LRCOMPRESS_DATA=DIR python benchmarks/dense_layers.py mnist-full.keras --dataset mnist \
        --output benchmarks/results/dense-layers-mnist.json

No labels, no training: ranks from held-out data, factors from unlabelled inputs, errors on test data.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import lrcompress
from lrcompress.records import runs

REDUCTIONS = (0.5, 0.6, 0.7, 0.8, 0.9)


def row(model: Path, dataset: str, folder: Path, **rule: float) -> dict[str, Any]:
    """Factorize by one rule and return what it came to."""
    started = time.perf_counter()
    output = folder / "model.keras"
    found = lrcompress.factorize(
        model, layers="dense", dataset=dataset, output=output, overwrite=True, **rule
    )
    record = runs.read(found.record)
    after = record.stage("factorized") or {}
    return {
        "rule": rule,
        "ranks": {layer.path: layer.rank for layer in found.layers},
        "methods": {layer.path: layer.factors.method for layer in found.layers},
        "parameters": found.parameters_after,
        "saved_of_model": 1 - found.parameters_after / found.parameters_before,
        "bytes": found.bytes_after,
        "error_rate": after["error_rate"],
        "drop": after["drop"],
        "seconds": time.perf_counter() - started,
    }


def main() -> None:
    """Measure all rules and write the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    original = lrcompress.inspect(arguments.model)
    document: dict[str, Any] = {
        "command": [
            "python", "benchmarks/dense_layers.py", arguments.model.name,
            "--dataset", arguments.dataset,
        ],
        "versions": runs.versions(),
        "machine": platform.machine(),
        "parameters": original["parameters"],
        "rows": [],
    }  # fmt: skip
    rules: list[dict[str, float]] = [{"reduction": share} for share in REDUCTIONS]
    with tempfile.TemporaryDirectory() as folder:
        for rule in [*rules, {"max_drop": 0.5}]:
            document["rows"].append(row(arguments.model, arguments.dataset, Path(folder), **rule))
            print(json.dumps(document["rows"][-1]), flush=True)
            arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
