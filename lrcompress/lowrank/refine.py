"""The `refined` method: the rank-r head whose predictions are nearest to the original's.

Minimises the mean ``KL(softmax(z) || softmax(z'))`` (Bernoulli KL for sigmoid) over B, C and b' by
L-BFGS on unlabelled inputs of the layer (Liu & Nocedal, Math. Programming 45, 1989). The problem
is not convex, so `refined` goes down the ranks: refine at a high rank, truncate that head, refine
again (numerical continuation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.certificate import certify
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.moments import InputMoments
from lrcompress.lowrank.sampling import rows, split
from lrcompress.lowrank.svd import optimum
from lrcompress.lowrank.whitening import rebalance, whitened

Head = Literal["softmax", "sigmoid", "linear"]
ITERATIONS = 60
MEMORY = 20
# Each rank of the continuation is this share of the one before.
STEP_DOWN = 0.75


@dataclass(frozen=True)
class _Problem:
    """Inputs and the original's outputs on them, float32."""

    x: NDArray[np.float32]
    target: NDArray[np.float32]
    head: Head

    def outputs(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        return activate(logits, self.head)

    def loss(self, logits: NDArray[np.float32]) -> float:
        """Return the mean cross-entropy, which is the KL up to the target's entropy."""
        if self.head == "softmax":
            top = logits.max(axis=1, keepdims=True)
            normalizer = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
            inner = np.einsum("ij,ij->i", self.target, logits)
            return float((normalizer - inner).mean(dtype=np.float64))
        # log(1 + e^z) - t z, written so that neither end overflows.
        soft = np.logaddexp(np.float32(0), logits) - self.target * logits
        return float(soft.sum(axis=1).mean(dtype=np.float64))


def activate(logits: NDArray[np.float32], head: Head) -> NDArray[np.float32]:
    """Return what the head's activation makes of logits, (k, n)."""
    if head == "softmax":
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    from scipy.special import expit

    return np.asarray(expit(logits))


def refine(
    start: Factors,
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    activations: NDArray[Any],
    *,
    head: Head,
    iterations: int = ITERATIONS,
) -> Factors:
    """Improve factors of any method on the layer's own inputs.

    Args:
        start: Factors of A to begin with.
        kernel: A, (m, n).
        bias: b, (n,), or None; without one, and without one in `start`, none is added.
        activations: Unlabelled inputs of the layer, (..., m). Every tenth along the first axis
            is held out (all serve as both where there are fewer than ten inputs): the iterate
            that is best there is returned, and it is never worse there than `start`.
        head: softmax or sigmoid; for linear heads `start` is returned.
        iterations: Of L-BFGS, at most.
    """
    if head == "linear":
        return start
    offset = np.float32(0) if bias is None else bias.astype(np.float32)

    def problem(part: NDArray[Any]) -> _Problem:
        x = rows(part, kernel.shape[1])
        return _Problem(x, activate(x @ kernel.astype(np.float32) + offset, head), head)

    inner, outer = split(activations)
    train = problem(inner)
    held_out = problem(outer) if len(outer) else train
    new_bias = start.bias if start.bias is not None else bias
    B, C, b = _descend(train, held_out, start, new_bias, iterations)
    first, second = rebalance(B.astype(np.float64), C.astype(np.float64))
    first, second = first.astype(kernel.dtype), second.astype(kernel.dtype)
    certificate = certify(
        kernel,
        first,
        second,
        start.certificate.optimum_frobenius_error,
        start.certificate.algorithm,
    )
    stored = None if b is None or new_bias is None else b.astype(new_bias.dtype)
    return replace(start, B=first, C=second, bias=stored, method="refined", certificate=certificate)


def _descend(
    train: _Problem,
    held_out: _Problem,
    start: Factors,
    bias: NDArray[Any] | None,
    iterations: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
    from scipy.optimize import minimize

    (m, r), n = start.B.shape, start.C.shape[1]
    has_bias = bias is not None

    def unpack(
        flat: NDArray[np.float64],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        narrow = flat.astype(np.float32)
        rest = narrow[m * r + r * n :]
        b = rest if has_bias else np.zeros(n, np.float32)
        return narrow[: m * r].reshape(m, r), narrow[m * r : m * r + r * n].reshape(r, n), b

    def value_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        B, C, b = unpack(flat)
        hidden = train.x @ B
        logits = np.asarray(hidden @ C + b, np.float32)
        outputs = train.outputs(logits)
        loss = train.loss(logits)
        slope = (outputs - train.target) / np.float32(len(train.x))
        parts = [(train.x.T @ (slope @ C.T)).ravel(), (hidden.T @ slope).ravel()]
        if has_bias:
            parts.append(slope.sum(axis=0))
        return loss, np.concatenate(parts).astype(np.float64)

    def held_out_loss(flat: NDArray[np.float64]) -> float:
        B, C, b = unpack(flat)
        return held_out.loss(np.asarray(held_out.x @ B @ C + b, np.float32))

    parts = [start.B.astype(np.float64).ravel(), start.C.astype(np.float64).ravel()]
    if bias is not None:
        parts.append(bias.astype(np.float64))
    flat = np.concatenate(parts)
    best_loss, best = held_out_loss(flat), flat

    def keep_best(current: NDArray[np.float64]) -> None:
        nonlocal best_loss, best
        loss = held_out_loss(current)
        if loss < best_loss:
            best_loss, best = loss, current.copy()

    minimize(
        value_and_gradient, flat, jac=True, method="L-BFGS-B", callback=keep_best,
        options={"maxiter": iterations, "maxcor": MEMORY},
    )  # fmt: skip
    B, C, b = unpack(best)
    return B, C, b if has_bias else None


def schedule(rank: int, highest: int) -> list[int]:
    """Return falling ranks that end in `rank`; `highest` is where they begin."""
    ranks = [rank]
    while True:
        above = max(ranks[-1] + 1, round(ranks[-1] / STEP_DOWN))
        if above > highest:
            return ranks[::-1]
        ranks.append(above)


def refined(
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    rank: int,
    activations: NDArray[Any],
    moments: InputMoments,
    *,
    head: Head,
    iterations: int = ITERATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Factors:
    """Return the head refined by rank continuation.

    Args:
        kernel: A, (m, n).
        bias: b, (n,), or None.
        rank: r, from 1 to min(m, n).
        activations: Unlabelled inputs of the layer, (..., m).
        moments: Of the same inputs.
        head: What the layer's output goes through.
        iterations: Of L-BFGS at each rank.
        progress: Told of ranks done and in all.

    Raises:
        KernelError: If the kernel or the inputs are not finite.
        RankError: If there is no such rank.
    """
    softmax = head == "softmax"
    wide = kernel.astype(np.result_type(kernel.dtype, np.float32), copy=False)
    if head == "linear":
        return replace(whitened(kernel, bias, rank, moments, softmax=False), method="refined")
    ranks = schedule(rank, min(kernel.shape) - softmax)
    current, current_bias = wide, bias
    found = None
    for index, step in enumerate(ranks):
        start = whitened(current, current_bias, step, moments, softmax=softmax)
        found = refine(start, wide, bias, activations, head=head, iterations=iterations)
        current = found.product().astype(wide.dtype)
        current_bias = found.bias
        if progress is not None:
            progress(index + 1, len(ranks))
    if found is None:
        raise AssertionError  # a schedule ends in the wanted rank
    return _against(kernel, found)


def _against(kernel: NDArray[Any], factors: Factors) -> Factors:
    """Return factors in the kernel's dtype with a certificate against the kernel itself."""
    best, largest = optimum(kernel, factors.rank)
    B, C = factors.B.astype(kernel.dtype), factors.C.astype(kernel.dtype)
    certificate = certify(kernel, B, C, best, factors.certificate.algorithm, largest=largest)
    return replace(factors, B=B, C=C, method="refined", certificate=certificate)
