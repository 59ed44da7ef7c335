"""The mathematics: matrices of low rank and the methods that find them; no files, no printing."""

from __future__ import annotations

from lrcompress.lowrank.allocation import (
    Allocations,
    Curve,
    Ranks,
    allocations,
    total_price,
    within_budget,
)
from lrcompress.lowrank.certificate import Certificate
from lrcompress.lowrank.cores import each, one_blas_thread
from lrcompress.lowrank.descent import most_inputs
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.matrix import check_kernel
from lrcompress.lowrank.methods import (
    AUTO,
    METHODS,
    Method,
    Problem,
    Setting,
    calibration_warnings,
    choose_method,
    factorize_ranks,
    learns_from,
    method_names,
)
from lrcompress.lowrank.moments import InputMoments, ProjectedMoments
from lrcompress.lowrank.ranks import (
    break_even_rank,
    check_rank,
    energy,
    largest_useful_rank,
    parameters,
    rank_for_energy,
    rank_for_reduction,
    rank_for_share,
    rank_grid,
    spread_ranks,
)
from lrcompress.lowrank.spectrum import Outline, outline
from lrcompress.lowrank.svd import singular_values, truncated_svd

__all__ = [
    "AUTO",
    "METHODS",
    "Allocations",
    "Certificate",
    "Curve",
    "Factors",
    "InputMoments",
    "Method",
    "Outline",
    "Problem",
    "ProjectedMoments",
    "Ranks",
    "Setting",
    "allocations",
    "break_even_rank",
    "calibration_warnings",
    "check_kernel",
    "check_rank",
    "choose_method",
    "each",
    "energy",
    "factorize_ranks",
    "largest_useful_rank",
    "learns_from",
    "method_names",
    "most_inputs",
    "one_blas_thread",
    "outline",
    "parameters",
    "rank_for_energy",
    "rank_for_reduction",
    "rank_for_share",
    "rank_grid",
    "singular_values",
    "spread_ranks",
    "total_price",
    "truncated_svd",
    "within_budget",
]
