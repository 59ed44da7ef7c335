"""The numbers of the first page: one network compressed by one command, and four exported files side by side.

    python benchmarks/first_page.py
    python benchmarks/first_page.py --network digits

Takes the paper's MNIST network that LRCOMPRESS_PAPER_MNIST names, or the bundled one for digits, runs `lrcompress
compress` on a copy, and exports the original and the result, each as float32 and with 8-bit weights: size, error on all
test images, latency of one image in turns. About four minutes of two cores, or one. Results go to
benchmarks/results/first-page.json; `python docs/make_figures.py && python docs/make_first_page.py` draw them and write
them into the first pages.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from export_table import measured, timed, variants
from whole_network import folder

from lrcompress.data.sources import load
from lrcompress.live import engine, storing
from lrcompress.live.prepare import prepare
from lrcompress.modelfile import open_model

RESULTS = Path(__file__).parent / "results" / "first-page.json"
BUNDLED = Path(__file__).parent.parent / "examples" / "digits_cnn.keras"
NAMES = {
    "mnist": "The MNIST network of the paper behind the method",
    "digits": "The bundled network for handwritten digits",
}


def compressed(work: Path, network: str) -> dict[str, Any]:
    """Run the command in a folder; return what it took and printed, and what it left."""
    command = [
        "lrcompress",
        "compress",
        f"{network}.keras",
        "--dataset",
        network,
        "--export",
        "litert",
        "--int8",
    ]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=work, check=True, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    exported = work / f"{network}-compressed-int8.tflite"
    return {
        "command": command,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": sum(
            getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime")
        ),
        "printed": done.stdout,
        "exported_bytes": exported.stat().st_size if exported.exists() else None,
    }


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=[*NAMES], default="mnist")
    parser.add_argument("--seconds", type=float, default=5.0, help="of timing, for each file")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as where:
        work = Path(where)
        network = arguments.network
        path = work / f"{network}.keras"
        shutil.copy(folder("LRCOMPRESS_PAPER_MNIST") if network == "mnist" else BUNDLED, path)
        job = compressed(work, network)
        files = {"original": path, "factorized": work / f"{network}-compressed.keras"}
        models = {name: storing.load_model(file) for name, file in files.items()}
        data = prepare(load(network), models["original"])
        x, y, weights = data.part("test")
        found = variants(models, "model", x, work)
        rows = timed(found, x, arguments.seconds)
        errors = measured(found, x, y, weights)
        opened = open_model(path)
        document = {
            "command": ["python", "benchmarks/first_page.py", "--network", network],
            "network": NAMES[network],
            "job": job,
            "bytes_before": opened.size - opened.optimizer_bytes,
            "bytes_after": files["factorized"].stat().st_size,
            "rows": [row | error for row, error in zip(rows, errors, strict=True)],
            "versions": engine.versions() | {"python": platform.python_version()},
            "cores": len(os.sched_getaffinity(0)),
        }
    arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
