"""The one function that calls a method, and the guard on what those return that learn from inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.matrix import check_kernel
from lrcompress.lowrank.methods import AUTO, METHODS, choose_method
from lrcompress.lowrank.methods.problem import Problem
from lrcompress.lowrank.svd import check_has_rank

if TYPE_CHECKING:
    from lrcompress.lowrank.objectives import Imitated

# Losses that differ by less are equal: float32 rounds so, and each engine its own way.
ROUNDING = 1e-6


def factorize_ranks(
    problem: Problem, ranks: Collection[int], method: str = AUTO
) -> dict[int, Factors]:
    """Factorize a kernel at several ranks, for the price of one.

    The closed forms come from one decomposition at the largest rank, the refined layers from one
    pass down the ranks. Where the inputs themselves are given, every tenth is held out, and at
    ranks where a method that learned from inputs is worse on those than the best without data,
    that one is returned and says so by its `method`.

    Args:
        problem: The layer.
        ranks: Each from 1 to min(m, n).
        method: As for `choose_method`.

    Returns:
        Factors by rank, each with its certificate; empty without ranks.

    Raises:
        KernelError: If the kernel or the inputs are not finite, or do not belong together.
        RankError: If there is no such rank, or the method lacks its data.
    """
    wanted = sorted(set(ranks))
    if not wanted:
        return {}
    chosen = METHODS[choose_method(method, problem.setting)[0]]
    check_kernel(problem.kernel)
    check_has_rank(problem.kernel, wanted[0])
    found = chosen.solve(problem, wanted)
    if chosen.needs == "kernel" or problem.inputs is None:
        return found
    without, _ = choose_method(AUTO, replace(problem.setting, given="kernel"))
    return better(found, METHODS[without].solve(problem, wanted), problem)


def better(
    found: Mapping[int, Factors], without_data: Mapping[int, Factors], problem: Problem
) -> dict[int, Factors]:
    """Return at each rank the factors that are nearer to the original on the inputs held out."""
    held_out = held_out_part(problem)

    def loss(factors: Factors) -> float:
        return loss_of(held_out, factors, problem)

    return {
        rank: factors
        if loss(factors) < (1 - ROUNDING) * loss(without_data[rank])
        else without_data[rank]
        for rank, factors in found.items()
    }


def held_out_part(problem: Problem) -> Imitated:
    """Return a layer on every tenth of its inputs; on all, where they are fewer than ten."""
    from lrcompress.lowrank.descent import rows, split
    from lrcompress.lowrank.objectives import head_of, imitated

    kernel, bias = problem.kernel.astype(np.float32), problem.bias
    inputs = np.zeros((0, len(kernel))) if problem.inputs is None else problem.inputs
    inner, outer = split(inputs)
    x = rows(outer if len(outer) else inner, kernel.shape[1])
    head = head_of(problem.activation, softmax=problem.softmax, is_head=problem.is_head)
    return imitated(x, kernel, None if bias is None else bias.astype(np.float32), head)


def loss_of(held_out: Imitated, factors: Factors, problem: Problem) -> float:
    """Return the mean loss of factors as they are stored."""
    bias = problem.bias if factors.bias is None else factors.bias
    offset = np.zeros(factors.C.shape[1]) if bias is None else bias
    return held_out.loss(*(part.astype(np.float32) for part in (factors.B, factors.C, offset)))
