"""What factors and 8-bit weights save in an exported model: each alone, and both.

    python benchmarks/export_table.py model.h5 model-rank4-finetuned.h5 --dataset mnist --name MNIST \
        --output benchmarks/results/export-mnist.json

Exports the original and the factorized model to LiteRT, in float32 and with 8-bit weights, whole and
their heads alone; takes the latency of one sample a call in turns, and the errors on test data.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, count, evenly, take
from lrcompress.data.sources import load
from lrcompress.live import engine, storing
from lrcompress.live.evaluate import evaluate
from lrcompress.live.layers import alone, find_layer, head_of
from lrcompress.live.outputs import random_inputs
from lrcompress.live.prepare import prepare
from lrcompress.live.timing import Timing, interleaved, speed
from lrcompress.measure import Evaluation, compare
from lrcompress.modelfile import Site, find_head, open_model
from lrcompress.runtimes import TARGETS, Runtime
from lrcompress.runtimes.check import factors_kept

LITERT = TARGETS["litert"]


class Variant:
    """One model in one precision, exported.

    Attributes:
        about: What it is, and its size.
        model: The Keras model.
        runtime: The exported one.
    """

    def __init__(self, model: keras.Model, about: dict[str, Any], x: Arrays, folder: Path) -> None:
        """Export a model and open what came out."""
        path = folder / f"{about['what']}-{about['model']}-{about['int8']}.tflite"
        LITERT.write(model, path, int8=about["int8"])
        self.model = model
        self.runtime: Runtime = LITERT.open(path, model, take(x, slice(0, 2)))
        self.about = about | {"parameters": model.count_params(), "bytes": path.stat().st_size}


def variants(models: dict[str, keras.Model], what: str, x: Arrays, folder: Path) -> list[Variant]:
    """Return each model in each precision, the original in float32 first."""
    return [
        Variant(model, {"what": what, "model": name, "int8": int8}, x, folder)
        for int8 in (False, True)
        for name, model in models.items()
    ]


def rows(found: list[Variant], timings: list[Timing]) -> Iterator[dict[str, Any]]:
    """Yield size and latency of each variant, and its speed against the first."""
    for variant, timing in zip(found, timings, strict=True):
        ratio = None if timing is timings[0] else speed(timings[0], timing).to_json()
        yield variant.about | timing.to_json() | {"speed": ratio}


def timed(found: list[Variant], x: Arrays, seconds: float) -> list[dict[str, Any]]:
    """Return rows of variants that take turns on one sample."""
    one = take(x, slice(0, 1))
    calls = {str(i): (lambda v=variant: v.runtime(one)) for i, variant in enumerate(found)}
    return list(rows(found, list(interleaved(calls, seconds=seconds).values())))


def measured(
    found: list[Variant], x: Arrays, y: Arrays, weights: NDArray[np.float32] | None
) -> list[dict[str, Any]]:
    """Return the errors of each variant, paired with the first."""
    errors: list[dict[str, Any]] = []
    first: Evaluation | None = None
    for variant in found:
        print(f"test, {variant.about['model']}, int8 {variant.about['int8']} ...", flush=True)
        one = evaluate(variant.model, x, y, sample_weight=weights, run=variant.runtime)
        paired = None if first is None else compare(first, one).to_json()
        first = first or one
        errors.append({"error": one.to_json(), "difference": paired})
    return errors


def head_model(model: keras.Model, units: int) -> keras.Model:
    """Return the layers from the head to the output as a model for one prediction a call."""
    head: keras.Model = alone(head_of(model).layers, (units,))
    return head


def kept(variant: Variant, head: Site, *, alone: bool) -> str:
    """Return what became of the two factors in an exported model."""
    paths = (head.input_path, head.path)
    if alone:
        paths = tuple(path.rsplit("/", 1)[-1] for path in paths)
    layers = (find_layer(variant.model, path) for path in paths)
    b, c = (np.asarray(getattr(layer, "layer", layer).kernel) for layer in layers)
    return next(factors_kept([((b, c), b @ c)], variant.runtime))


def main() -> None:
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("original", type=Path)
    parser.add_argument("factorized", type=Path)
    parser.add_argument("--dataset", help="for errors; without it only sizes and latency")
    parser.add_argument("--scaling", help="of its inputs")
    parser.add_argument("--samples", type=int, help="of test data; default all")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each variant")
    parser.add_argument("--name", required=True, help="title of its table")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    files = {"original": arguments.original, "factorized": arguments.factorized}
    models = {name: storing.load_model(path) for name, path in files.items()}
    head = find_head(open_model(arguments.factorized))
    m, n = head.kernel_shape
    data, scaling = None, None
    x: Arrays = random_inputs(models["original"], 2)
    if arguments.dataset:
        found = load(arguments.dataset)
        data = prepare(found, models["original"], scaling=arguments.scaling)
        x, scaling = data.part("test")[0], data.scaling.name
    heads = {name: head_model(model, m) for name, model in models.items()}
    inputs = np.random.default_rng(0).random((2, m), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        whole = variants(models, "model", x, Path(folder))
        alone = variants(heads, "head", inputs, Path(folder))
        table = timed(whole, x, arguments.seconds)
        if data is not None:
            _, y, weights = data.part("test")
            most = arguments.samples or count(y)
            parts = [None if a is None else evenly(a, most) for a in (x, y, weights)]
            for row, errors in zip(table, measured(whole, *parts), strict=True):
                row |= errors
        table += timed(alone, inputs, arguments.seconds)
        for row, variant in zip(table, whole + alone, strict=True):
            if row["model"] == "factorized":
                row["factors"] = kept(variant, head, alone=row["what"] == "head")
    document = {
        "command": command(arguments),
        "name": arguments.name,
        "kernel": [m, n],
        "rank": head.rank,
        "dataset": None if arguments.dataset is None else Path(arguments.dataset).name,
        "scaling": scaling,
        "runtime": whole[0].runtime.name,
        "threads": whole[0].runtime.threads,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": engine.versions(),
        "rows": table,
    }
    arguments.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def command(arguments: argparse.Namespace) -> list[str]:
    """Return the command line without folders of this machine."""
    words = [
        "python",
        "benchmarks/export_table.py",
        arguments.original.name,
        arguments.factorized.name,
    ]
    for option in ("dataset", "scaling", "samples", "seconds", "name"):
        value = getattr(arguments, option)
        if value is not None:
            words += [f"--{option}", Path(value).name if option == "dataset" else f"{value}"]
    return [*words, "--output", f"benchmarks/results/{arguments.output.name}"]


if __name__ == "__main__":
    main()
