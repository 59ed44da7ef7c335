"""What an exported model does beside the Keras model that it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, check_outputs, chunks, count, take
from lrcompress.data.labels import Output
from lrcompress.errors import VerificationError
from lrcompress.events import progress
from lrcompress.live.outputs import outputs_of
from lrcompress.live.predict import batch_size
from lrcompress.runtimes.target import Runtime

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
