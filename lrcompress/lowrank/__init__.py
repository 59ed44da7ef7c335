"""The mathematics: NumPy and SciPy, no files, no printing, no global state."""

from __future__ import annotations

from lrcompress.lowrank.allocation import (
    Allocations,
    Curve,
    Ranks,
    allocations,
    total_price,
    within_budget,
)
from lrcompress.lowrank.centering import centered, centre_kernel
from lrcompress.lowrank.certificate import Certificate
from lrcompress.lowrank.cores import each, one_blas_thread
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.guarding import calibration_warnings
from lrcompress.lowrank.methods import (
    METHODS,
    choose_method,
    factorize_kernel,
    factorize_ranks,
    minimises,
)
from lrcompress.lowrank.moments import InputMoments
from lrcompress.lowrank.projected import ProjectedMoments, gather_moments
from lrcompress.lowrank.ranks import (
    break_even_rank,
    check_rank,
    energy,
    largest_useful_rank,
    parameters,
    rank_for_energy,
    rank_for_reduction,
    rank_for_share,
)
from lrcompress.lowrank.refine import refine, refined
from lrcompress.lowrank.sampling import most_inputs
from lrcompress.lowrank.spectrum import Outline, outline
from lrcompress.lowrank.svd import check_kernel, singular_values, truncated_svd
from lrcompress.lowrank.whitening import whitened

__all__ = [
    "METHODS",
    "Allocations",
    "Certificate",
    "Curve",
    "Factors",
    "InputMoments",
    "Outline",
    "ProjectedMoments",
    "Ranks",
    "allocations",
    "break_even_rank",
    "calibration_warnings",
    "centered",
    "centre_kernel",
    "check_kernel",
    "check_rank",
    "choose_method",
    "each",
    "energy",
    "factorize_kernel",
    "factorize_ranks",
    "gather_moments",
    "largest_useful_rank",
    "minimises",
    "most_inputs",
    "one_blas_thread",
    "outline",
    "parameters",
    "rank_for_energy",
    "rank_for_reduction",
    "rank_for_share",
    "refine",
    "refined",
    "singular_values",
    "total_price",
    "truncated_svd",
    "whitened",
    "within_budget",
]
