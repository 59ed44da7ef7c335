"""The rank-r layer whose predictions are nearest to the original's.

Minimises the mean ``KL(softmax(z) || softmax(z'))`` (Bernoulli KL for sigmoid, the squared error
of its own output for a hidden layer) over B, C and b' by L-BFGS on unlabelled inputs of the layer.
The problem is not convex, so `refined` goes down the ranks: refine at a high rank, truncate that
layer, refine again (numerical continuation). Where softmax follows, each rank that is asked for ends
in a descent on a bounded loss, nearer to the share of mistakes than the KL is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from lrcompress.events import progress
from lrcompress.lowrank.certificate import Certificate, certify, share_of_norm, within_rounding
from lrcompress.lowrank.factors import Factors, rebalance
from lrcompress.lowrank.matrix import Array, Floats
from lrcompress.lowrank.methods import Given
from lrcompress.lowrank.methods.centered import centre_kernel
from lrcompress.lowrank.methods.problem import Problem, better
from lrcompress.lowrank.methods.whitened import Whitened
from lrcompress.lowrank.moments import input_root

if TYPE_CHECKING:
    from lrcompress.lowrank.refinement.descent import Imitation
    from lrcompress.lowrank.refinement.steps import Head

# Of L-BFGS at each rank; half as many for the last descent where softmax follows.
ITERATIONS = 60
# Each rank of the continuation is at least this share of the one before.
STEP_DOWN = 0.75


class Refined(Whitened):
    """The closed form, improved step by step on what follows the layer."""

    name = "refined"
    needs: Given = "inputs"
    color, marker = "#CC79A7", "D"
    hidden = "asked"
    closed_form = Whitened.name

    def solve(self, problem: Problem, ranks: Sequence[int]) -> dict[int, Factors]:
        """Go once down the ranks; for squared errors the closed form is the optimum."""
        from lrcompress.lowrank.refinement.descent import MOST_OUTPUTS, Imitation
        from lrcompress.lowrank.refinement.outputs import PROBABILITIES

        head, classes = problem.head, problem.kernel.shape[1]
        if head == "linear":
            return super().solve(problem, ranks)
        if head in PROBABILITIES and len(problem.parts[0]) * classes > MOST_OUTPUTS:
            return _stepped(problem, ranks)
        if problem.inputs is None:
            raise AssertionError  # choose_method saw to it
        given = problem.kernel, problem.bias, problem.inputs, head
        return _continued(problem, ranks, Imitation(*given, has_bias=problem.has_bias))


def _stepped(problem: Problem, ranks: Sequence[int]) -> dict[int, Factors]:
    """Take damped steps from the better closed form at each rank, which stays where they gain nothing."""
    from lrcompress.lowrank.methods.weighted import Weighted
    from lrcompress.lowrank.refinement.outputs import Outputs
    from lrcompress.lowrank.refinement.steps import DAMPINGS, Steps, can_step

    inputs, classes = len(problem.parts[0]), problem.kernel.shape[1]
    if not any(can_step(inputs, classes, rank) for rank in ranks):
        return better(Weighted().solve(problem, ranks), Whitened().solve(problem, ranks), problem)
    seen = problem.seen
    unseen = problem.unseen
    if seen is None or not isinstance(unseen, Outputs):
        raise AssertionError  # of probabilities both are sums
    steps = Steps(seen, unseen, has_bias=problem.has_bias)
    least = Whitened().regression(problem, steps.moments, ranks)
    weighted = Weighted().regression(problem, steps.moments, ranks, seen.weights)
    starts = better(weighted, least, problem)
    found: dict[int, Factors] = {}
    for index, (rank, start) in enumerate(sorted(starts.items(), reverse=True)):

        def told(done: int, before: int = index * len(DAMPINGS)) -> None:
            progress(problem.task, before + done, len(starts) * len(DAMPINGS))

        if can_step(inputs, classes, rank):
            bias = problem.bias if start.bias is None else start.bias
            nearest = steps.nearest(_head(replace(start, bias=bias)), told)
            stored = _stored(nearest, problem, max(ranks), least[rank], steps.root)
            start = better({rank: stored}, {rank: start}, problem)[rank]
        found[rank] = start
        told(len(DAMPINGS))
    return found


def _continued(problem: Problem, ranks: Sequence[int], imitation: Imitation) -> dict[int, Factors]:
    kernel, has_bias, softmax = problem.kernel, problem.has_bias, problem.centre
    whitened = Whitened()
    # One path down the ranks for each way to descend: which is better changes with the rank, and a
    # low rank does best from a start of its own kind.
    whole = problem.bias if problem.bias is None else problem.bias.astype(np.float64)
    paths = [(kernel.astype(np.float64), whole)] * imitation.ways
    steps = schedule(ranks, min(kernel.shape) - softmax)
    least = whitened.regression(problem, imitation.moments, ranks)
    root = input_root(imitation.moments, has_bias=has_bias)
    found: dict[int, Factors] = {}
    for index, step in enumerate(steps):
        nearest: list[tuple[Head, float]] = []
        for way, (current, bias) in enumerate(paths):
            here = replace(problem, kernel=current, bias=bias)
            start = whitened.regression(here, imitation.moments, [step])[step]
            passing = step not in ranks
            nearest.append(imitation.nearest(_head(start), ITERATIONS, way, passing=passing))
            first, second, added = nearest[-1][0]
            paths[way] = (first @ second, added if has_bias else None)
        if step in ranks:
            best, _ = min(nearest, key=lambda pair: pair[1])
            surest = imitation.surest(best, ITERATIONS // 2) if softmax else best
            found[step] = _stored(surest, problem, max(ranks), least[step], root)
        progress(problem.task, index + 1, len(steps))
    return found


def schedule(ranks: Collection[int], highest: int) -> list[int]:
    """Return falling ranks through all that are wanted, from the highest, or from one above it."""
    falling = sorted(set(ranks), reverse=True)
    steps = list(falling)
    for rank, end in zip(falling, [highest + 1, *falling], strict=False):
        while (rank := max(rank + 1, round(rank / STEP_DOWN))) < end:
            steps.append(rank)
    return sorted(steps, reverse=True)


def _head(factors: Factors) -> Head:
    bias = np.zeros(factors.C.shape[1]) if factors.bias is None else factors.bias
    return factors.B, factors.C, bias


def _certified(
    problem: Problem, factors: tuple[Array, Array], most: int, least: Factors, root: Floats
) -> Certificate:
    """Return the certificate against A, with the error of the outputs beside the least in squares, the whitened one."""
    kernel, (B, second) = problem.kernel, factors
    target: Array = kernel.astype(np.float64)
    C: Array = second.astype(np.float64)
    if problem.centre:
        target, C = centre_kernel(target), centre_kernel(C)
    best = least.certificate.minimised
    errors = certify(root @ target, root @ B, C, best.optimum_frobenius_error, best.algorithm)
    outputs = within_rounding(errors, share_of_norm(target, kernel), kernel.dtype)
    found = problem.reference(most).certify(B, second, best.algorithm)
    return replace(found, outputs=outputs)


def _stored(head: Head, problem: Problem, most: int, least: Factors, root: Floats) -> Factors:
    """Return a head in the kernel's dtype with a certificate against the kernel itself."""
    dtype, reference = problem.kernel.dtype, problem.reference(most)
    first, second = rebalance(head[0], head[1])
    B, C = first.astype(dtype), second.astype(dtype)
    bias = None
    if problem.has_bias:
        bias = head[2].astype(dtype if problem.bias is None else problem.bias.dtype)
    measured = partial(_certified, problem, (B, C), most, least, root)
    # The start was cut from a head on the way down the ranks, which tells nothing of the kernel.
    return Factors(B, C, bias, reference.literal.singular_values, Refined.name, measured)


METHOD = Refined()
