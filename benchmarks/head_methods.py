"""Heads of 10,000 to 1,000,000 classes: seconds, peak memory, and the KL on inputs that nothing was fitted to.

    git worktree add OLD b04b9be
    python benchmarks/head_methods.py --before OLD --output benchmarks/results/head-methods.json

Takes about ten minutes on two idle cores; `--before` adds a quarter of an hour or more for what `refined` and
`whitened` were, in turns with what they are. Each measurement is a fresh process.
The heads are drawn: a normal kernel, inputs of unequal variance after a relu, biases by Zipf's law, as of words.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Features, classes, rank, inputs, inputs to judge by, seeds, and the methods of this checkout and of the one before.
CASES: list[tuple[int, int, int, int, int, int, list[str], list[str]]] = [
    (
        512,
        10_000,
        64,
        5_000,
        1_000,
        3,
        ["whitened", "weighted", "refined"],
        ["whitened", "refined"],
    ),
    (512, 10_000, 64, 20_000, 1_000, 3, ["weighted", "refined"], []),
    (768, 50_257, 128, 20_000, 500, 1, ["weighted", "refined"], []),
    (256, 1_000_000, 64, 5_000, 100, 1, ["weighted"], []),
]
OUTPUT = Path(__file__).parent / "results" / "head-methods.json"
Floats = NDArray[np.float32]


def draw(m: int, n: int, counts: list[int], seed: int) -> tuple[Floats, Floats, list[Floats]]:
    """Return a kernel, a bias and inputs."""
    rng = np.random.default_rng(seed)
    mix = np.linalg.qr(rng.standard_normal((m, m)))[0] / np.sqrt(np.arange(1, m + 1))
    mix *= 1.5 * np.sqrt(m) / np.linalg.norm(mix)
    inputs = [
        np.maximum(rng.standard_normal((count, m)) @ mix.T + 0.3, 0).astype(np.float32)
        for count in counts
    ]
    kernel = rng.standard_normal((m, n), dtype=np.float32)
    kernel *= np.float32(1.1 / np.sqrt(m))
    bias = rng.permutation(-np.log(np.arange(1, n + 1))).astype(np.float32)
    return kernel, bias, inputs


def log_softmax(z: Floats) -> Floats:
    """Return the logarithms of the probabilities, in place of the logits."""
    z -= z.max(axis=1, keepdims=True)
    z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
    return z


def child(m: int, n: int, rank: int, count: int, fresh: int, seed: int, method: str) -> None:
    """Factorize one head and print what was measured."""
    from lrcompress.lowrank import Problem, factorize_ranks

    kernel, bias, (x, judging) = draw(m, n, [count, fresh], seed)
    problem = Problem(kernel, bias, softmax=True, inputs=x)
    wall, cpu = time.perf_counter(), time.process_time()
    found = factorize_ranks(problem, [rank], method)[rank]
    figures: dict[str, Any] = {
        "method_used": found.method,
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    total = 0.0
    for start in range(0, fresh, 50):
        rows = judging[start : start + 50]
        p = log_softmax(rows @ kernel + bias)
        q = log_softmax(rows @ found.B @ found.C + (bias if found.bias is None else found.bias))
        q -= p
        total -= float((np.exp(p, out=p) * q).sum(dtype=np.float64))
    print(json.dumps(figures | {"fresh_kl": total / fresh}))


def measure(checkout: Path, arguments: list[int | str]) -> dict[str, Any]:
    """Run one measurement on a checkout."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", *map(str, arguments)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(checkout)},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    print(*arguments, found, flush=True)
    return found


def main() -> None:
    """Measure all cases and write the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=7)
    parser.add_argument("--before", type=Path, help="a checkout of an older commit")
    parser.add_argument("--classes", type=int, nargs="+", help="only heads of so many")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    if arguments.child:
        *numbers, method = arguments.child
        child(*map(int, numbers), method)
        return
    here = Path(__file__).parent.parent.resolve()
    command = [
        "python",
        "benchmarks/head_methods.py",
        *(["--before", "OLD"] if arguments.before else []),
        *(["--classes", *map(str, arguments.classes)] if arguments.classes else []),
    ]
    document: dict[str, Any] = {
        "command": command,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "cases": [],
    }
    for m, n, rank, count, fresh, seeds, now, before in CASES:
        if arguments.classes and n not in arguments.classes:
            continue
        ways = [("now", here, method) for method in now]
        if arguments.before:
            ways += [("before", arguments.before.resolve(), method) for method in before]
        rows = [
            {"when": when, "method": method, "seed": seed}
            | measure(checkout, [m, n, rank, count, fresh, seed, method])
            for seed in range(seeds)
            for when, checkout, method in ways
        ]
        document["cases"].append(
            {"kernel": [m, n], "rank": rank, "inputs": count, "fresh": fresh, "rows": rows}
        )
        arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
