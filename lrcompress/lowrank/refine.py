"""The `refined` method: the rank-r head whose predictions are nearest to the original's.

Minimises the mean ``KL(softmax(z) || softmax(z'))`` (Bernoulli KL for sigmoid, the squared error
of its own output for a hidden layer) over B, C and b' by L-BFGS on unlabelled inputs of the layer
(Liu & Nocedal, Math. Programming 45, 1989). The problem is not convex, so `refined` goes down the
ranks: refine at a high rank, truncate that head, refine again (numerical continuation).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.moments import InputMoments
from lrcompress.lowrank.objectives import Problem, make_problem
from lrcompress.lowrank.sampling import rows, split
from lrcompress.lowrank.spectrum import Reference
from lrcompress.lowrank.svd import truncated_svd
from lrcompress.lowrank.whitening import check_moments, rebalance, whitened_ranks

ITERATIONS = 60
MEMORY = 20
# Each rank of the continuation is at least this share of the one before.
STEP_DOWN = 0.75


def refine(
    start: Factors,
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    activations: NDArray[Any],
    *,
    head: str,
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
        head: The objective, see `objectives.head_of`; for linear heads `start` is returned.
        iterations: Of L-BFGS, at most.
    """
    if head == "linear":
        return start
    train, held_out = problems(kernel, bias, activations, head)
    reference = Reference(kernel, truncated_svd(kernel, start.rank))
    return _improved(start, bias, train, held_out, reference, iterations)


def problems(
    kernel: NDArray[Any], bias: NDArray[Any] | None, activations: NDArray[Any], head: str
) -> tuple[Problem, Problem]:
    """Return what is descended on and what checks the descent; the same for under ten inputs."""
    offset = None if bias is None else bias.astype(np.float32)
    inner, outer = split(activations)
    n = kernel.shape[1]
    train = make_problem(rows(inner, n), kernel.astype(np.float32), offset, head)
    if not len(outer):
        return train, train
    return train, make_problem(rows(outer, n), kernel.astype(np.float32), offset, head)


def _improved(
    start: Factors,
    bias: NDArray[Any] | None,
    train: Problem,
    held_out: Problem,
    reference: Reference,
    iterations: int,
) -> Factors:
    dtype = reference.kernel.dtype
    new_bias = start.bias if start.bias is not None else bias
    B, C, b = _descend(train, held_out, start, new_bias, iterations)
    first, second = rebalance(B.astype(np.float64), C.astype(np.float64))
    first, second = first.astype(dtype), second.astype(dtype)
    certificate = reference.certify(first, second, start.certificate.algorithm)
    stored = None if b is None or new_bias is None else b.astype(new_bias.dtype)
    return replace(start, B=first, C=second, bias=stored, method="refined", certificate=certificate)


def _descend(
    train: Problem,
    held_out: Problem,
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
        loss, parts = train.loss_and_gradient(*unpack(flat))
        wanted = parts if has_bias else parts[:2]
        return loss, np.concatenate([part.ravel() for part in wanted]).astype(np.float64)

    parts = [start.B.astype(np.float64).ravel(), start.C.astype(np.float64).ravel()]
    if bias is not None:
        parts.append(bias.astype(np.float64))
    flat = np.concatenate(parts)
    best_loss, best = held_out.loss(*unpack(flat)), flat

    def keep_best(current: NDArray[np.float64]) -> None:
        nonlocal best_loss, best
        loss = held_out.loss(*unpack(current))
        if loss < best_loss:
            best_loss, best = loss, current.copy()

    minimize(
        value_and_gradient, flat, jac=True, method="L-BFGS-B", callback=keep_best,
        options={"maxiter": iterations, "maxcor": MEMORY},
    )  # fmt: skip
    B, C, b = unpack(best)
    return B, C, b if has_bias else None


def schedule(ranks: Collection[int], highest: int) -> list[int]:
    """Return falling ranks through all that are wanted.

    Args:
        ranks: Wanted, each at least 1.
        highest: Where the continuation begins; wanted ranks may lie above.
    """
    falling = sorted(set(ranks), reverse=True)
    steps = list(falling)
    for rank, end in zip(falling, [highest + 1, *falling], strict=False):
        while (rank := max(rank + 1, round(rank / STEP_DOWN))) < end:
            steps.append(rank)
    return sorted(steps, reverse=True)


def refined(
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    rank: int,
    activations: NDArray[Any],
    *,
    head: str,
    allow_bias: bool = False,
    iterations: int = ITERATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Factors:
    """Return the head refined by rank continuation.

    Args:
        kernel: A, (m, n).
        bias: b, (n,), or None.
        rank: r, from 1 to min(m, n).
        activations: Unlabelled inputs of the layer, (..., m).
        head: What the layer's output goes through, see `objectives.head_of`.
        allow_bias: Whether a layer without bias may be given one.
        iterations: Of L-BFGS at each rank.
        progress: Told of ranks done and in all.

    Raises:
        KernelError: If the kernel or the inputs are not finite.
        RankError: If there is no such rank.
    """
    reference = Reference(kernel, truncated_svd(kernel, rank))
    return refined_ranks(
        bias, [rank], activations, reference,
        head=head, allow_bias=allow_bias, iterations=iterations, progress=progress,
    )[rank]  # fmt: skip


def refined_ranks(
    bias: NDArray[Any] | None,
    ranks: Collection[int],
    activations: NDArray[Any],
    reference: Reference,
    *,
    head: str,
    allow_bias: bool = False,
    iterations: int = ITERATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> dict[int, Factors]:
    """Return `refined` at several ranks from one pass down the ranks.

    Args:
        bias: b, (n,), or None.
        ranks: Each from 1 to that of the reference.
        activations: Unlabelled inputs of the layer, (..., m).
        reference: Of A, (m, n).
        head: What the layer's output goes through, see `objectives.head_of`.
        allow_bias: Whether a layer without bias may be given one.
        iterations: Of L-BFGS at each rank.
        progress: Told of ranks done and in all.
    """
    kernel = reference.kernel
    softmax = head == "softmax"
    moments = InputMoments(kernel.shape[0])
    if head == "linear":
        moments.update(activations)
        check_moments(kernel, moments)
        closed = whitened_ranks(
            bias, ranks, moments, reference, softmax=False, allow_bias=allow_bias
        )
        return {rank: replace(found, method="refined") for rank, found in closed.items()}
    # What checks the descent must not have shaped its start.
    moments.update(split(activations)[0])
    check_moments(kernel, moments)
    train, held_out = problems(kernel, bias, activations, head)
    current = kernel.astype(np.result_type(kernel.dtype, np.float32), copy=False)
    current_bias = bias
    steps = schedule(ranks, min(kernel.shape) - softmax)
    found: dict[int, Factors] = {}
    for index, step in enumerate(steps):
        here = Reference(current, truncated_svd(current, step))
        start = whitened_ranks(
            current_bias, [step], moments, here, softmax=softmax, allow_bias=allow_bias
        )[step]
        wide = _improved(start, bias, train, held_out, here, iterations)
        current = wide.product().astype(current.dtype)
        current_bias = wide.bias
        if step in ranks:
            found[step] = _stored(wide, reference)
        if progress is not None:
            progress(index + 1, len(steps))
    return found


def _stored(wide: Factors, reference: Reference) -> Factors:
    """Return factors in the kernel's dtype with a certificate against the kernel itself."""
    dtype = reference.kernel.dtype
    B, C = wide.B.astype(dtype), wide.C.astype(dtype)
    certificate = reference.certify(B, C, wide.certificate.algorithm)
    return replace(wide, B=B, C=C, certificate=certificate)
