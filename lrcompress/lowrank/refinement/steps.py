"""Damped Gauss-Newton steps of B, C and the bias together, from sums of the outputs alone.

The KL grows to second order by ``E[d^T H d] / 2`` with d the change of the logits and
``H = diag(q) - q q^T`` (``diag(q (1 - q))`` for sigmoid). Each step minimises that and
``damping / 2 * sum_j w_j E[d_j^2]``, the loss of the weighted closed form, which holds rare classes to
where they are: their few inputs tell little. By conjugate gradients, preconditioned by what the
second term alone would ask for: ``B <- Sigma^{-1} B (C W C^T)^{-1}``, ``C <- E[h h^T]^{-1} C W^{-1}``.
A step passes over the outputs a few times at the price of the low rank and holds none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.matrix import each, one_blas_thread
from lrcompress.lowrank.moments import InputMoments, input_root
from lrcompress.lowrank.refinement.outputs import Array, Outputs, probabilities

# B (m, r), C (r, n) and the bias (n,); or a change of them.
Head = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
# One step each, as long as the unseen inputs gain a thousandth.
DAMPINGS = (2.0, 0.7, 0.2, 0.07, 0.02)
GAIN = 1e-3
# Lengths of a step that are tried.
LENGTHS = (1.0, 0.5, 0.25)
# Of conjugate gradients: one step of a language model gained 0.22 % of perplexity by three, 0.32 % by eight.
ITERATIONS = 8
# Inputs x classes that tell the curvature, whose probabilities are held, 256 to 512 MiB: more at low ranks, as
# long as times the rank they are no more than the third. With half as many a language model lost 0.1 % more of
# perplexity at rank 14, with an eighth steps led it astray.
CURVED, MOST_HELD, WORK = 2**26, 2**27, 2**32
# Inputs that tell it, at least, for each column of B; and outputs that these may come to.
LEAST_CURVED, MOST_CURVED = 16, 2**28
# Logits that a core works at, 1 MiB.
BLOCK = 2**18
# Parts that are summed one by one, whatever the number of cores.
PARTS = 4


def can_step(inputs: int, classes: int, rank: int) -> bool:
    """Return whether there are inputs enough to tell the curvature, and classes not too many."""
    least = LEAST_CURVED * rank
    return inputs >= least and least * classes <= MOST_CURVED


def curved_inputs(classes: int, rank: int) -> int:
    """Return how many inputs tell the curvature."""
    outputs = min(max(WORK // rank, CURVED), MOST_HELD)
    return max(outputs // classes, LEAST_CURVED * rank)


class Steps:
    """A layer's outputs on inputs to learn from and on others, and steps that bring a head nearer to them."""

    def __init__(self, seen: Outputs, unseen: Outputs, *, has_bias: bool) -> None:
        """Take the sums; without `has_bias` the bias stays."""
        self.seen, self.unseen, self.has_bias = seen, unseen, has_bias
        self.moments = InputMoments(seen.x.shape[1])
        self.moments.update(seen.x)
        mean = self.moments.mean if has_bias else np.zeros_like(self.moments.mean)
        self._mean = mean.astype(np.float32)
        self.root = input_root(self.moments, has_bias=has_bias)
        self._weights = seen.weights.astype(np.float32)

    def nearest(self, head: Head, told: Callable[[int], None]) -> Head:
        """Return the head with the least loss on the unseen inputs after some steps, `told` of; at worst the given."""
        current = self._enter(head)
        best = self._loss(current)
        with one_blas_thread():
            for done, damping in enumerate(DAMPINGS):
                step = self._step(current, damping)
                tried = [_sum(current, step, length) for length in LENGTHS]
                losses = [self._loss(one) for one in tried]
                told(done + 1)
                least = min(losses)
                enough = least > (1 - GAIN) * best
                if least < best:
                    best, current = least, tried[losses.index(least)]
                if enough:
                    break
        return self._leave(current)

    def _enter(self, head: Head) -> Head:
        """Return a head with the bias that is there at the mean of the inputs: then it is moved by itself."""
        first, second, bias = (np.asarray(part, np.float32) for part in head)
        return first, second, bias + (self._mean @ first) @ second

    def _leave(self, head: Head) -> Head:
        first, second, bias = head
        return first, second, bias - (self._mean @ first) @ second

    def _loss(self, head: Head) -> float:
        return self.unseen.loss(*self._leave(head))

    def _step(self, head: Head, damping: float) -> Head:
        """Return the minimum of the damped quadratic model, but for what few iterations leave."""
        from scipy.linalg import cho_solve

        first, second, _ = head
        root = self.root @ first
        spread = _safe(root.T @ root)
        weighed = _safe((second * self._weights) @ second.T)
        inner, outer = (np.linalg.inv(part).astype(np.float32) for part in (spread, weighed))

        def precondition(slope: Head) -> Head:
            by_first = cho_solve((self.root, False), slope[0] @ outer).astype(np.float32)
            by_second = inner @ slope[1]
            by_second /= self._weights
            return _scaled((by_first, by_second, slope[2] / self._weights), 1 / (1 + damping))

        found: Head = tuple(np.zeros_like(part) for part in head)  # type: ignore[assignment]
        rest = _scaled(self._gradient(head), -1.0)
        ahead = precondition(rest)
        direction, product = ahead, _dot(rest, ahead)
        times = self._curvature(head, damping)
        for _ in range(ITERATIONS):
            curved = times(direction)
            along = _dot(direction, curved)
            if not along > 0:
                break  # all that is left is rounding
            found = _sum(found, direction, product / along)
            rest = _sum(rest, curved, -product / along)
            ahead = precondition(rest)
            before, product = product, _dot(rest, ahead)
            direction = _sum(ahead, direction, product / before)
        return found

    def _gradient(self, head: Head) -> Head:
        first, second, bias = head
        seen = self.seen
        hidden = seen.x @ first
        hidden -= self._mean @ first

        def outputs(rows: slice) -> Array:
            z = hidden[rows] @ second
            z += bias
            return probabilities(z, seen.head)

        by_first, by_second, by_bias = self._summed(seen.x, hidden, second, outputs)
        share = seen.share.astype(np.float32)
        told = seen.crossed @ second.T - np.outer(self._mean, second @ share)
        crossed = first.T @ seen.crossed - np.outer(self._mean @ first, share)
        return (
            by_first - told.astype(np.float32),
            by_second - crossed.astype(np.float32),
            (by_bias - share) * np.float32(self.has_bias),
        )

    def _curvature(self, head: Head, damping: float) -> Callable[[Head], Head]:
        """Return what multiplies a change of the head by the damped curvature."""
        first, second, bias = head
        rows = curved_inputs(len(bias), len(second))
        x = self.seen.x[:: max(1, len(self.seen.x) // rows)]
        weights = self._weights * np.float32(damping)
        hidden = x @ first
        hidden -= self._mean @ first
        softmax = self.seen.head == "softmax"
        shares = np.empty((len(x), len(bias)), np.float32)
        step = max(64, BLOCK // len(bias))

        def share(start: int) -> None:
            z = shares[start : start + step]
            np.matmul(hidden[start : start + step], second, out=z)
            z += bias
            probabilities(z, self.seen.head)

        each(share, range(0, len(x), step))

        def times(change: Head) -> Head:
            moved = x @ change[0]
            moved -= self._mean @ change[0]

            def slopes(rows: slice) -> Array:
                q = shares[rows]
                d = moved[rows] @ second
                d += hidden[rows] @ change[1]
                d += change[2]
                slope: Array
                if softmax:
                    slope = d - np.einsum("ij,ij->i", q, d)[:, None]
                    slope *= q
                else:
                    slope = d * q
                    slope *= 1 - q
                d *= weights
                slope += d
                return slope

            by_first, by_second, by_bias = self._summed(x, hidden, second, slopes)
            return by_first, by_second, by_bias * np.float32(self.has_bias)

        return times

    def _summed(
        self, x: Array, hidden: Array, second: Array, slopes: Callable[[slice], Array]
    ) -> Head:
        """Return the derivatives by B, C and the bias, from those by the logits, block by block of rows."""
        rows = max(64, BLOCK // second.shape[1])
        starts = range(0, len(x), rows)
        inner: Array = np.empty((len(x), len(second)), np.float32)

        def part(mine: range) -> tuple[Array, Array]:
            by_second, by_bias = np.zeros_like(second), np.zeros(second.shape[1], np.float32)
            for start in mine:
                block = slice(start, start + rows)
                slope = slopes(block)
                by_second += hidden[block].T @ slope
                by_bias += slope.sum(axis=0)
                np.matmul(slope, second.T, out=inner[block])
            return by_second, by_bias

        parts = each(part, [starts[i::PARTS] for i in range(min(PARTS, len(starts)))])
        scale = np.float32(1 / len(x))
        by_second, by_bias = (
            sum(found[1:], found[0]) * scale for found in zip(*parts, strict=True)
        )
        by_first = x.T @ inner
        by_first -= np.outer(self._mean, inner.sum(axis=0))
        return by_first * scale, by_second, by_bias


def _safe(gram: NDArray[Any]) -> NDArray[np.float64]:
    """Return a Gram matrix that can be inverted: columns that do nothing stay where they are."""
    size = len(gram)
    return np.asarray(gram + (1e-6 * np.trace(gram) / size + 1e-30) * np.eye(size), np.float64)


def _dot(one: Head, other: Head) -> float:
    return sum(float(np.vdot(a, b)) for a, b in zip(one, other, strict=True))


def _sum(one: Head, other: Head, scale: float) -> Head:
    first, second, bias = (a + np.float32(scale) * b for a, b in zip(one, other, strict=True))
    return first, second, bias


def _scaled(one: Head, scale: float) -> Head:
    first, second, bias = (np.float32(scale) * part for part in one)
    return first, second, bias
