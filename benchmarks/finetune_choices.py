"""How the defaults of `finetune` were chosen: one knob at a time, several seeds, any data set.

    LRCOMPRESS_DATA=DIR python benchmarks/finetune_choices.py scratch-mnist/mnist-full.keras --ranks 4
    python benchmarks/finetune_choices.py examples/digits_cnn.keras --dataset digits --seeds 5

Each variant starts from the same factorized head and is judged on the validation part; its test
error is written down beside it and chooses nothing. `--samples` leaves only so many training
samples, for what to do with little data.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import lrcompress
from lrcompress.data.arrays import evenly
from lrcompress.data.sources import load
from lrcompress.live import engine, storing
from lrcompress.live.prepare import Prepared, prepare
from lrcompress.train.finetune import finetune
from lrcompress.train.part import SplitHead
from lrcompress.train.settings import FinetuneSettings

# What differs from the defaults. "head" is not re-fitted first where "refit" is False.
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "labels alone": {"distill": False},
    "teacher 0.9, T 4": {"teacher_weight": 0.9, "temperature": 4.0},
    "teacher 0.9, T 1": {"teacher_weight": 0.9, "temperature": 1.0},
    "rate 3e-4": {"learning_rate": 3e-4},
    "rate 3e-3": {"learning_rate": 3e-3},
    "batch 32": {"batch_size": 32},
    "batch 512": {"batch_size": 512},
    "dropout": {"dropout": True},
    "not re-fitted": {"refit": False},
    "re-fitted on all": {"refit_samples": 2**31},
    "original optimizer": {"optimizer": "original"},
    "head alone": {"scope": "head", "epochs": None},
}
SCALINGS = {"mnist": "/255", "cifar100": "/255", "digits": "/16"}

# Written into the result; folders of one machine are left out.
COMMAND = ["python", "benchmarks/finetune_choices.py"]


def with_samples(data: Prepared, samples: int | None) -> Prepared:
    """Return the data with fewer training samples."""
    if samples is None:
        return data
    split = dataclasses.replace(
        data.split,
        x_train=evenly(data.split.x_train, samples),
        y_train=evenly(data.split.y_train, samples),
    )
    return dataclasses.replace(data, split=split)


def run(
    small: Path,
    teacher: Any,  # noqa: ANN401  # a Keras model
    data: Prepared,
    head: SplitHead,
    name: str,
    seed: int,
    epochs: int,
) -> dict[str, Any]:
    """Fine-tune one variant and return its row."""
    chosen = {"epochs": epochs, "seed": seed} | VARIANTS[name]
    refit = chosen.pop("refit", True)
    settings = FinetuneSettings(**chosen)
    student = storing.load_model(small)
    outcome = finetune(student, teacher, data, settings, head=head if refit else None)
    settings = outcome.settings
    return {
        "variant": name,
        "seed": seed,
        "learning_rate": settings.learning_rate,
        "teacher_weight": settings.teacher_weight if outcome.distilled else 0.0,
        "temperature": settings.temperature,
        "head_refitted": refit,
        "dropout": settings.dropout,
        "batch_size": settings.batch_size,
        "validation": [
            [e["what"], e["validation_error_rate"], e["validation_loss"]]
            for e in outcome.state.history
        ],
        "best_epoch": outcome.state.best_epoch,
        "test_error_rate": outcome.after.error_rate,
        "test_loss": outcome.after.loss,
        "original_test_error_rate": outcome.original and outcome.original.error_rate,
        "seconds": outcome.seconds,
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return means over seeds, one entry a rank and variant: of the last epoch, and on test data."""
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["rank"], row["variant"]), []).append(row)
    return [
        {
            "rank": rank,
            "variant": variant,
            "seeds": len(group),
            "validation_error_rate": float(np.mean([r["validation"][-1][1] for r in group])),
            "validation_loss": float(np.mean([r["validation"][-1][2] for r in group])),
            "test_error_rate": float(np.mean([r["test_error_rate"] for r in group])),
            "test_loss": float(np.mean([r["test_loss"] for r in group])),
        }
        for (rank, variant), group in found.items()
    ]


def main() -> None:
    """Run the variants and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--ranks", type=int, nargs="+", default=[4])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    teacher = storing.load_model(arguments.model)
    origin = lrcompress.inspect(arguments.model)["head"]
    scaling = SCALINGS.get(arguments.dataset)
    prepared = prepare(load(arguments.dataset), teacher, scaling=scaling)
    data = with_samples(prepared, arguments.samples)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for rank in arguments.ranks:
            small = Path(folder) / f"small{rank}.keras"
            result = lrcompress.factorize(arguments.model, rank=rank, output=small)
            first = result.layers[0].first_name
            head = SplitHead(origin["path"], first, origin["activation"], origin["softmax"])
            for seed in range(arguments.seeds):
                for name in arguments.only:
                    row = run(small, teacher, data, head, name, seed, arguments.epochs)
                    rows.append({"rank": rank, **row})
                    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    document = {
        "command": [*COMMAND, arguments.model.name, *_options(arguments)],
        "dataset": arguments.dataset,
        "samples": len(data.split.x_train),
        "rank": arguments.ranks[0],
        "epochs": arguments.epochs,
        "device": engine.describe_device(),
        "versions": engine.versions(),
        "summary": summary(rows),
        "rows": rows,
    }
    text = json.dumps(document, indent=2) + "\n"
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text)
    print(text)


def _options(arguments: argparse.Namespace) -> list[str]:
    """Return the options as they would be typed, without the output."""
    words = []
    for name in ("ranks", "epochs", "seeds", "samples", "only", "dataset"):
        value = getattr(arguments, name)
        if value is not None and value != list(VARIANTS):
            values = value if isinstance(value, list) else [value]
            words += [f"--{name}", *map(str, values)]
    return words


if __name__ == "__main__":
    main()
