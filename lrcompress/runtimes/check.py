"""What an exported model does beside the Keras model that it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, chunks, count, take
from lrcompress.data.finite import check_outputs
from lrcompress.data.model_output import Output
from lrcompress.errors import VerificationError
from lrcompress.events import progress
from lrcompress.live.activations import find_layer
from lrcompress.live.outputs import outputs_of
from lrcompress.live.predict import batch_size
from lrcompress.runtimes.target import Runtime

# Of the largest output: rounding differs less, also in 16 bits.
TOLERANCE = 0.02
# Relative distance of weights that are the same but for rounding to 8 bits.
SAME = 0.05


@dataclass(frozen=True)
class Difference:
    """How far the outputs of an exported model are from Keras', of which the largest is `largest_output`.

    `agreement` says how often both predict the same class (or decide a label alike), in percent;
    None where nothing is decided.
    """

    samples: int
    largest_difference: float
    largest_output: float
    agreement: float | None


def difference(model: Any, runtime: Runtime, x: Arrays) -> Difference:
    """Run both on the same scaled inputs."""
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
    agreement = 100 * float(np.concatenate(decided).mean()) if decided else None
    return Difference(samples, largest, scale, agreement)


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


def check(found: Difference) -> None:
    """Refuse an exported model that is not the Keras model; not for weights in 8 bits."""
    if found.largest_difference > TOLERANCE * found.largest_output:
        msg = (
            f"Outputs of the exported model differ from Keras' by up to {found.largest_difference:.3g}, of "
            f"outputs up to {found.largest_output:.3g}; nothing was written: try another --format."
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


def factors_kept(model: Any, pairs: Sequence[tuple[str, str]], runtime: Runtime) -> Iterator[str]:
    """Yield of each pair of layers what became of it: ``two``, ``one`` or ``unknown``.

    Told by the weights in the exported file: B and C are there and their product is not (two), the
    product is there (one), or neither, because the exporter holds them otherwise (unknown).
    """
    wanted = []
    for paths in pairs:
        layers = (find_layer(model, path) for path in paths)
        b, c = (np.asarray(getattr(layer, "layer", layer).kernel, np.float32) for layer in layers)
        wanted.append((b, c, b @ c))
    found = [[False] * 3 for _ in wanted]
    for constant in runtime.constants():
        for matrices, seen in zip(wanted, found, strict=True):
            for i, matrix in enumerate(matrices):
                seen[i] = seen[i] or _is(constant, matrix)
    for b_there, c_there, product_there in found:
        if product_there:
            yield "one"
        else:
            yield "two" if b_there and c_there else "unknown"


def _is(constant: NDArray[Any], matrix: NDArray[np.float32]) -> bool:
    """Return whether a constant is a matrix, or its transpose, but for rounding."""
    if constant.size != matrix.size or constant.dtype.kind != "f":
        return False
    array = np.squeeze(constant) if constant.ndim > 2 else constant
    for one in (array, array.T):
        if one.shape == matrix.shape:
            apart = np.linalg.norm(one.astype(np.float32) - matrix)
            if apart <= SAME * np.linalg.norm(matrix):
                return True
    return False
