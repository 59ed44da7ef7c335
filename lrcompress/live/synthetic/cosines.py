"""Images and series as amplitudes of cosines that weigh what they do in what cameras and sensors see.

That is in inverse proportion to their frequency: who descends on amplitudes settles low ones first, and the noise
that fools a network hardly arises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray


class Cosines:
    """Inputs of a shape as amplitudes of cosines along all axes but the channels'.

    Amplitudes of variance 1 make inputs of variance 1, in which frequencies have their usual share.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        first = len(shape) > 2 and shape[0] <= 4 < shape[-1]
        axes = range(1, len(shape)) if first else range(len(shape) - 1)
        squares = np.zeros([1] * len(shape))
        for axis in axes:
            along = np.arange(shape[axis]) / shape[axis]
            squares = squares + np.expand_dims(
                along**2, [i for i in range(len(shape)) if i != axis]
            )
        weights = 1 / np.sqrt(
            np.maximum(squares, 1 / max((shape[a] for a in axes), default=1) ** 2)
        )
        self.weights = (weights / np.sqrt(np.mean(weights**2))).astype(np.float32)
        self.bases = [(axis + 1, _cosine_basis(shape[axis])) for axis in axes]

    def inputs(self, amplitudes: Any) -> Any:
        """Return the inputs, (samples, *shape), that some amplitudes make."""
        x = amplitudes * self.weights
        for axis, basis in self.bases:
            x = ops.moveaxis(ops.tensordot(x, basis, [[axis], [0]]), -1, axis)
        return x

    def amplitudes(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the amplitudes of inputs."""
        for axis, basis in self.bases:
            x = np.moveaxis(np.tensordot(x, basis, ([axis], [1])), -1, axis)
        return np.asarray(x / self.weights, np.float32)


def _cosine_basis(length: int) -> NDArray[np.float32]:
    """Return the orthonormal cosines of the DCT-II, (frequencies, positions)."""
    frequency, position = np.arange(length)[:, None], np.arange(length)[None]
    basis = np.sqrt(2 / length) * np.cos(np.pi * frequency * (2 * position + 1) / (2 * length))
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)
