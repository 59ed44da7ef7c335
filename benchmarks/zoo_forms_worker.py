"""Compare model files with changed copies of them in Keras 3.

    python benchmarks/zoo_forms_worker.py < jobs.json > found.jsonl

Reads a JSON list of [original, [copy, ...]] and writes one JSON line for each copy, so that the
caller knows where a file ended this process. Files load in safe mode.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import compatibility_worker
from compatibility_worker import Runtime, compare, first_outputs, one_line, only_answers

# Some models take in large images: few of them, at one scale, tell as much.
compatibility_worker.BATCH = 2
LARGE = 100_000


def scale_down(model: Any) -> None:  # noqa: ANN401  # a model of Keras
    """Compare a model of large inputs with fewer of them."""
    sizes = [math.prod(axis or 1 for axis in x.shape) for x in model.inputs]
    large = max(sizes, default=0) > LARGE
    compatibility_worker.BATCH = 1 if large else 2
    compatibility_worker.SCALES = (0.1,) if large else (1.0, 0.1, 0.01)


def examine(runtime: Runtime, original: str, copies: list[str]) -> Iterator[dict[str, Any]]:
    """Give what each copy does beside the original."""
    found: dict[str, Any] = {}
    try:
        model = runtime.load(original)
        found["original_loads"] = True
        scale_down(model)
        size, outputs = first_outputs(runtime, model)
        found["original_runs"] = True
    except Exception as caught:
        found["original_runs" if found else "original_loads"] = one_line(caught)
    for copy in copies:
        try:
            other = runtime.load(copy)
            loads: bool | str = True
        except Exception as caught:
            loads = one_line(caught)
        row = {**found, "compressed_loads": loads}
        if loads is True and found.get("original_runs") is True:
            row |= compare(runtime, size, outputs, other)
        yield row


def main() -> None:
    """Work through the files."""
    runtime = Runtime("keras")
    for original, copies in json.load(sys.stdin):
        for row in examine(runtime, original, copies):
            print(json.dumps(row | {"versions": runtime.versions}), file=answers, flush=True)
        runtime.module.backend.clear_session()


if __name__ == "__main__":
    answers = only_answers()
    main()
