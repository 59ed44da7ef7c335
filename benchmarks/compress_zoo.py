"""`lrcompress compress` over a folder of model files that other people wrote, without data.

    python benchmarks/compress_zoo.py FOLDER --output benchmarks/results/compress-zoo.json

Every file is compressed twice: bare, and with ``--reduction 0.2``, in a process of its own with a
time limit. A file can be read if its layers are found; it can be made smaller if any of them can.
The sizes are of parameters and of files without optimizer state. What stands in the output already
is not done again. It takes about half an hour.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

import lrcompress
from lrcompress.errors import LRCompressError
from lrcompress.modelfile import open_model

COMMAND = [
    "python", "benchmarks/compress_zoo.py", "$LRCOMPRESS_ZOO",
    "--output", "benchmarks/results/compress-zoo.json",
]  # fmt: skip
SHARE = 0.2
# For each file, both ways.
SECONDS = 1_200


def cpu_seconds() -> float:
    """Return the CPU time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def tried(path: Path, **budget: float) -> dict[str, Any]:
    """Compress one file; return what came of it, or why nothing did."""
    started, wall = cpu_seconds(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            suffix = ".keras" if open_model(path).format == "keras" else ".h5"
            found = lrcompress.compress(path, output=Path(folder) / f"small{suffix}", **budget)
        except LRCompressError as error:
            sentence = " ".join(str(error).replace(str(path), path.name).split())
            return {"status": "refused", "code": error.code, "sentence": sentence}
        except Exception as error:
            sentence = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            return {"status": "crashed", "code": "crash", "sentence": sentence}
        warnings = [
            line.replace(folder, "").replace(str(path), path.name) for line in found.warnings
        ]
    return {
        "status": "compressed",
        "parameters": [found.parameters_before, found.parameters_after],
        "bytes": [found.bytes_before, found.bytes_after],
        "inputs": found.inputs,
        "budget": found.budget,
        "estimated": found.estimated,
        "warnings": warnings,
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(cpu_seconds() - started, 2),
    }


def saved(found: dict[str, Any], key: str = "parameters") -> float:
    """Return the share that was saved; 0 where nothing was."""
    if found["status"] != "compressed":
        return 0.0
    before, after = found[key]
    return float(1 - after / before) if before else 0.0


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts."""
    layers = [row for row in rows if row["bare"].get("code") != "subclassed"]
    readable = [row for row in layers if row["readable"]]
    able = [row for row in readable if row["bare"].get("code") != "nothing_to_gain"]
    return {
        "files": len(rows),
        "readable": len(readable),
        "can be made smaller": len(able),
        "smaller, bare": sum(saved(row["bare"]) > 0 for row in able),
        "smaller file, bare": sum(saved(row["bare"], "bytes") > 0 for row in able),
        "refused, bare": sorted({row["bare"].get("code") or "" for row in readable} - {""}),
        "reached with --reduction 0.2": sum(saved(row["share"]) >= SHARE for row in readable),
        "measured on synthetic inputs": sum(
            row["bare"].get("inputs") == "synthetic" for row in readable
        ),
    }


def row_of(path: Path) -> dict[str, Any]:
    """Return what comes of one file."""
    row: dict[str, Any] = {"file": path.name}
    try:
        lrcompress.inspect(path)
        row["readable"] = True
    except LRCompressError as error:
        row |= {"readable": False, "code": error.code}
    return row | {"bare": tried(path), "share": tried(path, reduction=SHARE)}


def apart(path: Path) -> dict[str, Any]:
    """Return what comes of one file in a process of its own."""
    command = [sys.executable, __file__, str(path), "--one"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        late = {"status": "late", "code": "late", "sentence": f"Took over {SECONDS} s."}
        return {"file": path.name, "readable": True, "bare": late, "share": late}
    if done.returncode:
        died = {"status": "crashed", "code": "crash", "sentence": f"Exit status {done.returncode}."}
        return {"file": path.name, "readable": True, "bare": died, "share": died}
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--only", default="", help="Part of the names of the files to take.")
@click.option("--one", is_flag=True, help="FOLDER is one file; print what comes of it.")
def main(folder: Path, output: Path | None, only: str, one: bool) -> None:
    """Compress every file and write what came of it."""
    if one or output is None:
        click.echo(json.dumps(row_of(folder)))
        return
    rows = json.loads(output.read_text(encoding="utf-8"))["rows"] if output.exists() else []
    known = {row["file"] for row in rows}
    paths = sorted(p for p in folder.iterdir() if p.suffix != ".tsv" and only in p.name)
    missing = [path for path in paths if path.name not in known]
    for number, path in enumerate(missing, 1):
        row = apart(path)
        rows = sorted([*rows, row], key=lambda row: str(row["file"]))
        document = {
            "command": COMMAND, "versions": {"lrcompress": lrcompress.__version__},
            "totals": totals(rows), "rows": rows,
        }  # fmt: skip
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        shares = ", ".join(f"{100 * saved(row[k]):.1f} %" for k in ("bare", "share"))
        codes = " ".join(str(row[k].get("code", "")) for k in ("bare", "share"))
        click.echo(f"{number}/{len(missing)} {path.name}: {shares} {codes}", err=True)
    click.echo(json.dumps(totals(rows), indent=2))


if __name__ == "__main__":
    main()
