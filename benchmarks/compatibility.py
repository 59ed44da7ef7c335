"""A compatibility table over a folder of model files that other people wrote.

    python benchmarks/compatibility.py FOLDER --output benchmarks/results/compatibility.json

Every file is compressed at full rank, which must not change what it computes, and then loaded
before and after in Keras 3 (this interpreter) and in tf_keras (a virtual environment made for it),
each in a process of its own. Every file is also compressed with --modernize (or modernized alone,
where it cannot be compressed) and must compute in Keras 3 what the original computes in the
runtime of its own time. docs/make_compatibility.py makes a page of the figures.
"""

from __future__ import annotations

import json
import platform
import queue
import re
import subprocess
import sys
import tempfile
import threading
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from compatibility_worker import difference

import lrcompress
from lrcompress.errors import LRCompressError
from lrcompress.modelfile import find_head, open_model

COMMAND = [
    "python", "benchmarks/compatibility.py", "$LRCOMPRESS_ZOO",
    "--output", "benchmarks/results/compatibility.json",
]  # fmt: skip
RUNTIMES = ("keras", "tf_keras")
WORKER = Path(__file__).with_name("compatibility_worker.py").resolve()
TOLERANCE = 1e-5
# A float16 kernel has three digits, and so have its factors.
HALF_TOLERANCE = 1e-2
# Two runtimes round differently: convolutions and deep stacks amplify it.
MODERN_TOLERANCE = 1e-4
LONGEST_ERROR = 120
START_SECONDS = 180


def suffix_of(path: Path) -> str:
    """Return the suffix that a file's content asks for: some names say the wrong format."""
    with path.open("rb") as file:
        return ".keras" if file.read(4) == b"PK\x03\x04" else ".h5"


def tidy(text: str, path: Path, limit: int | None = LONGEST_ERROR) -> str:
    """Return an error without folders and addresses, which differ from machine to machine."""
    text = text.replace(str(path), path.name).replace(str(path.resolve()), path.name)
    text = re.sub(r"(?<![\w:/])/(?:[^\s/'\"`:]+/)+", "", text)
    text = re.sub(r"\b0x[0-9a-f]{6,}\b", "0x...", " ".join(text.split()))
    if limit is not None and len(text) > limit:
        text = text[: limit - 3] + "..."
    return text


def compress(path: Path, scratch: Path) -> dict[str, Any]:
    """Compress one file at full rank; return what was done, or why not."""
    row: dict[str, Any] = {"file": path.name, "keras_version": None, "format": None}
    target = scratch / f"compressed{suffix_of(path)}"
    try:
        model = open_model(path)
        row |= {"keras_version": model.keras_version, "format": model.format}
        head = find_head(model)
        row |= {"layer": head.path, "kernel_shape": list(head.kernel_shape), "dtype": head.dtype}
        lrcompress.factorize(
            path, rank=min(head.kernel_shape), method="svd", force=True, output=target
        )
    except LRCompressError as error:
        return row | {
            "status": "refused",
            "code": error.code,
            "sentence": tidy(str(error), path, None),
        }
    except Exception as error:
        sentence = tidy(f"{type(error).__name__}: {error}", path, None)
        return row | {"status": "crashed", "code": "crash", "sentence": sentence}
    return row | {"status": "compressed"}


def modernize(path: Path, scratch: Path, compressed: bool) -> dict[str, Any]:
    """Put one file in the terms of Keras 3, compressed where it can be; return what was said."""
    target = scratch / f"modernized{suffix_of(path)}"
    try:
        if compressed:
            rank = min(find_head(open_model(path)).kernel_shape)
            result = lrcompress.factorize(
                path, rank=rank, method="svd", force=True, modernize=True, output=target
            )
            changes, warnings = result.modernized, result.warnings
        else:
            made = lrcompress.modernize(path, output=target)
            changes, warnings = list(made.changes), list(made.warnings)
    except LRCompressError as error:
        return {"refused": error.code}
    return {
        "changes": [tidy(c, path) for c in changes],
        "warnings": [tidy(w, path) for w in warnings],
    }


def modern_difference(row: dict[str, Any], original: str, modernized: str) -> float | None:
    """Return how far the modernized file in Keras 3 is from the original in its own runtime.

    tf_keras first: where Keras 3 loads an old file as it is, it may compute otherwise.
    """
    ours = Path(f"{modernized}.keras.npz")
    for runtime in reversed(RUNTIMES):
        theirs = Path(f"{original}.{runtime}.npz")
        if row[runtime].get("original_runs") is True and ours.exists() and theirs.exists():
            a, b = np.load(theirs), np.load(ours)
            if sorted(a.files) != sorted(b.files) or a["size"] != b["size"]:
                return None
            names = [name for name in a.files if name != "size"]
            return difference([a[name] for name in names], [b[name] for name in names])
    return None


def tf_keras_python(folder: Path) -> str:
    """Return the interpreter of an environment with tf_keras, made in `folder` if it is not there."""
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    found = python.exists() and subprocess.run(
        [python, "-c", "import importlib.util as u, sys; sys.exit(u.find_spec('tf_keras') is None)"]
    )
    if not found or found.returncode:
        click.echo("installing tf_keras", err=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "tf_keras"], check=True)
    return str(python)


class Worker:
    """One process that loads files until it is done, crashes or hangs."""

    def __init__(self, python: str, runtime: str, jobs: list[list[str | None]], log: Path) -> None:
        """Start the process and give it its files."""
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [python, str(WORKER), runtime], cwd=log.parent, text=True, encoding="utf-8",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            json.dump(jobs, stdin)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.put(line)
        self.lines.put(None)

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        self.reader.join(timeout=10)

    def answers(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Give each answer; the last one says why there are no more, if more were due."""
        wait: float = START_SECONDS
        while True:
            try:
                line = self.lines.get(timeout=wait)
            except queue.Empty:
                self.process.kill()
                yield {"ended": f"no answer in {wait:g} s"}
                return
            if line is None:
                yield {"ended": f"the process died ({self.process.wait()})"}
                return
            yield json.loads(line)
            wait = seconds


STEPS = (
    "original_loads", "compressed_loads", "modernized_loads", "original_runs", "compressed_runs",
)  # fmt: skip


def examine(
    python: str, runtime: str, jobs: list[list[str | None]], seconds: float, log: Path
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Examine all files in one runtime; a file that ends the process is noted and passed over."""
    found: list[dict[str, Any]] = [{} for _ in jobs]
    versions: dict[str, str] = {}
    start = 0
    while start < len(jobs):
        worker, first = Worker(python, runtime, jobs[start:], log), start
        started = False
        for answer in worker.answers(seconds):
            if "versions" in answer:
                versions, started = answer["versions"], True
            elif "ended" in answer:
                if not started:
                    msg = f"{runtime} does not start: {log.read_text()[-2000:]}"
                    raise click.ClickException(msg)
                if start < len(jobs):
                    step = next((s for s in STEPS if s not in found[start]), "modernized_runs")
                    found[start][step] = answer["ended"]
                    start += 1
                break
            elif answer.pop("done", False):
                start = first + answer["index"] + 1
                click.echo(f"{runtime} {start}/{len(jobs)}", err=True)
                if start == len(jobs):
                    break
            else:
                found[first + answer.pop("index")] |= answer
        worker.end()
    return versions, found


def verdict(row: dict[str, Any]) -> str:
    """Return same, differs, refused or not comparable."""
    if row["status"] != "compressed":
        return "refused" if row["status"] == "refused" else "differs"
    tolerance = HALF_TOLERANCE if row["dtype"] in ("float16", "bfloat16") else TOLERANCE
    compared = 0
    for runtime in RUNTIMES:
        found = row[runtime]
        if found.get("original_loads") is not True:
            continue
        if found.get("compressed_loads") is not True:
            return "differs"
        if found.get("original_runs") is not True:
            continue
        apart = found.get("relative_difference")
        if found.get("compressed_runs") is not True or apart is None or not apart <= tolerance:
            return "differs"
        compared += 1
    return "same" if compared else "not comparable"


def totals(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Count what the page says."""
    counts: dict[str, int] = {"files": len(rows)}
    for status in ("compressed", "refused", "crashed"):
        counts[status] = sum(row["status"] == status for row in rows)
    for name in ("same", "differs", "not comparable"):
        counts[name.replace(" ", "_")] = sum(row["verdict"] == name for row in rows)
    for runtime in RUNTIMES:
        for what in ("original_loads", "compressed_loads", "modernized_loads"):
            counts[f"{what}_{runtime}"] = sum(row[runtime].get(what) is True for row in rows)
    counts["original_loads_nowhere"] = sum(
        all(row[runtime].get("original_loads") is not True for runtime in RUNTIMES) for row in rows
    )
    modern = [row["keras"] for row in rows if row["keras"].get("modernized_loads") is True]
    counts["modernized_only"] = sum(found.get("original_loads") is not True for found in modern)
    counts["modernized_compared"] = sum(row["modern_same"] is not None for row in rows)
    counts["modernized_same"] = sum(row["modern_same"] is True for row in rows)
    counts["only_compressed_loads"] = sum(bool(row["only_compressed_loads"]) for row in rows)
    return counts


@click.command(help=__doc__.split("\n\n")[0])
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option(
    "--tf-keras-venv", type=click.Path(file_okay=False, path_type=Path),
    help="Where the environment with tf_keras is, or is made and kept; default a temporary folder.",
)  # fmt: skip
@click.option(
    "--timeout", default=120.0, show_default=True, help="Seconds for each step of a file."
)
def main(folder: Path, output: Path, tf_keras_venv: Path | None, timeout: float) -> None:
    """Examine all files and write the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        paths = sorted(p for p in folder.iterdir() if p.is_file() and p.name != "INDEX.tsv")
        rows: list[dict[str, Any]] = []
        jobs: list[list[str | None]] = []
        for number, path in enumerate(paths):
            scratch = work / str(number)
            scratch.mkdir()
            row = compress(path, scratch)
            # Under a name that fits the content and tells nothing of this machine.
            original = scratch / f"original{suffix_of(path)}"
            original.write_bytes(path.read_bytes())
            compressed = str(scratch / f"compressed{original.suffix}")
            row["modernized"] = modernize(path, scratch, row["status"] == "compressed")
            modern = str(scratch / f"modernized{original.suffix}")
            rows.append(row)
            jobs.append(
                [
                    str(original),
                    compressed if row["status"] == "compressed" else None,
                    None if "refused" in row["modernized"] else modern,
                ]
            )
            click.echo(f"{number + 1}/{len(paths)} {row['status']} {path.name}", err=True)
        pythons = {
            "keras": sys.executable,
            "tf_keras": tf_keras_python(tf_keras_venv or work / "venv"),
        }
        versions = {"python": platform.python_version(), "lrcompress": lrcompress.__version__}
        for runtime, python in pythons.items():
            theirs, found = examine(python, runtime, jobs, timeout, work / f"{runtime}.log")
            versions[runtime] = theirs[runtime]
            versions["tensorflow" if runtime == "keras" else "tensorflow_of_tf_keras"] = theirs[
                "tensorflow"
            ]
            for row, result, job in zip(rows, found, jobs, strict=True):
                row[runtime] = {
                    key: tidy(value, Path(str(job[0]))) if isinstance(value, str) else value
                    for key, value in result.items()
                }
        for row, (original_path, _, modern_path) in zip(rows, jobs, strict=True):
            apart = modern_difference(row, str(original_path), modern_path) if modern_path else None
            limit = HALF_TOLERANCE if row.get("dtype") == "float16" else MODERN_TOLERANCE
            row |= {
                "modern_difference": apart,
                "modern_same": None if apart is None else apart <= limit,
            }
    for row in rows:
        row["verdict"] = verdict(row)
        row["only_compressed_loads"] = [
            runtime
            for runtime in RUNTIMES
            if row[runtime].get("compressed_loads") is True
            and row[runtime].get("original_loads") is not True
        ]
    document = {"command": COMMAND, "versions": versions, "totals": totals(rows), "rows": rows}
    output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    for row in rows:
        if row["verdict"] == "differs" or row["only_compressed_loads"]:
            click.echo(json.dumps(row))
    click.echo(json.dumps(document["totals"]))
    sys.exit(1 if document["totals"]["differs"] else 0)


if __name__ == "__main__":
    main()
