"""What an exported model does beside the Keras model that it was made of, and how fast, in its own runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, chunks, count, evenly, take
from lrcompress.data.finite import check_outputs
from lrcompress.data.model_output import Output
from lrcompress.errors import VerificationError
from lrcompress.events import progress
from lrcompress.live.evaluate import evaluate
from lrcompress.live.outputs import outputs_of
from lrcompress.live.predict import batch_size
from lrcompress.live.timing import interleaved, speed
from lrcompress.measure import compare
from lrcompress.modelfile import Chain
from lrcompress.runtimes.target import Int8, Runtime

# Test samples whose outputs are compared one by one.
COMPARED_SAMPLES = 1_000
# Of the largest output: rounding differs less, also in 16 bits.
TOLERANCE = 0.02
# Relative distance of weights that are the same but for rounding to 8 bits.
SAME = 0.05


def difference(model: Any, runtime: Runtime, x: Arrays) -> dict[str, Any]:
    """Return how far the outputs of an exported model are from Keras' on the same scaled inputs."""
    samples, ends, largest, scale = count(x), outputs_of(model), 0.0, 0.0
    decided: list[NDArray[np.bool_]] = []
    for part in chunks(samples, batch_size(model, x)):
        some = take(x, part)
        ours = [np.asarray(y, np.float32) for y in keras.tree.flatten(model.predict_on_batch(some))]
        for head, old in zip(ends, ours, strict=True):
            check_outputs(model, head.name, old, part.start)
        theirs = [np.asarray(y, np.float32) for y in runtime(some)]
        for head, old, new in zip(ends, ours, theirs, strict=True):
            _check_kind(head, old, new)
            largest = max(largest, float(np.abs(old - new).max()))
            scale = max(scale, float(np.abs(old).max()))
            same = _decisions(head, old, new)
            if same is not None:
                decided.append(same)
        progress("comparing outputs", part.stop, samples)
    return {
        "samples": samples,
        "largest_difference": largest,
        "largest_output": scale,
        # How often both predict the same class, or decide a label alike, in percent.
        "agreement": 100 * float(np.concatenate(decided).mean()) if decided else None,
    }


def _check_kind(head: Output, old: NDArray[np.float32], new: NDArray[np.float32]) -> None:
    """Refuse outputs that cannot be compared."""
    if old.shape != new.shape:
        what = f"has shape {new.shape} at output {head.name}, Keras' {old.shape}"
    elif not np.isfinite(new).all():
        what = f"gives NaN or infinity at output {head.name}, Keras' finite numbers"
    else:
        return
    msg = f"The exported model {what}; nothing was written: try another --format."
    raise VerificationError(msg, code="export_differs")


def check(found: dict[str, Any]) -> None:
    """Refuse an exported model that is not the Keras model; not for weights in 8 bits."""
    largest, scale = found["largest_difference"], found["largest_output"]
    if largest > TOLERANCE * scale:
        msg = (
            f"Outputs of the exported model differ from Keras' by up to {largest:.3g}, of "
            f"outputs up to {scale:.3g}; nothing was written: try another --format."
        )
        raise VerificationError(msg, code="export_differs")


def _decisions(
    head: Output, old: NDArray[np.float32], new: NDArray[np.float32]
) -> NDArray[np.bool_] | None:
    """Return where both decide alike; None where outputs are numbers, as far as is known."""
    units = old.shape[-1]
    if head.regression or (units == 1 and not head.is_sigmoid):
        return None
    if head.is_sigmoid:
        return np.asarray((old > 0.5) == (new > 0.5)).reshape(-1)
    return np.asarray(old.argmax(axis=-1) == new.argmax(axis=-1)).reshape(-1)


def factors_kept(
    layers: Sequence[tuple[Sequence[NDArray[Any]], NDArray[Any]]], runtime: Runtime
) -> Iterator[str]:
    """Yield of each factorized layer what became of its factors: ``two`` or ``three``, ``one`` or ``unknown``.

    Told by the weights in the exported file: all factors are there and their product is not, the
    product is there (one), or neither, because the exporter holds them otherwise (unknown). Outputs
    may be scaled: a BatchNormalization behind them is multiplied into them.
    """
    wanted = [[np.asarray(k, np.float32) for k in (*factors, whole)] for factors, whole in layers]
    found = [[False] * len(kernels) for kernels in wanted]
    for constant in runtime.constants():
        for kernels, seen in zip(wanted, found, strict=True):
            for i, kernel in enumerate(kernels):
                seen[i] = seen[i] or _is(constant, kernel)
    for *factors, product in found:
        if product:
            yield "one"
        else:
            yield {2: "two", 3: "three"}[len(factors)] if all(factors) else "unknown"


def _is(constant: NDArray[Any], kernel: NDArray[np.float32]) -> bool:
    """Return whether a constant is a kernel, its axes in any order, but for rounding and a scale of each output."""
    if constant.size != kernel.size or constant.dtype.kind != "f":
        return False
    array, kernel = (
        np.squeeze(constant),
        kernel.reshape(*_long(kernel.shape[:-1]), kernel.shape[-1]),
    )
    if kernel.shape[-1] == 1:
        array = array[..., None]
    if array.ndim != kernel.ndim:
        return False
    for order in permutations(range(array.ndim)):
        one = array.transpose(order)
        if one.shape == kernel.shape and _apart(one, kernel) <= SAME:
            return True
    return False


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size > 1)


def _apart(one: NDArray[Any], other: NDArray[np.float32]) -> float:
    """Return how far two arrays are apart, relative to them, the best scale for each output taken out."""
    a, b = (x.reshape(-1, x.shape[-1]).astype(np.float64) for x in (one, other))
    scale = (a * b).sum(axis=0) / np.maximum((a * a).sum(axis=0), np.finfo(np.float64).tiny)
    return float(np.linalg.norm(a * scale - b) / max(np.linalg.norm(b), np.finfo(float).tiny))


@dataclass(frozen=True)
class Samples:
    """Scaled inputs that both models run on, and where they are from; without labels if random.

    `calibration` are training inputs, where activations are calibrated.
    """

    x: Any
    about: dict[str, Any]
    y: Any = None
    weights: Any = None
    calibration: Any = None


def measured(
    network: Any, runtime: Runtime, inputs: Samples, chains: tuple[Chain, ...], *, int8: Int8
) -> dict[str, Any]:
    """Return what became of the factors, the difference of outputs, and the errors."""
    found = difference(network, runtime, evenly(inputs.x, COMPARED_SAMPLES))
    if not int8:
        check(found)
    errors = None
    if inputs.y is not None:
        before, after = (
            evaluate(network, inputs.x, inputs.y, f"test, {name}",
                     sample_weight=inputs.weights, run=run)
            for name, run in (("Keras", None), ("exported", runtime))
        )  # fmt: skip
        errors = {
            "keras": before.to_json(),
            "exported": after.to_json(),
            "difference": compare(before, after).to_json(),
        }
    each = zip(chains, factors_kept([c.kernels for c in chains], runtime), strict=True)
    layers = tuple(chain.to_json() | {"factors": kept} for chain, kept in each)
    return {"layers": layers, "difference": found, "errors": errors}


def timed(
    runtime: Runtime, beside: Runtime | None, inputs: Samples, seconds: float
) -> dict[str, Any]:
    """Return seconds at one sample a call, in turns with the original where there is one."""
    one = take(inputs.x, slice(0, 1))
    calls = {"exported": lambda: runtime(one)}
    if beside is not None:
        calls["original"] = lambda: beside(one)
    found = interleaved(
        calls,
        seconds=seconds,
        after_round=lambda share: progress("timing", round(100 * share), 100),
    )
    times: dict[str, Any] = {"exported": found["exported"].to_json()}
    if beside is not None:
        ratio = speed(found["original"], found["exported"])
        times["original"] = {"latency": found["original"].to_json(), "speed": ratio.to_json()}
    return times
