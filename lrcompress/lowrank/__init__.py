"""The mathematics: NumPy and SciPy, no files, no printing, no global state."""

from __future__ import annotations

from lrcompress.lowrank.centering import centered, centre_kernel
from lrcompress.lowrank.certificate import Certificate
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.methods import METHODS, choose_method, factorize_kernel
from lrcompress.lowrank.moments import InputMoments
from lrcompress.lowrank.rank import (
    break_even_rank,
    check_rank,
    energy,
    parameters,
    rank_for_energy,
    rank_for_reduction,
)
from lrcompress.lowrank.refine import refine, refined
from lrcompress.lowrank.svd import check_kernel, singular_values, truncated_svd
from lrcompress.lowrank.whitening import whitened

__all__ = [
    "METHODS",
    "Certificate",
    "Factors",
    "InputMoments",
    "break_even_rank",
    "centered",
    "centre_kernel",
    "check_kernel",
    "check_rank",
    "choose_method",
    "energy",
    "factorize_kernel",
    "parameters",
    "rank_for_energy",
    "rank_for_reduction",
    "refine",
    "refined",
    "singular_values",
    "truncated_svd",
    "whitened",
]
