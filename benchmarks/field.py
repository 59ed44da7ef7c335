"""What people's models and data look like, a sweep for each kind: right, refused, or wrong.

    python benchmarks/field.py endings styles --work DIR --output benchmarks/results/field.json

Each module of `field_sweeps` is a sweep: its `sweep(work)` returns an outcome for every case, which
begins with "right", "refused" or "wrong". Without names all of them run. A sweep's results take the
place of its earlier ones in the file; those of others stay. Exit code 1 says that a case is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import platform
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import field_sweeps
import keras

import lrcompress

NAMES = sorted(module.name for module in pkgutil.iter_modules(field_sweeps.__path__))


def versions() -> dict[str, str]:
    """Return what the sweeps ran with."""
    return {
        "lrcompress": lrcompress.__version__,
        "keras": keras.__version__,
        "backend": keras.backend.backend(),
        "python": platform.python_version(),
    }


def run(name: str, work: Path) -> dict[str, Any]:
    """Run one sweep in a folder of its own, and print its cases as they stand."""
    folder = work / name
    folder.mkdir(parents=True, exist_ok=True)
    cases: dict[str, str] = importlib.import_module(f"field_sweeps.{name}").sweep(folder)
    for case, outcome in cases.items():
        print(f"{name}: {case}: {outcome}")
    counts = Counter(outcome.split(":")[0] for outcome in cases.values())
    return {
        "command": f"python benchmarks/field.py {name}",
        "versions": versions(),
        "counts": dict(sorted(counts.items())),
        "cases": cases,
    }


def main() -> int:
    """Run the sweeps that were asked for and merge their results into the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--work", type=Path, required=True, help="folder for models and data")
    parser.add_argument("--output", type=Path, help="JSON file to merge the results into")
    asked = parser.parse_args()
    if unknown := sorted(set(asked.names) - set(NAMES)):
        parser.error(f"no sweep named {', '.join(unknown)}; expected {', '.join(NAMES)}")
    sweeps: dict[str, Any] = {}
    if asked.output and asked.output.exists():
        sweeps = json.loads(asked.output.read_text("utf-8"))["sweeps"]
    wrong = 0
    for name in asked.names or NAMES:
        sweeps[name] = run(name, asked.work)
        wrong += sweeps[name]["counts"].get("wrong", 0)
        print(f"{name}: {sweeps[name]['counts']}")
        if asked.output:
            document = {
                "command": ["python", "benchmarks/field.py", "--work", "DIR", "--output",
                            "benchmarks/results/field.json"],
                "sweeps": dict(sorted(sweeps.items())),
            }  # fmt: skip
            asked.output.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
