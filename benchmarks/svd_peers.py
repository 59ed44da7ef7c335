"""`truncated_svd` against the SVDs that people use, side by side: seconds, and error over the optimum.

    python benchmarks/svd_peers.py --work DIR

Needs `pip install lrcompress[bench]` and 3 GB in DIR. One process for each of NumPy's world,
PyTorch and TensorFlow, so that no idle thread pool of one takes a core from another; all peers take
turns, run by run. Beside each time stands how many cores other programs used meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent.resolve()
OUTPUT = HERE / "results" / "svd-peers.json"
CASES = [
    (512, 100, 60),
    (2048, 1000, 100),
    (4096, 1000, 128),
    (512, 10000, 64),
    (4096, 4096, 256),
    (768, 50257, 128),
    (4096, 32000, 256),
]
KINDS = ("gaussian", "decaying")
# In the turns of their runs; which process each lives in.
PEERS = {
    "gram_product": "numpy", "lrcompress": "numpy", "numpy_gesdd": "numpy", "scipy_gesdd": "numpy",
    "scipy_svds": "numpy", "sklearn_randomized_svd": "numpy", "fbpca": "numpy",
    "torch_svd_lowrank": "torch", "tensorflow_svd": "tensorflow",
}  # fmt: skip
# An error of this many times the least possible counts as reached.
REACHED = 1.001
# Iterations with which a randomized peer is called again where its default misses that, as long as
# it is faster than lrcompress.
ITERATED = ("sklearn_randomized_svd", "fbpca", "torch_svd_lowrank")
MORE_ITERATIONS = (4, 8, 16)
# Seconds after which no further run of a peer on a kernel is begun.
PATIENCE = 8.0


def make(m: int, n: int, kind: str) -> NDArray[np.float32]:
    """Return a kernel of independent normal numbers, or one with ``sigma_i ~ i^-0.7`` and noise."""
    rng = np.random.default_rng(0)
    if kind == "gaussian":
        return rng.standard_normal((m, n), dtype=np.float32)
    k, length = min(m, n), max(m, n)
    sigma = np.arange(1, k + 1, dtype=np.float32) ** np.float32(-0.7)
    turn = np.linalg.qr(rng.standard_normal((k, k), dtype=np.float32))[0]
    long = rng.standard_normal((length, k), dtype=np.float32)
    signal = (long * sigma) @ turn.T
    noise = rng.standard_normal((length, k), dtype=np.float32)
    # A fifth of the norm is noise, as in a trained layer whose small singular values are flat.
    signal /= np.linalg.norm(signal)
    noise *= np.float32(0.2) / np.linalg.norm(noise)
    made = signal + noise
    return np.ascontiguousarray(made if m >= n else made.T)


def optimum(kernel: NDArray[np.float32], rank: int) -> float:
    """Return the least Frobenius error of the rank, from eigenvalues in float64."""
    tall = kernel if kernel.shape[0] >= kernel.shape[1] else kernel.T
    gram = np.zeros((tall.shape[1],) * 2)
    for start in range(0, len(tall), 4096):
        rows = tall[start : start + 4096].astype(np.float64)
        gram += rows.T @ rows
    return float(np.sqrt(np.linalg.eigvalsh(gram)[: len(gram) - rank].sum()))


def prepare(work: Path, m: int, n: int, rank: int, kind: str) -> tuple[Path, float]:
    """Return the file of a kernel and its optimum, both made once."""
    path = work / f"{m}x{n}-{kind}.npy"
    if not path.exists():
        np.save(path, make(m, n, kind))
    known = path.with_suffix(f".{rank}.json")
    if not known.exists():
        known.write_text(json.dumps(optimum(np.load(path), rank)))
    return path, json.loads(known.read_text())


class Worker:
    """One process that loads kernels and runs one peer at a time."""

    def __init__(self, world: str, threads: int) -> None:
        """Start it with a number of threads for whatever library it uses."""
        prefixes = ("OPENBLAS", "OMP", "MKL", "TF_NUM_INTRAOP", "TF_NUM_INTEROP")
        names = [f"{p}_THREADS" if p.startswith("TF") else f"{p}_NUM_THREADS" for p in prefixes]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "svd_worker.py"), world], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | dict.fromkeys(names, str(threads)),
        )  # fmt: skip
        self.libraries = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(self.process.args)} ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, **job: str | int | None) -> dict[str, Any]:
        """Run one job."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return self._answer()


def summary(runs: list[dict[str, Any]], best: float) -> dict[str, Any]:
    """Return the figures of one peer on one kernel."""
    first = runs[0]
    if "skipped" in first:
        return first
    found: dict[str, Any] = {}
    for clock in ("seconds", "cpu_seconds"):
        taken = [run[clock] for run in runs]
        found |= {f"median_{clock}": statistics.median(taken), f"least_{clock}": min(taken)}
    found |= {
        "seconds": [round(run["seconds"], 6) for run in runs],
        "cores_used_by_others": [run["others"] for run in runs],
    }
    if "error" in first:
        found["error_over_optimum"] = first["error"] / best
    return found | {
        key: first[key] for key in ("algorithm", "certified_optimality") if key in first
    }


def compare(workers: dict[str, Worker], rank: int, best: float, repeats: int) -> dict[str, Any]:
    """Measure all peers on the kernel that is loaded, in turns."""
    runs: dict[tuple[str, int | None], list[dict[str, Any]]] = {(p, None): [] for p in PEERS}
    for turn in range(repeats):
        for (peer, iterations), taken in list(runs.items()):
            if sum(run.get("seconds", PATIENCE) for run in taken) >= PATIENCE:
                continue
            worker = workers[PEERS[peer]]
            taken.append(worker.ask(peer=peer, rank=rank, iterations=iterations))
            print(peer, iterations, taken[-1], file=sys.stderr, flush=True)
            if turn or peer not in ITERATED:
                continue
            found, more = taken[-1], list(MORE_ITERATIONS)
            ours = runs["lrcompress", None][0]["cpu_seconds"]
            while more and found["error"] > REACHED * best and found["cpu_seconds"] < ours:
                found = worker.ask(peer=peer, rank=rank, iterations=more[0])
                print(peer, more[0], found, file=sys.stderr, flush=True)
                runs[peer, more.pop(0)] = [found]
    return {
        peer if iterations is None else f"{peer}, {iterations} iterations": summary(taken, best)
        for (peer, iterations), taken in runs.items()
    }


def verdict(peers: dict[str, Any], clock: str) -> dict[str, Any]:
    """Return ours beside one Gram product and the fastest peer that reaches the optimum."""
    median = f"median_{clock}"
    able = {
        name: figures[median]
        for name, figures in peers.items()
        if name != "lrcompress" and figures.get("error_over_optimum", np.inf) <= REACHED
    }
    fastest = min(able, key=lambda name: able[name], default=None)
    ours = peers["lrcompress"][median]
    return {
        "clock": clock,
        "lrcompress": ours,
        "over_gram_product": ours / peers["gram_product"][median],
        "fastest_peer": fastest,
        "its": None if fastest is None else able[fastest],
    }


def peak_memory(path: Path, rank: int) -> dict[str, Any]:
    """Return the peak megabytes of processes that factorize a kernel: loaded, and from its file."""
    # The resource module would tell the peak of this process, if that is larger.
    code = (
        "import sys, numpy, pathlib, re\n"
        "from lrcompress.lowrank import truncated_svd\n"
        "kernel = numpy.load(sys.argv[1], mmap_mode=sys.argv[3] or None)\n"
        "truncated_svd(kernel, int(sys.argv[2]))\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(int(re.search(r'VmHWM:\\s*(\\d+) kB', status)[1]) * 1024 / 1e6)\n"
    )
    figures: dict[str, Any] = {"kernel_megabytes": path.stat().st_size / 1e6, "rank": rank}
    for name, mode in (("array", ""), ("memory_map", "r")):
        command = [sys.executable, "-c", code, str(path), str(rank), mode]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures[f"{name}_peak_megabytes"] = float(done.stdout)
    return figures


def main() -> None:
    """Measure all cases; write the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[os.cpu_count() or 1])
    parser.add_argument("--shapes", nargs="+", help="such as 512x100; default: all")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "command": ["python", "benchmarks/svd_peers.py", "--work", "DIR", "--threads"]
        + [str(threads) for threads in arguments.threads],
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "libraries": {},
        "cases": [],
    }
    if arguments.output.exists():
        # Cases measured before stay; those measured now replace them.
        document["cases"] = json.loads(arguments.output.read_text())["cases"]
    chosen = [c for c in CASES if not arguments.shapes or f"{c[0]}x{c[1]}" in arguments.shapes]
    kernels = [
        (*case, kind, *prepare(arguments.work, *case, kind))
        for case in chosen
        for kind in arguments.kinds
    ]
    for threads in arguments.threads:
        workers = {world: Worker(world, threads) for world in dict.fromkeys(PEERS.values())}
        document["libraries"] = {name: worker.libraries for name, worker in workers.items()}
        for m, n, rank, kind, path, best in kernels:
            for worker in workers.values():
                worker.ask(load=str(path))
            peers = compare(workers, rank, best, arguments.repeats)
            case = {"shape": [m, n], "rank": rank, "kind": kind, "threads": threads}
            known = [c for c in document["cases"] if any(c[key] != case[key] for key in case)]
            # On a machine with other work, the CPU time of one thread is what can be repeated.
            clock = "cpu_seconds" if threads == 1 else "seconds"
            case |= {"verdict": verdict(peers, clock), "peers": peers}
            document["cases"] = [*known, case]
            print(json.dumps(case["verdict"]), flush=True)
            arguments.output.write_text(json.dumps(document, indent=2) + "\n")
        for worker in workers.values():
            worker.process.kill()
            worker.process.wait()
    large = arguments.work / "4096x32000-gaussian.npy"
    if large in [path for *_, path, _ in kernels]:
        tall = arguments.work / "32000x4096.npy"
        np.save(tall, np.ascontiguousarray(np.load(large).T))
        document["peak_memory"] = {"shape": [32000, 4096]} | peak_memory(tall, 256)
        arguments.output.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
