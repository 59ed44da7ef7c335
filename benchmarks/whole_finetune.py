"""Whole networks made smaller, then fine-tuned: points of test error lost before and after.

    python benchmarks/whole_finetune.py --starts DIR --goal transformer-75

Each network is made smaller on 3,000 unlabelled inputs, once: DIR keeps it. Then `lrcompress.finetune` runs as
anybody would call it, without labels unless `--labels` is given, on all training inputs or on the same 3,000.
The networks and their data are those of whole_network.py, and are looked for as there. Results go to
benchmarks/results/whole-finetune.json, one entry a goal, seed and way.

All goals take about half an hour on two quiet cores; seconds of the processor count where others work too.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from whole_network import GOALS as NETWORKS
from whole_network import INPUTS, Task

RESULTS = Path(__file__).parent / "results" / "whole-finetune.json"
# Test inputs that `finetune` measures on itself; the figures here are of all of them.
MEASURED = 1_000

# Name: network and budget, epochs (None: as many as finetune takes), points that may be lost, the prototype's.
GOALS: dict[str, tuple[str, int | None, float, float]] = {
    "transformer-75": ("transformer-75", 1, 0.1, 0.14),
    "transformer-90": ("transformer-90", 1, 0.4, 0.56),
    "lstm-93": ("lstm-93", 1, 0.0, -0.6),
    "resnet-75, the same 3,000 inputs": ("resnet-75", None, 4.0, 5.6),
    "cifar100-80": ("cifar100-80", 2, 0.0, 0.6),
    "cifar100-90": ("cifar100-90", 2, 3.0, 4.0),
    "resnet-75, 1 epoch": ("resnet-75", 1, 4.0, 4.4),
    "resnet-75, 3 epochs": ("resnet-75", 3, 2.5, 3.7),
}


def start(goal: str, task: Task, seed: int, folder: Path) -> Path:
    """Return the network of a goal made smaller, with its run record beside it; made where it is not there yet."""
    import lrcompress

    _, budget, value, *_ = NETWORKS[goal]
    path = folder / f"{goal}-{seed}{task.model.suffix}"
    if not path.exists():
        lrcompress.factorize(
            task.model, layers="all", **{budget: value}, dataset=few(task, seed), scaling="as-is",
            output=path, seed=seed,
        )  # fmt: skip
    return path


def few(task: Task, seed: int) -> dict[str, Any]:
    """Return 3,000 inputs without labels."""
    draw = np.random.default_rng(seed).permutation(len(task.train))[:INPUTS]
    return {"x_train": task.train[draw], "x_test": task.test[:MEASURED]}


def measure(
    name: str,
    seed: int,
    folder: Path,
    *,
    labels: bool,
    rate: float | None = None,
    dropout: bool = False,
    distill: bool = True,
) -> dict[str, Any]:
    """Fine-tune one network and score it, before and after, on all test data."""
    import lrcompress
    from lrcompress.live import storing
    from lrcompress.live.predict import predict_all

    goal, epochs, may, prototype = GOALS[name]
    task = NETWORKS[goal][0]()
    begin = start(goal, task, seed, folder)
    data = few(task, seed)
    if epochs is not None:
        data["x_train"] = task.train
    if labels and task.labels and epochs is not None:
        data |= {"y_train": task.labels[0], "y_test": task.labels[1][:MEASURED]}
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / begin.name
        load, used, started = os.getloadavg()[0], time.process_time(), time.perf_counter()
        found = lrcompress.finetune(
            begin,
            epochs=epochs,
            dataset=data,
            scaling="as-is",
            output=path,
            seed=seed,
            learning_rate=rate,
            dropout=dropout,
            distill=distill,
        )
        seconds, used = time.perf_counter() - started, time.process_time() - used
        scores = []
        for file in (task.model, begin, path):
            (outputs,) = predict_all(storing.load_model(file), task.test).values()
            scores.append(task.score(outputs))
    original, before, after = scores
    return {
        "goal": name, "seed": seed, "labels": labels, "rate": rate, "epochs": found.epochs,
        "inputs": len(data["x_train"]), "original": original, "before": before, "after": after,
        "lost_before": before - original, "lost": after - original, "unit": task.unit,
        "may_lose": may, "prototype": prototype,
        "seconds": found.seconds, "whole_seconds": seconds, "cpu_seconds": used, "load": load,
        "settings": found.settings, "history": found.history, "best_epoch": found.best_epoch,
    }  # fmt: skip


def main() -> None:
    """Run the goals that are asked for, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--goal", action="append", choices=[*GOALS], help="default: all")
    parser.add_argument(
        "--starts", type=Path, required=True, help="keeps the networks made smaller"
    )
    parser.add_argument("--labels", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rate", type=float, help="to try another learning rate")
    parser.add_argument("--dropout", action="store_true", help="the network's own stays on")
    parser.add_argument("--no-distill", action="store_true", help="the labels alone teach")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    known = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    arguments.starts.mkdir(parents=True, exist_ok=True)
    for goal in arguments.goal or GOALS:
        for seed in range(arguments.seeds):
            row = measure(
                goal,
                seed,
                arguments.starts,
                labels=arguments.labels,
                rate=arguments.rate,
                dropout=arguments.dropout,
                distill=not arguments.no_distill,
            )
            way = ", with labels" if arguments.labels else ""
            way += f", rate {arguments.rate:g}" if arguments.rate else ""
            way += ", dropout" if arguments.dropout else ""
            way += ", no distillation" if arguments.no_distill else ""
            known[f"{goal}, seed {seed}{way}"] = row
            print(json.dumps(row), flush=True)
            known["command"] = ["python", "benchmarks/whole_finetune.py", "--starts", "DIR"]
            arguments.output.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
