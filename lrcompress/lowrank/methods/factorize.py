"""The one function that calls a method, and the guard on what those return that learn from inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from lrcompress.events import progress
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.matrix import check_kernel
from lrcompress.lowrank.methods import AUTO, METHODS, choose_method
from lrcompress.lowrank.methods.problem import Problem
from lrcompress.lowrank.svd import check_has_rank

# Losses that differ by less, or by less of the larger, are equal: sums of float32 logits round so.
ROUNDING = 1e-6


def factorize_ranks(
    problem: Problem, ranks: Collection[int], method: str = AUTO
) -> dict[int, Factors]:
    """Factorize a kernel at several ranks, for the price of one.

    Where the inputs themselves are given, every tenth is held out, and at ranks where a method that learned
    from inputs is worse on those than a simpler one, that one is returned and says so by its `method`.
    """
    wanted = sorted(set(ranks))
    if not wanted:
        return {}
    chosen = METHODS[choose_method(method, problem.setting)[0]]
    check_kernel(problem.kernel)
    check_has_rank(problem.kernel, wanted[0])
    if problem.inputs is not None and chosen.needs == "inputs":
        from lrcompress.lowrank.refinement.room import check_room

        m = len(problem.kernel)
        check_room((m, problem.kernel.shape[1]), wanted[-1], problem.inputs.size // m)
    found = chosen.solve(problem, wanted)
    if chosen.needs == "kernel" or problem.inputs is None:
        return found
    rivals = simpler(chosen.name, problem)
    for index, name in enumerate(rivals):
        if not chosen.closed_form:  # or it has told its own
            progress("comparing methods on held-out inputs", index, len(rivals))
        found = better(found, METHODS[name].solve(problem, wanted), problem)
    return found


def simpler(method: str, problem: Problem) -> list[str]:
    """Return what a method that learned from inputs is measured against, the best without data last."""
    without, _ = choose_method(AUTO, replace(problem.setting, given="kernel"))
    # Weights count for probabilities alone.
    weighs = method == "weighted" and problem.weights is not None
    return [*["whitened"] * weighs, without]


def better(
    found: Mapping[int, Factors], simple: Mapping[int, Factors], problem: Problem
) -> dict[int, Factors]:
    """Return at each rank the factors that are nearer to the original on the inputs held out."""
    chosen = {}
    for rank, factors in found.items():
        least = loss_of(simple[rank], problem)
        gains = loss_of(factors, problem) < least - ROUNDING * max(least, 1.0)
        chosen[rank] = factors if gains else simple[rank]
    return chosen


def loss_of(factors: Factors, problem: Problem) -> float:
    """Return the mean loss of factors, as they are stored, on the inputs held out."""
    bias = problem.bias if factors.bias is None else factors.bias
    offset = np.zeros(factors.C.shape[1]) if bias is None else bias
    parts = (factors.B, factors.C, offset)
    return problem.unseen.loss(*(part.astype(np.float32, copy=False) for part in parts))
