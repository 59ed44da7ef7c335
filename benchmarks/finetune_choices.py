"""How the defaults of `finetune` were chosen: variants of rate, batch and teacher, on MNIST.

    LRCOMPRESS_DATA=DIR python benchmarks/finetune_choices.py scratch-mnist/mnist-full.keras --rank 4

Each variant starts from the same factorized head and is judged on the validation part; its test
error is written down beside it and chooses nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import lrcompress
from lrcompress.training import backend
from lrcompress.training.datasets import load
from lrcompress.training.finetune import finetune
from lrcompress.training.recover import SplitHead
from lrcompress.training.session import DataRequest, prepare
from lrcompress.training.settings import FinetuneSettings

# (learning rate, teacher's weight, temperature, head re-fitted first, dropout kept on);
# weight 0 is labels alone.
VARIANTS = [
    (1e-3, 0.5, 2.0, True, False),
    (1e-3, 0.5, 2.0, True, True),
    (1e-3, 0.5, 2.0, False, False),
    (3e-4, 0.5, 2.0, True, False),
    (1e-3, 0.0, 1.0, True, False),
    (1e-3, 0.9, 4.0, True, False),
]

# Written into the result; folders of one machine are left out.
COMMAND = ["python", "benchmarks/finetune_choices.py"]


def main() -> None:
    """Run the variants and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    teacher = backend.load_model(arguments.model)
    origin = lrcompress.inspect(arguments.model)["head"]
    scaling = {"mnist": "/255", "digits": "/16"}.get(arguments.dataset)
    data = prepare(load(arguments.dataset), teacher, DataRequest(scaling=scaling))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.keras"
        result = lrcompress.factorize(arguments.model, rank=arguments.rank, output=small)
        first = result.layers[0].first_name
        head = SplitHead(origin["path"], first, origin["activation"], origin["softmax"])
        for rate, weight, temperature, refit, dropout in VARIANTS:
            settings = FinetuneSettings(
                epochs=arguments.epochs,
                learning_rate=rate,
                dropout=dropout,
                distill=weight > 0,
                teacher_weight=weight,
                temperature=temperature,
            )
            student = backend.load_model(small)
            outcome = finetune(student, teacher, data, settings, head=head if refit else None)
            row = {
                "learning_rate": rate,
                "teacher_weight": weight,
                "temperature": temperature,
                "head_refitted": refit,
                "dropout": dropout,
                "batch_size": outcome.settings.batch_size,
                "validation": [
                    [e["what"], e["validation_error_rate"], e["validation_loss"]]
                    for e in outcome.history
                ],
                "test_error_rate": outcome.after.error_rate,
                "original_test_error_rate": outcome.original and outcome.original.error_rate,
                "seconds": outcome.seconds,
            }
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    document = {
        "command": [*COMMAND, arguments.model.name, "--rank", str(arguments.rank)],
        "rank": arguments.rank,
        "epochs": arguments.epochs,
        "versions": backend.versions(),
        "rows": rows,
    }
    text = json.dumps(document, indent=2) + "\n"
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
