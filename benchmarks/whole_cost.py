"""Seconds and memory of whole networks without data: VGG16 beside an older checkout, and networks of many layers.

    python benchmarks/whole_cost.py --before OLD

VGG16 with random weights (553 MB; its largest layer is 411 MB) is made smaller by half: all layers by
this checkout, all Dense by the one from before there were other kinds. Networks of 10 to 80 small
convolutions show whether the cost grows with the number of layers. Each run is a process of its own;
its peak memory is the operating system's figure for it. Seconds of the processor count where others work too.
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
# Bytes of the first Dense of VGG16.
LARGEST = 4 * (25_088 * 4_096 + 4_096)

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
    """Run the cases that are asked for, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout; without it only this one is run")
    parser.add_argument("--case", action="append", help="default: all")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    cases = {"VGG16, all": (VGG16, HERE, "all"), "VGG16, dense before": (VGG16, arguments.before, "dense")} | {
        f"{n} convolutions": (STACK.format(FILTERS, n), HERE, "all") for n in LAYERS
    }  # fmt: skip
    found = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    found["command"] = ["python", "benchmarks/whole_cost.py", "--before", "OLD"]
    for case, (network, checkout, layers) in cases.items():
        if checkout is None or case not in (arguments.case or cases):
            continue
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model.keras"
            make(network, model)
            found[case] = row = run(checkout, model, layers)
        print(case, json.dumps(row), flush=True)
        if {"VGG16, all", "VGG16, dense before"} <= found.keys():
            now, before = found["VGG16, all"], found["VGG16, dense before"]
            found["VGG16"] = {
                "cpu_seconds_of_dense_before": now["cpu_seconds"] / before["cpu_seconds"],
                "peak_of_largest_layer": now["peak_bytes"] / LARGEST,
                "peak_of_largest_layer_before": before["peak_bytes"] / LARGEST,
            }
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
