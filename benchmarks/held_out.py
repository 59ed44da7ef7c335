"""How well held-out training data tell what a factorized head loses on test data, rule by rule.

    LRCOMPRESS_DATA=DIR python benchmarks/held_out.py cifar100_resnet.keras=cifar100 books_lstm.keras=books.npz \
        --output benchmarks/results/held-out.json

The original was trained on the held-out data. For every network, method and rank: the drop that each
rule expects from them, and the true drop on the test data; and for each allowed drop the rank that each
rule would choose, what it saves of the layer and what it truly loses. Test data judge the rules; no rule
sees them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from lrcompress.compression import LayerTask, Request, Target
from lrcompress.compression.head_trial import HeadTrial
from lrcompress.compression.trial import Calibration
from lrcompress.data.arrays import evenly
from lrcompress.live.layers import layer_inputs
from lrcompress.lowrank import largest_useful_rank, rank_grid
from lrcompress.modelfile import find_head, open_model
from lrcompress.verbs.context import DataSource, open_live

METHODS = ("svd", "refined")
ALLOWED = (0.25, 0.5, 1.0, 2.0)
CALIBRATED_ON = 10_000


def measure(path: Path, data: str) -> dict[str, Any]:
    """Return the drops of one network by rule, method and rank."""
    opened = open_model(path)
    live = open_live(opened, DataSource(data))
    target = Target(find_head(opened), is_head=True)
    split, scaling, layer = live.data.split, live.data.scaling, target.layer
    train, held_out, test = (
        layer_inputs(live.keras_model, layer.input_path, scaling(x))
        for x in (evenly(split.x_train, CALIBRATED_ON), split.x_val, split.x_test)
    )
    rows = []
    for method in METHODS:
        task = LayerTask(opened, target, Request(method=method), Calibration({layer.path: train}))
        ending = "softmax" if layer.softmax else layer.activation
        truth, labels, product = (
            HeadTrial(task.kernel, task.bias, x, y, ending=ending, by_labels=by_labels)
            for x, y, by_labels in (
                (test, split.y_test, True), (held_out, split.y_val, True), (held_out, split.y_val, False)
            )
        )  # fmt: skip
        plain = Plain(held_out @ task.kernel + (0 if task.bias is None else task.bias))
        ranks = rank_grid(largest_useful_rank(*layer.kernel_shape))
        for rank, factors in sorted(task.at_ranks(ranks).items()):
            bias = task.bias if factors.bias is None else factors.bias
            picked = (held_out @ factors.B @ factors.C + (0 if bias is None else bias)).argmax(
                axis=-1
            )
            rows.append({
                "method": method, "rank": rank,
                "saved": 1 - rank * sum(layer.kernel_shape) / np.prod(layer.kernel_shape),
                "test": truth({layer: factors}).error_rate - 100 * float(truth.original.wrong.mean()),
                "labels": labels({layer: factors}).error_rate - 100 * float(labels.original.wrong.mean()),
                "probabilities": plain.drop(picked),
                "calibrated": product({layer: factors}).drop,
                "disagreement": 100 - product({layer: factors}).agreement,
            })  # fmt: skip
    return {
        "network": path.name,
        "kernel_shape": list(layer.kernel_shape),
        "held_out_samples": len(split.y_val),
        "held_out_error": 100 * float(labels.original.wrong.mean()),
        "test_error": 100 * float(truth.original.wrong.mean()),
        "rows": rows,
        "choices": [choice(rows, method, rule, allowed)
                    for method in METHODS for allowed in ALLOWED for rule in RULES],
    }  # fmt: skip


RULES = ("test", "labels", "probabilities", "calibrated", "disagreement")


class Plain:
    """Expects drops by the original's probabilities as they are."""

    def __init__(self, logits: np.ndarray) -> None:
        """Take the original's logits, (samples, classes)."""
        parts = np.exp(logits - logits.max(axis=-1, keepdims=True))
        self._chances = parts / parts.sum(axis=-1, keepdims=True)

    def drop(self, picked: np.ndarray) -> float:
        """Return the drop of predictions, (samples,), in points."""
        own = np.take_along_axis(self._chances, picked[:, None], axis=-1)[:, 0]
        return 100 * float((self._chances.max(axis=-1) - own).mean())


def choice(rows: list[dict[str, Any]], method: str, rule: str, allowed: float) -> dict[str, Any]:
    """Return the smallest rank from which on a rule expects at most an allowed drop."""
    falling = sorted((r for r in rows if r["method"] == method), key=lambda r: -r["rank"])
    chosen = None
    for row in falling:
        if row[rule] > allowed:
            break
        chosen = row
    found = {} if chosen is None else {key: chosen[key] for key in ("rank", "saved", "test")}
    return {"method": method, "rule": rule, "allowed": allowed, **found}


def main() -> None:
    """Measure the networks named and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", metavar="MODEL=DATA")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    networks = [
        measure(Path(model), data) for model, data in (n.split("=") for n in arguments.networks)
    ]
    document = {"command": ["python", "benchmarks/held_out.py"], "networks": networks}
    arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
