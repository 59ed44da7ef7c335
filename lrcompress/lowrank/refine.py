"""The `refined` method: the rank-r head whose predictions are nearest to the original's.

Minimises the mean ``KL(softmax(z) || softmax(z'))`` (Bernoulli KL for sigmoid, the squared error
of its own output for a hidden layer) over B, C and b' by L-BFGS on unlabelled inputs of the layer.
The problem is not convex, so `refined` goes down the ranks: refine at a high rank, truncate that
head, refine again (numerical continuation). Where softmax follows, each rank that is asked for ends
in a descent on a bounded loss, nearer to the share of mistakes than the KL is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.centering import centre_kernel, share_of_norm
from lrcompress.lowrank.certificate import Certificate, certify, within_rounding
from lrcompress.lowrank.coordinates import Head
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.imitation import Imitation
from lrcompress.lowrank.projected import gather_moments
from lrcompress.lowrank.spectrum import Reference
from lrcompress.lowrank.svd import truncated_svd
from lrcompress.lowrank.whitening import check_moments, input_root, rebalance, whitened_ranks

# Of L-BFGS at each rank; half as many for the last descent where softmax follows.
ITERATIONS = 60
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
    has_bias = bias is not None or start.bias is not None
    imitation = Imitation(kernel, bias, activations, head, has_bias=has_bias)
    found, _ = imitation.nearest(_head(start, bias), iterations)
    return _stored(found, start, bias, Reference(kernel, truncated_svd(kernel, start.rank)))


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
        iterations: Of L-BFGS in each descent, at most.
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
        iterations: Of L-BFGS in each descent, at most.
        progress: Told of ranks done and in all.
    """
    kernel = reference.kernel
    softmax = head == "softmax"
    if head == "linear":
        moments = gather_moments(kernel, activations)
        check_moments(kernel, moments)
        closed = whitened_ranks(
            bias, ranks, moments, reference, softmax=False, allow_bias=allow_bias
        )
        return {rank: replace(found, method="refined") for rank, found in closed.items()}
    has_bias = bias is not None or allow_bias
    imitation = Imitation(kernel, bias, activations, head, has_bias=has_bias)
    whole = (kernel.astype(np.float64), None if bias is None else bias.astype(np.float64))
    # One path down the ranks for each way to descend: which is better changes with the rank, and a
    # low rank does best from a start of its own kind.
    paths = [whole] * imitation.ways
    steps = schedule(ranks, min(kernel.shape) - softmax)
    least = whitened_ranks(
        bias, ranks, imitation.moments, reference, softmax=softmax, allow_bias=allow_bias
    )
    root = input_root(imitation.moments, has_bias=has_bias)
    found: dict[int, Factors] = {}
    for index, step in enumerate(steps):
        heads = []
        for way, (current, current_bias) in enumerate(paths):
            here = Reference(current, truncated_svd(current, step))
            start = whitened_ranks(
                current_bias,
                [step],
                imitation.moments,
                here,
                softmax=softmax,
                allow_bias=allow_bias,
            )[step]
            heads.append(imitation.nearest(_head(start, None), iterations, way))
            first, second, added = heads[-1][0]
            paths[way] = (first @ second, added if has_bias else None)
        if step in ranks:
            nearest, _ = min(heads, key=lambda pair: pair[1])
            surest = imitation.surest(nearest, iterations // 2) if softmax else nearest
            stored = _stored(surest, start, bias, reference)
            outputs = _output_errors(stored, least[step], root, kernel, softmax=softmax)
            found[step] = replace(stored, certificate=replace(stored.certificate, outputs=outputs))
        if progress is not None:
            progress(index + 1, len(steps))
    return found


def _head(factors: Factors, bias: NDArray[Any] | None) -> Head:
    stored = bias if factors.bias is None else factors.bias
    return factors.B, factors.C, np.zeros(factors.C.shape[1]) if stored is None else stored


def _output_errors(
    found: Factors,
    least: Factors,
    root: NDArray[np.float64],
    kernel: NDArray[Any],
    *,
    softmax: bool,
) -> Certificate:
    """Return the error of a refined head's outputs beside that of the whitened one, the least in squares."""
    target: NDArray[Any] = kernel.astype(np.float64)
    C: NDArray[Any] = found.C.astype(np.float64)
    if softmax:
        target, C = centre_kernel(target), centre_kernel(C)
    best = least.certificate.minimised
    errors = certify(root @ target, root @ found.B, C, best.optimum_frobenius_error, best.algorithm)
    return within_rounding(errors, share_of_norm(target, kernel), kernel.dtype)


def _stored(head: Head, start: Factors, bias: NDArray[Any] | None, reference: Reference) -> Factors:
    """Return a head in the kernel's dtype with a certificate against the kernel itself."""
    dtype = reference.kernel.dtype
    first, second = rebalance(head[0], head[1])
    B, C = first.astype(dtype), second.astype(dtype)
    new_bias = None
    if bias is not None or start.bias is not None:
        new_bias = head[2].astype(dtype if bias is None else bias.dtype)
    certificate = reference.certify(B, C, start.certificate.algorithm)
    # The start was cut from a head on the way down the ranks, which tells nothing of the kernel.
    return replace(
        start, B=B, C=C, bias=new_bias, method="refined", certificate=certificate,
        singular_values=reference.literal.singular_values,
    )  # fmt: skip
