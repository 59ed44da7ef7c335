"""The whitened layer, where errors of the outputs count by how much the probabilities mind them.

To second order the KL of softmax is ``sum_j p_j d_j^2 / 2`` of the errors d of the logits less their
mean by p, and that of a sigmoid ``p_j (1 - p_j) d_j^2 / 2``. With ``w_j = E[p_j (1 - p_j)]`` for both the
minimum of ``sum_j w_j E (z_j - z'_j)^2`` is the truncated SVD of ``L^T A diag(sqrt w)`` (Srebro &
Jaakkola, ICML 2003, for weights that factor), the columns of C divided by sqrt w afterwards; A is
centred by the mean with these weights where softmax follows. Powers of w other than one were worse.
"""

from __future__ import annotations

from collections.abc import Sequence

from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.methods import Given
from lrcompress.lowrank.methods.problem import Problem
from lrcompress.lowrank.methods.whitened import Whitened


class Weighted(Whitened):
    """Reduced-rank regression in which rare classes weigh little."""

    name = "weighted"
    needs: Given = "inputs"
    minimises = "weighted outputs"
    spectrum_of = "weighted whitened kernel"
    color, marker = "#E69F00", "P"
    hidden = "asked"

    def solve(self, problem: Problem, ranks: Sequence[int]) -> dict[int, Factors]:
        """Weigh the outputs of a softmax or sigmoid; all others weigh the same."""
        return self.regression(problem, problem.statistics, ranks, problem.weights)


METHOD = Weighted()
