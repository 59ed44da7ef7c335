"""Mutated model files: each must end compressed or refused in one line, whatever it holds.

    python benchmarks/fuzz.py --count 10000 --seed 0 --files $LRCOMPRESS_ZOO \
        --output benchmarks/results/fuzz.json

Every case is inspected and factorized in a process of its own kind: bounded in memory, ended when
it hangs. A case is made from the seed and its number alone: `--start NUMBER --count 1 --keep DIR`
makes it again. Exit code 1 says that there are findings.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import click
import h5py
from fuzzing.mutating import make, seed_files
from fuzzing.pool import HANG_SECONDS, MORE_BYTES, Report, run
from fuzzing.trying import FINDINGS

from lrcompress.records import runs

EXAMPLES = Path(__file__).parents[1] / "examples"
LONGEST_DETAIL = 4_000
PROGRESS_EVERY = 500


class Tally:
    """Counts of outcomes, in all and by kind of mutation, and every finding."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.outcomes: Counter[str] = Counter()
        self.mutations: dict[str, Counter[str]] = {}
        self.findings: list[dict[str, Any]] = []
        self.slowest: dict[str, Any] = {"seconds": 0.0}
        self.peak_megabytes = 0.0

    def add(self, report: Report) -> None:
        """Count one case."""
        self.outcomes[report.result] += 1
        group = report.result.split(":")[0]
        group = "findings" if group in FINDINGS else group
        for kind in report.kinds:
            self.mutations.setdefault(kind, Counter())[group] += 1
        self.peak_megabytes = max(self.peak_megabytes, report.peak_megabytes)
        if report.result not in FINDINGS and report.seconds > self.slowest["seconds"]:
            self.slowest = {"index": report.index, "seconds": round(report.seconds, 3)}
        if report.result in FINDINGS:
            self.findings.append(
                {
                    "index": report.index,
                    "file": report.file,
                    "mutations": list(report.kinds),
                    "finding": report.result,
                    "detail": report.detail[-LONGEST_DETAIL:],
                }
            )

    def lines(self) -> list[str]:
        """Return a table of the outcomes."""
        rows = [f"{count:8d}  {result}" for result, count in self.outcomes.most_common()]
        return [*rows, f"{sum(self.outcomes.values()):8d}  in all, {len(self.findings)} findings"]


def keep_file(report: Report, keep: Path, seed: int) -> None:
    """Save the file of a finding with what it said."""
    if report.saved is None:
        return
    stem = f"{seed}-{report.index}-{report.result.replace(' ', '-')}"
    shutil.copy(report.saved, keep / f"{stem}{report.saved.suffix}")
    text = f"{report.file}\n{', '.join(report.kinds)}\n{report.detail}\n"
    (keep / f"{stem}.txt").write_text(text, encoding="utf-8", errors="backslashreplace")


@click.command()
@click.option("--count", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--start", type=click.IntRange(0), default=0, help="Number of the first case.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--files",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    envvar="LRCOMPRESS_ZOO",
    default=EXAMPLES,
    help="Model files to start from; default the examples.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option("--keep", type=click.Path(path_type=Path), help="Save the files of findings here.")
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
def main(
    count: int,
    start: int,
    seed: int,
    folder: Path,
    output: Path | None,
    keep: Path | None,
    workers: int,
) -> None:
    """Mutate model files, try each, and say what became of them."""
    files = seed_files(folder)
    if not files:
        msg = f"{folder} holds no model file of up to a megabyte."
        raise click.UsageError(msg)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    tally = Tally()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        cases = iter(range(start, start + count))
        for number, report in enumerate(
            run(partial(make, files, seed), cases, Path(work), workers), 1
        ):
            tally.add(report)
            if report.result in FINDINGS:
                last = (report.detail.strip().splitlines() or [""])[-1]
                click.echo(f"{report.index} {report.result} [{', '.join(report.kinds)}] {last}")
                if keep is not None:
                    keep_file(report, keep, seed)
            if number % PROGRESS_EVERY == 0:
                click.echo(f"{number} cases, {time.perf_counter() - started:.0f} s", err=True)
    click.echo("\n".join(tally.lines()))
    if output is not None:
        named = "examples" if folder == EXAMPLES else "$LRCOMPRESS_ZOO"
        command = ["python", "benchmarks/fuzz.py", "--count", str(count), "--seed", str(seed)]
        command += ["--files", named, "--output", "benchmarks/results/fuzz.json"]
        document = {
            "command": command,
            "versions": {**runs.versions(), "hdf5": h5py.version.hdf5_version},
            "files": len(files),
            "limits": {"seconds": HANG_SECONDS, "megabytes": MORE_BYTES // 2**20},
            "cases": count,
            "outcomes": dict(tally.outcomes.most_common()),
            "mutations": {kind: dict(found) for kind, found in sorted(tally.mutations.items())},
            "findings": tally.findings,
            "slowest": tally.slowest,
            "peak_megabytes": round(tally.peak_megabytes),
            "seconds": round(time.perf_counter() - started),
        }
        output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    sys.exit(1 if tally.findings else 0)


if __name__ == "__main__":
    main()
