"""Hostile inputs by kind, built here: files that name code, mutated HDF5, kills, races, costs.

    python benchmarks/attack.py --work DIR --output benchmarks/results/attack.json
    python benchmarks/attack.py kills races --work DIR --output attack.json

Counts of kinds that are not run again stay in the output. Exit code 1 says that a count whose name
begins with ``bad_`` is not 0.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import attacks
import click

from lrcompress.records import runs

KINDS = tuple(
    sorted(m.name for m in pkgutil.iter_modules(attacks.__path__) if not m.name.startswith("_"))
)
PEERS = ("h5py", "keras", "tensorflow")


def cpu_seconds() -> float:
    """Return the processor time of this process and of all it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def versions() -> dict[str, str]:
    """Return the versions that decide what an attack can do, without starting Keras."""
    from importlib.metadata import version

    import h5py

    found = runs.versions() | {name: version(name) for name in PEERS}
    return found | {"hdf5": h5py.version.hdf5_version}


def merged(output: Path, kind: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return the document of the output with one kind's counts in the place of its last."""
    old = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    kinds = dict(sorted((old.get("kinds", {}) | {kind: found}).items()))
    command = ["python", "benchmarks/attack.py", *kinds, "--work", "DIR"]
    return {"command": [*command, "--output", "benchmarks/results/attack.json"], "kinds": kinds}


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS))
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Cases are built in a new folder here, which is removed afterwards.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option(
    "--count", type=click.IntRange(1), help="Cases of each kind; default what is reported."
)
def main(kinds: tuple[str, ...], work: Path, output: Path, count: int | None) -> None:
    """Attack lrcompress in each of KINDS (default: all) and count what became of it."""
    work.mkdir(parents=True, exist_ok=True)
    bad = 0
    for kind in kinds or KINDS:
        module = importlib.import_module(f"attacks.{kind}")
        started = cpu_seconds()
        with tempfile.TemporaryDirectory(dir=work, prefix=f"{kind}-") as folder:
            counts = module.attack(Path(folder), count)
        command = ["python", "benchmarks/attack.py", kind, "--work", "DIR"]
        command += ["--output", "benchmarks/results/attack.json"]
        command += [] if count is None else ["--count", str(count)]
        found = {
            "command": command,
            "versions": versions(),
            "counts": counts,
            "cpu_seconds": round(cpu_seconds() - started),
        }
        document = merged(output, kind, found)
        output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        bad += sum(n for name, n in counts.items() if name.startswith("bad_"))
        click.echo(f"{kind}: " + ", ".join(f"{name} {n}" for name, n in counts.items()))
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
