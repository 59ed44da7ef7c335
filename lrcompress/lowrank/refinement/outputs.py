"""What an original layer says of its inputs, summed up: all that the KL to another layer asks for.

With p the original's probabilities and z' the logits of another layer ``x W + b'``, softmax's KL is
``E[sum p log p] + E[log sum e^z'] - <E[x p^T], W> - E[p] b'``: linear in p. So the outputs of the
original, (k, n), are never held: only E[x p^T], (m, n), and E[p]. The same holds for the Bernoulli KL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.matrix import each, one_blas_thread

Array = NDArray[np.float32]
# Logits that are held at a time, 64 MiB; and rows, at least and at most: with fewer, products wait
# for the kernel to be read.
BLOCK, LEAST_ROWS, MOST_ROWS = 2**24, 64, 2048
# Classes that one core works at.
CHUNK = 1024
# Entries up to which E[x p^T] is summed in float64.
EXACT = 2**25
# Weight of a class that was never seen, as a share of the mean probability of a class.
UNSEEN = 1e-3
# Inputs x classes that are gone through, half a minute at 512 features; inputs that are always worth it.
MOST, FEWEST = 2**30, 5_000
# Heads whose outputs are summed up.
PROBABILITIES = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Outputs:
    """Inputs of a layer and sums of what the layer makes of them."""

    head: str  # softmax or sigmoid
    x: Array  # (k, m)
    crossed: NDArray[Any]  # E[x p^T], (m, n)
    share: NDArray[np.float64]  # E[p], (n,)
    spread: NDArray[np.float64]  # E[p (1 - p)], (n,)
    entropy: float  # ``-E[sum p log p]``; of sigmoid that of every unit, summed

    @property
    def weights(self) -> NDArray[np.float64]:
        """How much the KL minds an error of each logit, (n,)."""
        return _weights(self.share, self.spread)

    def loss(self, first: Array, second: Array, bias: Array) -> float:
        """Return the mean KL to the layer ``(x B) C + b'``."""
        hidden = np.asarray(self.x @ first, np.float32)
        rows = block_rows(len(bias))

        def volume(start: int) -> float:
            z = hidden[start : start + rows] @ second
            z += bias
            return float(_volumes(z, self.head).sum(dtype=np.float64))

        with one_blas_thread():
            total = sum(each(volume, range(0, len(hidden), rows)))
        return self.divergence(first, second, bias, total / len(hidden))

    def divergence(self, first: Array, second: Array, bias: Array, volume: float) -> float:
        """Return that KL by the mean of ``log sum e^z'``, for sigmoid of the sum of ``log(1 + e^z')``."""
        told = np.vdot(first, self.crossed @ second.T) + np.vdot(self.share, bias)
        return volume - float(told) - self.entropy


def outputs_of(x: Array, kernel: Array, bias: Array | None, head: str) -> Outputs:
    """Return the sums for a layer ``x A + b`` from one pass over inputs, (k, m), block by block."""
    m, n = kernel.shape
    crossed: NDArray[Any] = np.zeros((m, n), np.float64 if m * n <= EXACT else np.float32)
    found = _Sums(x, kernel, bias, head, crossed)
    crossed /= found.count
    told = np.vdot(crossed, kernel) + np.vdot(found.share, found.bias)
    entropy = found.volume / found.count - float(told)
    return Outputs(head, x, crossed, found.share, found.spread, entropy)


def output_weights(x: Array, kernel: Array, bias: Array | None, head: str) -> NDArray[np.float64]:
    """Return `Outputs.weights`, for half of the work and without anything as large as the kernel."""
    found = _Sums(x, kernel, bias, head, None)
    return _weights(found.share, found.spread)


def _weights(share: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(spread + UNSEEN * share.mean())


class _Sums:
    """The sums as they grow: class by class on all cores, so that what is as large as the kernel is there once."""

    def __init__(
        self, x: Array, kernel: Array, bias: Array | None, head: str, crossed: NDArray[Any] | None
    ) -> None:
        """Go through the inputs; the sums with them are added up where there is an array for these."""
        n, self.kernel, self.head, self.crossed = kernel.shape[1], kernel, head, crossed
        self.bias = np.zeros(n, np.float32) if bias is None else bias
        self.count, self.volume = max(len(x), 1), 0.0
        self.share, self._squares = np.zeros(n), np.zeros(n)
        self._chunks = [slice(start, start + CHUNK) for start in range(0, n, CHUNK)]
        rows = block_rows(n)
        held = np.empty((min(rows, len(x)), n), np.float32)
        with one_blas_thread():
            for start in range(0, len(x), rows):
                part = x[start : start + rows]
                self._add(part, held[: len(part)])
        self.share /= self.count
        self.spread = np.maximum(self.share - self._squares / self.count, 0)

    def _add(self, x: Array, z: Array) -> None:
        def linear(chunk: slice) -> Array:
            own = z[:, chunk]
            np.matmul(x, self.kernel[:, chunk], out=own)
            own += self.bias[chunk]
            return np.asarray(own.max(axis=1, keepdims=True))

        def powers(chunk: slice) -> NDArray[np.float64]:
            own = z[:, chunk]
            if self.head == "sigmoid":
                volume = _volumes(own, self.head)
                expit(own, out=own)
                return volume
            own -= top
            np.exp(own, out=own)
            return np.asarray(own.sum(axis=1, dtype=np.float64))

        def sums(chunk: slice) -> None:
            p = z[:, chunk]
            if self.head == "softmax":
                p *= scale
            self.share[chunk] += np.ones(len(x), np.float32) @ p
            self._squares[chunk] += np.einsum("ij,ij->j", p, p)
            if self.crossed is not None:
                self.crossed[:, chunk] += x.T @ p

        from scipy.special import expit

        top = np.max(each(linear, self._chunks), axis=0)
        total = np.sum(each(powers, self._chunks), axis=0)
        scale = (1 / total).astype(np.float32)[:, None]
        if self.head == "softmax":
            total = np.log(total) + top[:, 0]
        each(sums, self._chunks)
        self.volume += float(total.sum(dtype=np.float64))


def _volumes(z: Array, head: str) -> NDArray[np.float64]:
    """Return ``log sum e^z`` of each row, for sigmoid the sum of ``log(1 + e^z)``; softmax overwrites z."""
    if head == "sigmoid":
        # log(1 + e^z), written so that neither end overflows.
        return np.asarray(np.logaddexp(np.float32(0), z).sum(axis=1, dtype=np.float64))
    top = z.max(axis=1, keepdims=True)
    z -= top
    np.exp(z, out=z)
    return np.asarray(np.log(z.sum(axis=1, dtype=np.float64)) + top[:, 0])


def probabilities(z: Array, head: str) -> Array:
    """Return what a head makes of logits, in their place."""
    if head == "sigmoid":
        from scipy.special import expit

        return np.asarray(expit(z, out=z))
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)
    return z


def most_inputs(classes: int) -> int:
    """Return how many inputs of a head are made use of, those to judge by included."""
    return max(MOST // classes, FEWEST)


def block_rows(classes: int) -> int:
    """Return how many rows of so many logits are worked on at once."""
    return int(np.clip(BLOCK // classes, LEAST_ROWS, MOST_ROWS))
