"""What each method loses on the paper's networks, and how long it takes.

    LRCOMPRESS_DATA=DIR python benchmarks/heads.py mnist-full.keras cifar100-adam.keras \
        --output benchmarks/results/heads.json

For each network: the methods on all training inputs and on few, without labels and without
training; the ablation; the closed forms at every rank; and one refined pass down the ranks.

    LRCOMPRESS_DATA=DIR python benchmarks/heads.py --fresh seed-1/mnist-full.keras seed-2/mnist-full.keras \
        --output benchmarks/results/heads-fresh-mnist.json

measures `refined` alone on networks of other seeds, on which nothing was ever tried.
Thin products gain little from threads and lose much where other processes want the cores: set
OPENBLAS_NUM_THREADS=1 on a busy machine; the result says what was set.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from lrcompress.data.sources import load
from lrcompress.live import engine, storing
from lrcompress.live.layers import layer_inputs
from lrcompress.lowrank import Factors, InputMoments, Problem, factorize_ranks, method_names
from lrcompress.lowrank.methods.refined import ITERATIONS
from lrcompress.lowrank.refinement.descent import Imitation

# Data set, few inputs, ranks, and those of the timed pass.
CASES: dict[str, tuple[int, list[int], list[int]]] = {
    "mnist": (2_000, [8, 6, 5, 4, 3, 2, 1], [9, 8, 7, 6, 5, 4, 3, 2, 1]),
    "cifar100": (5_000, [75, 60, 40, 20, 10], [75, 60, 50, 40, 30, 24, 20, 16, 13, 10, 7, 5]),
}
# Written into the result; folders of one machine are left out.
COMMAND = ["python", "benchmarks/heads.py"]


class Network:
    """The head of a network and its inputs, in training and in test."""

    def __init__(self, path: Path, name: str) -> None:
        """Run the network below its head once."""
        model = storing.load_model(path)
        data = load(name)
        head = model.layers[-1]
        self.kernel, self.bias = (np.asarray(weight) for weight in head.get_weights())
        self.x = layer_inputs(model, head.name, _scaled(data.x_train))
        self.x_test = layer_inputs(model, head.name, _scaled(data.x_test))
        self.y_test = np.asarray(data.y_test).ravel()
        self.logits = self.x_test @ self.kernel + self.bias

    def factorized(self, ranks: list[int], method: str, **given: object) -> dict[int, Factors]:
        """Return the factors by a method from inputs or moments."""
        problem = replace(Problem(self.kernel, self.bias, softmax=True), **given)
        return factorize_ranks(problem, ranks, method)

    def measure(self, factors: Factors) -> dict[str, Any]:
        """Return what factors lose on the test inputs."""
        bias = self.bias if factors.bias is None else factors.bias
        picked = (self.x_test @ factors.B @ factors.C + bias).argmax(axis=1)
        original = self.logits.argmax(axis=1)
        wrong, was_wrong = picked != self.y_test, original != self.y_test
        difference = wrong.astype(float) - was_wrong
        interval = 1.96 * float(difference.std()) / np.sqrt(len(wrong))
        return {
            "method": factors.method,
            "error_rate": 100 * float(wrong.mean()),
            "drop": 100 * float(difference.mean()),
            "drop_interval": 100 * interval,
            "disagreement": 100 * float((picked != original).mean()),
        }


def _scaled(images: NDArray[Any]) -> NDArray[np.float32]:
    wide = np.asarray(images, np.float32) / np.float32(255)
    return wide[..., None] if wide.ndim == 3 else wide


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and its wall seconds."""
    started = time.perf_counter()
    return make(), time.perf_counter() - started


def methods(network: Network, x: NDArray[Any], ranks: list[int]) -> list[dict[str, Any]]:
    """Return every method at every rank, as `factorize` would do it."""
    rows = []
    for method in method_names()[1:]:
        found, seconds = timed(lambda method=method: network.factorized(ranks, method, inputs=x))
        row = {"asked": method, "seconds": seconds}
        row["ranks"] = {str(rank): network.measure(found[rank]) for rank in ranks}
        print(method, f"{seconds:.1f} s", _line(row), flush=True)
        rows.append(row)
    return rows


def ablation(network: Network, ranks: list[int]) -> list[dict[str, Any]]:
    """Return what each part of the way from svd to refined brings, on all training inputs."""
    kernel, bias, x = network.kernel, network.bias, network.x
    moments, moments_seconds = timed(lambda: _moments(x))

    def closed(method: str) -> dict[int, Factors]:
        return network.factorized(ranks, method, moments=moments)

    def from_whitened() -> dict[int, Factors]:
        imitation = Imitation(kernel, bias, x, "softmax", has_bias=True)
        found = {}
        for rank, factors in closed("whitened").items():
            (first, second, added), _ = imitation.nearest(
                (factors.B, factors.C, factors.bias), ITERATIONS
            )
            parts = (part.astype(np.float32) for part in (first, second, added))
            found[rank] = replace(factors, **dict(zip(("B", "C", "bias"), parts, strict=True)))
        return found

    def without_bias_refit() -> dict[int, Factors]:
        centre = bias - bias.mean()
        return {rank: replace(found, bias=centre) for rank, found in closed("whitened").items()}

    variants: list[tuple[str, Callable[[], dict[int, Factors]]]] = [
        ("svd", lambda: closed("svd")),
        ("centered", lambda: closed("centered")),
        ("whitened, old bias", without_bias_refit),
        ("whitened, bias re-fitted", lambda: closed("whitened")),
        ("refined from the whitened start", from_whitened),
        (
            "refined by continuation",
            lambda: network.factorized(ranks, "refined", inputs=x),
        ),
    ]
    rows = []
    for name, make in variants:
        found, seconds = timed(make)
        uses_moments = name.startswith("whitened")
        row = {"variant": name, "seconds": seconds + moments_seconds * uses_moments}
        row["ranks"] = {str(rank): network.measure(found[rank]) for rank in ranks}
        print(name, f"{row['seconds']:.1f} s", _line(row), flush=True)
        rows.append(row)
    return rows


def _moments(x: NDArray[Any]) -> InputMoments:
    moments = InputMoments(x.shape[-1])
    moments.update(x)
    return moments


def every_rank(network: Network) -> dict[str, Any]:
    """Return seconds of the closed forms at all ranks, test error of each included."""
    ranks = list(range(1, min(network.kernel.shape) + 1))

    def sweep() -> None:
        moments = _moments(network.x)
        for method in ("svd", "centered", "whitened"):
            found = network.factorized(ranks, method, moments=moments)
            for factors in found.values():
                network.measure(factors)

    _, seconds = timed(sweep)
    print(f"closed forms at {len(ranks)} ranks: {seconds:.1f} s", flush=True)
    return {"ranks": len(ranks), "test_samples": len(network.x_test), "seconds": seconds}


def one_pass(network: Network, ranks: list[int]) -> dict[str, Any]:
    """Return seconds of one refined pass through many ranks."""
    found, seconds = timed(lambda: network.factorized(ranks, "refined", inputs=network.x))
    row: dict[str, Any] = {"inputs": len(network.x), "seconds": seconds}
    row["ranks"] = {str(rank): network.measure(found[rank]) for rank in ranks}
    print(f"one pass through {len(ranks)} ranks: {seconds:.1f} s", _line(row), flush=True)
    return row


def _line(row: dict[str, Any]) -> str:
    return "  ".join(f"r{rank} {found['drop']:+.2f}" for rank, found in row["ranks"].items())


def fresh(paths: list[Path]) -> list[dict[str, Any]]:
    """Return `refined` on all inputs and on few, for MNIST networks that no choice has seen."""
    few, ranks, _ = CASES["mnist"]
    rows = []
    for path in paths:
        network = Network(path, "mnist")
        row: dict[str, Any] = {
            "model": "/".join(path.parts[-2:]),
            "error_rate": 100 * float((network.logits.argmax(axis=1) != network.y_test).mean()),
        }
        for name, x in (("all", network.x), ("few", network.x[:: len(network.x) // few])):
            found = network.factorized(ranks, "refined", inputs=x)
            row[name] = {str(rank): network.measure(found[rank]) for rank in ranks}
            print(row["model"], name, _line({"ranks": row[name]}), flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Measure both networks and write the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mnist", type=Path, nargs="?")
    parser.add_argument("cifar100", type=Path, nargs="?")
    parser.add_argument("--fresh", type=Path, nargs="+", default=[])
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    document: dict[str, Any] = {
        "command": COMMAND,
        "versions": {**engine.versions(), "numpy": np.__version__, "scipy": scipy.__version__},
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS"),
        "networks": {},
    }
    if arguments.fresh:
        del document["networks"]
        rows = fresh(arguments.fresh)
        document |= {
            "command": [*COMMAND, "--fresh", *(row["model"] for row in rows)],
            "rows": rows,
        }
        arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        return
    document["command"] = [*COMMAND, arguments.mnist.name, arguments.cifar100.name]
    for name, path in (("mnist", arguments.mnist), ("cifar100", arguments.cifar100)):
        few, ranks, passing = CASES[name]
        network = Network(path, name)
        original = 100 * float((network.logits.argmax(axis=1) != network.y_test).mean())
        print(f"{name}: {original:.2f} %", flush=True)
        document["networks"][name] = {
            "kernel": list(network.kernel.shape),
            "error_rate": original,
            "inputs": len(network.x),
            "few_inputs": few,
            "every_rank": every_rank(network),
            "few": methods(network, network.x[:: len(network.x) // few], ranks),
            "all": methods(network, network.x, ranks),
            "ablation": ablation(network, ranks),
            "pass": one_pass(network, passing),
        }
        arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
