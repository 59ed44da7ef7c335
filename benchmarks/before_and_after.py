"""Two checkouts of lrcompress timed against each other, in pairs: does anything take longer than before?

    python benchmarks/before_and_after.py BEFORE AFTER --output benchmarks/results/before-and-after.json

BEFORE and AFTER are folders that hold a package `lrcompress`. Each job is a process of its own, the two
checkouts in turns, so that a noisy machine is noisy for both; what counts is the ratio of the CPU
seconds of a pair, and its median over the pairs. The jobs are those of `factorize_vs_keras.py`
(a file, two ranks), `svd_peers.py` (two ranks of its smaller shapes) and `heads.py` (the methods with
data, two ranks) as both checkouts can run them: by the command line and by `truncated_svd`.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

MODEL = Path(__file__).resolve().parent.parent / "examples" / "digits_cnn.keras"
RUN = "import sys; from lrcompress.cli import main; main(sys.argv[1:], prog_name='lrcompress')"
SVD = """
import sys, numpy, lrcompress
m, n, rank = map(int, sys.argv[1:])
kernel = numpy.random.default_rng(0).standard_normal((m, n)).astype("float32")
for _ in range(max(1, 10**8 // (m * n * min(m, n)))):
    lrcompress.truncated_svd(kernel, rank)
"""
JOBS = {
    "--help": [RUN, "--help"],
    "report --help": [RUN, "report", "--help"],
    "inspect": [RUN, "inspect", str(MODEL)],
    **{
        f"factorize --rank {rank}": [RUN, "factorize", str(MODEL), "--rank", rank, "--overwrite"]
        for rank in ("4", "2")
    },
    "factorize --layers dense": [
        RUN, "factorize", str(MODEL), "--layers", "dense", "--reduction", "0.3", "--overwrite",
    ],
    **{
        f"truncated_svd {m} x {n}, rank {rank}": [SVD, str(m), str(n), str(rank)]
        for m, n, ranks in ((512, 100, (60, 20)), (2048, 1000, (100, 50)), (4096, 1000, (128, 64)))
        for rank in ranks
    },
    **{
        f"factorize --method {method} --rank {rank}, with data": [
            RUN, "factorize", str(MODEL), "--dataset", "digits", "--method", method, "--rank", rank,
            "--overwrite",
        ]
        for method in ("refined", "whitened")
        for rank in ("4", "2")
    },
}  # fmt: skip


def seconds(checkout: Path, words: list[str], folder: Path) -> float:
    """Return the CPU seconds of one run."""
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve()), "TF_CPP_MIN_LOG_LEVEL": "3"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-c", *words], cwd=folder, env=environment, check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@click.command(help=__doc__)
@click.argument("before", type=click.Path(path_type=Path, exists=True))
@click.argument("after", type=click.Path(path_type=Path, exists=True))
@click.option("--pairs", default=7, show_default=True)
@click.option("--output", type=click.Path(path_type=Path))
def main(before: Path, after: Path, pairs: int, output: Path | None) -> None:
    """Time both, in turns."""
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for name, words in JOBS.items():
            taken = []
            for number in range(pairs + 1):  # the first warms the caches
                order = [before, after] if number % 2 else [after, before]
                of = {place: seconds(place, words, Path(work)) for place in order}
                if number:
                    taken.append((of[before], of[after]))
            ratios = sorted(b / a for a, b in taken)
            row = {
                "job": name,
                "before_seconds": round(min(a for a, _ in taken), 3),
                "after_seconds": round(min(b for _, b in taken), 3),
                "median_ratio": round(statistics.median(ratios), 3),
                "ratios": [round(ratio, 3) for ratio in ratios],
            }
            rows.append(row)
            print(
                f"{name:50} {row['before_seconds']:8} {row['after_seconds']:8} {row['median_ratio']:8}"
            )
    document = {
        "command": ["python", "benchmarks/before_and_after.py", "BEFORE", "AFTER"],
        "cores": os.cpu_count(), "python": platform.python_version(), "pairs": pairs, "rows": rows,
    }  # fmt: skip
    if output:
        output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
