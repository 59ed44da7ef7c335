"""Load model files and their compressed copies in one runtime, and compare what they compute.

    python benchmarks/compatibility_worker.py keras|tf_keras < files.json > found.jsonl

Reads a JSON list of [original, compressed or null, modernized or null] and writes one JSON line for
each step done, so that the caller knows where a file crashed or hung this process. The outputs of
the original and of the modernized file are kept beside them, since no runtime may run both.
Nothing in a model file is executed on purpose: files load in safe mode, and one that needs its own
Python code does not load.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np

BATCH = 4
# Of the axes that a model leaves open, in the order in which they are tried.
SIZES = (8, 32, 128, 224)
# Large inputs alone would saturate some models: all outputs 1, whatever the weights are.
SCALES = (1.0, 0.1, 0.01)


class Runtime:
    """Keras 3 or tf_keras: the two names for the same few calls."""

    def __init__(self, name: str) -> None:
        """Import the runtime."""
        import tensorflow

        if name == "keras":
            import keras as runtime
        else:
            import tf_keras as runtime
        self.module, self.tensorflow = runtime, tensorflow
        self.versions = {name: runtime.__version__, "tensorflow": tensorflow.__version__}

    def load(self, path: str) -> Any:  # noqa: ANN401  # a model of either runtime
        """Load a model in safe mode."""
        if self.module.__name__ == "keras":
            return self.module.saving.load_model(path, compile=False)
        # Without this scope tf_keras runs the code of Lambda layers in HDF5 files.
        from tf_keras.src.saving.serialization_lib import SafeModeScope

        with SafeModeScope(safe_mode=True):
            return self.module.models.load_model(path, compile=False)

    def outputs(self, model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:  # noqa: ANN401
        """Return all outputs of a model; one that keeps states begins anew."""
        self.module.utils.set_random_seed(0)
        for layer in layers_of(model):
            if getattr(layer, "stateful", False) is True and hasattr(layer, "reset_states"):
                layer.reset_states()
        found = model(inputs if len(inputs) > 1 else inputs[0], training=False)
        flat = self.tensorflow.nest.flatten(found)
        return [np.asarray(self.tensorflow.cast(x, "float64")) for x in flat]


def one_line(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def layers_of(model: Any) -> Iterator[Any]:  # noqa: ANN401
    """Walk all layers, those of nested models and wrappers included."""
    inner = getattr(model, "layer", None)
    for layer in [*getattr(model, "layers", []), *([] if inner is None else [inner])]:
        yield layer
        yield from layers_of(layer)


def make_inputs(model: Any, size: int, scale: float) -> list[np.ndarray]:  # noqa: ANN401
    """Return seeded random inputs; whole numbers that every Embedding knows where there is one."""
    rng = np.random.default_rng(0)
    vocabularies = [
        int(layer.input_dim)
        for layer in layers_of(model)
        if type(layer).__name__ == "Embedding" and layer.input_dim
    ]
    arrays = []
    for x in model.inputs:
        dtype = np.dtype(getattr(x.dtype, "name", x.dtype))
        first, *rest = tuple(x.shape)
        shape = [first or BATCH, *(size if d is None else d for d in rest)]
        if vocabularies or dtype.kind in "iub":
            values = rng.integers(0, 2 if dtype.kind == "b" else min([10, *vocabularies]), shape)
        else:
            values = scale * rng.normal(size=shape)
        arrays.append(values.astype(dtype))
    return arrays


def first_outputs(runtime: Runtime, model: Any) -> tuple[int, list[list[np.ndarray]]]:  # noqa: ANN401
    """Return the outputs for inputs of each scale, at the first size that the model takes.

    Raises:
        Exception: What the model says of the first size, where it takes none.
    """
    error: Exception | None = None
    for size in SIZES:
        try:
            return size, [
                runtime.outputs(model, make_inputs(model, size, scale)) for scale in SCALES
            ]
        except Exception as caught:
            error = error or caught
    assert error is not None
    raise error


def keep(path: str, size: int, found: list[list[np.ndarray]]) -> None:
    """Keep a model's outputs for the caller."""
    arrays = {f"{s}-{i}": a for s, parts in enumerate(found) for i, a in enumerate(parts)}
    np.savez(path, size=np.int64(size), **arrays)


def difference(before: list[np.ndarray], after: list[np.ndarray]) -> float | None:
    """Return the largest max |a - b| / max |a| of all outputs, None where NaN meets a number."""
    worst = 0.0
    if [a.shape for a in before] != [b.shape for b in after]:
        return None
    for a, b in zip(before, after, strict=True):
        if not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return None
        here = np.isfinite(a)
        if not here.any():
            continue
        apart, scale = np.abs(a[here] - b[here]).max(), np.abs(a[here]).max()
        worst = max(worst, float(apart / scale if scale else apart))
    return worst


def compare(
    runtime: Runtime, size: int, found: list[list[np.ndarray]], after: Any  # noqa: ANN401
) -> dict[str, Any]:  # fmt: skip
    """Feed the compressed model what the original was fed."""
    try:
        others = [runtime.outputs(after, make_inputs(after, size, scale)) for scale in SCALES]
    except Exception as caught:
        return {"compressed_runs": one_line(caught)}
    apart = [difference(a, b) for a, b in zip(found, others, strict=True)]
    worst = None if None in apart else max(apart)
    odd = "other shapes of outputs, or NaN where the original has a number"
    return {
        "compressed_runs": odd if worst is None else True,
        "relative_difference": worst,
        "output_spread": max(spread(list(parts)) for parts in zip(*found, strict=True)),
    }


def spread(parts: list[np.ndarray]) -> float:
    """Return how far one output varies between inputs, relative to its largest value.

    Near 0 a comparison says nothing: the output is the same whatever comes in.
    """
    values = np.nan_to_num(np.stack(parts))
    values = values.reshape(-1, *values.shape[2:]) if values.ndim > 1 else values
    scale = np.abs(values).max(initial=0.0)
    return float(np.ptp(values, axis=0).max(initial=0.0) / scale) if scale else 0.0


def examine(
    runtime: Runtime, original: str, compressed: str | None, modernized: str | None
) -> Iterator[dict[str, Any]]:
    """Load, run and compare; give what is found after each step."""
    models: dict[str, Any] = {}
    for key, path in {
        "original": original,
        "compressed": compressed,
        "modernized": modernized,
    }.items():
        if path is not None:
            try:
                models[key] = runtime.load(path)
                yield {f"{key}_loads": True}
            except Exception as caught:
                yield {f"{key}_loads": one_line(caught)}
    for key, path in {"original": original, "modernized": modernized}.items():
        if key not in models or path is None:
            continue
        try:
            size, found = first_outputs(runtime, models[key])
            keep(f"{path}.{runtime.module.__name__}.npz", size, found)
            yield {f"{key}_runs": True}
        except Exception as caught:
            yield {f"{key}_runs": one_line(caught)}
            continue
        if key == "original" and "compressed" in models:
            yield compare(runtime, size, found, models["compressed"])


def main(name: str, stdin: TextIO, stdout: TextIO) -> None:
    """Work through the files."""
    jobs = json.load(stdin)

    def tell(document: dict[str, Any]) -> None:
        print(json.dumps(document, allow_nan=False), file=stdout, flush=True)

    runtime = Runtime(name)
    tell({"versions": runtime.versions})
    for index, paths in enumerate(jobs):
        for found in examine(runtime, *paths):
            tell({"index": index, **found})
        runtime.module.backend.clear_session()
        tell({"index": index, "done": True})


def only_answers() -> TextIO:
    """Set TensorFlow up, and return stdout; whatever else is written there goes to stderr from now on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin, only_answers())
