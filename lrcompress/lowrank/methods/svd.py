"""The truncated SVD of the kernel itself."""

from __future__ import annotations

from collections.abc import Sequence

from lrcompress.lowrank.factors import Factors, at_rank
from lrcompress.lowrank.methods import Method
from lrcompress.lowrank.methods.problem import Problem


class SVD(Method):
    """The matrix of rank r nearest to the kernel, whatever follows the layer."""

    name = "svd"
    color, marker = "#D55E00", "o"

    def solve(self, problem: Problem, ranks: Sequence[int]) -> dict[int, Factors]:
        """Cut every rank from the decomposition at the largest."""
        literal = problem.reference(max(ranks)).literal
        return {rank: at_rank(literal, rank, problem.kernel) for rank in ranks}


METHOD = SVD()
