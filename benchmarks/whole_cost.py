"""Seconds and memory of whole networks without data: VGG16 beside an older checkout, and networks of many layers.

    python benchmarks/whole_cost.py --before OLD-CHECKOUT

VGG16 with random weights (553 MB; its largest layer is 411 MB) is made smaller by half: all layers by
this checkout, all Dense by the one from before there were other kinds. Networks of 10 to 80 small
convolutions show whether the cost grows with the number of layers. Each run is a process of its own;
its peak memory is the operating system's figure for it. The original file is in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "whole-cost.json"
HERE = Path(__file__).parent.parent
LAYERS = (10, 20, 40, 80)
FILTERS = 64

VGG16 = "keras.applications.VGG16(weights=None)"
STACK = (
    "keras.Sequential([keras.Input((32, 32, {0})), "
    "*(keras.layers.Conv2D({0}, 3, padding='same', activation='relu') for _ in range({1})), "
    "keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)])"
)
# Runs the command line in this process, and says what it took.
WORKER = """
import json, resource, sys, time
started = time.perf_counter()
from lrcompress.cli import main
try:
    main(sys.argv[1:])
except SystemExit as done:
    if done.code: raise
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "seconds": time.perf_counter() - started, "cpu_seconds": usage.ru_utime + usage.ru_stime,
    "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
}))
"""


def make(network: str, path: Path) -> None:
    """Save a network, in a process of its own: a child's peak is at least its parent's size."""
    code = f"import keras; keras.utils.set_random_seed(0); {network}.save({str(path)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def run(checkout: Path, model: Path, layers: str) -> dict[str, Any]:
    """Make a network smaller by half, by one checkout."""
    output = model.with_name(f"small{model.suffix}")
    words = ["factorize", str(model), "--layers", layers, "--reduction", "0.5", "-o", str(output)]
    done = subprocess.run(
        [sys.executable, "-c", WORKER, *words, "--overwrite"], cwd=model.parent,
        env=os.environ | {"PYTHONPATH": str(checkout.resolve())}, stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {"bytes_before": model.stat().st_size, "bytes_after": output.stat().st_size}


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout; without it there is no VGG16")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    found: dict[str, Any] = {"command": "python benchmarks/whole_cost.py --before OLD-CHECKOUT"}
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.keras"
        if arguments.before:
            make(VGG16, model)
            vgg = {
                "all": run(HERE, model, "all"), "dense, before": run(arguments.before, model, "dense")
            }  # fmt: skip
            now, before = vgg["all"], vgg["dense, before"]
            found["VGG16"] = vgg | {
                "times_as_long": now["seconds"] / before["seconds"],
                "peak_of_largest_layer": now["peak_bytes"] / (4 * (25_088 * 4_096 + 4_096)),
            }
            print(json.dumps(found["VGG16"]), flush=True)
        for layers in LAYERS:
            make(STACK.format(FILTERS, layers), model)
            found[f"{layers} convolutions"] = row = run(HERE, model, "all")
            row["seconds_each"] = row["seconds"] / layers
            print(layers, json.dumps(row), flush=True)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
