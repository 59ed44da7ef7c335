"""The mathematics: matrices of low rank and the methods that find them; no files, no printing.

What the methods say of themselves is had without NumPy: each name loads what it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrcompress.lowrank.allocation import Allocations as Allocations
    from lrcompress.lowrank.allocation import Curve as Curve
    from lrcompress.lowrank.allocation import Ranks as Ranks
    from lrcompress.lowrank.allocation import allocations as allocations
    from lrcompress.lowrank.allocation import total_price as total_price
    from lrcompress.lowrank.allocation import within_budget as within_budget
    from lrcompress.lowrank.factors import Factors as Factors
    from lrcompress.lowrank.factors import outline as outline
    from lrcompress.lowrank.imitation import imitating_kernel as imitating_kernel
    from lrcompress.lowrank.matrix import check_kernel as check_kernel
    from lrcompress.lowrank.matrix import core_count as core_count
    from lrcompress.lowrank.matrix import each as each
    from lrcompress.lowrank.matrix import one_blas_thread as one_blas_thread
    from lrcompress.lowrank.methods import AUTO as AUTO
    from lrcompress.lowrank.methods import METHODS as METHODS
    from lrcompress.lowrank.methods import Method as Method
    from lrcompress.lowrank.methods import Setting as Setting
    from lrcompress.lowrank.methods import calibration_warnings as calibration_warnings
    from lrcompress.lowrank.methods import choose_method as choose_method
    from lrcompress.lowrank.methods import learns_from as learns_from
    from lrcompress.lowrank.methods import method_names as method_names
    from lrcompress.lowrank.methods.problem import Problem as Problem
    from lrcompress.lowrank.methods.problem import factorize_ranks as factorize_ranks
    from lrcompress.lowrank.moments import InputMoments as InputMoments
    from lrcompress.lowrank.ranks import break_even_rank as break_even_rank
    from lrcompress.lowrank.ranks import check_rank as check_rank
    from lrcompress.lowrank.ranks import energy as energy
    from lrcompress.lowrank.ranks import largest_useful_rank as largest_useful_rank
    from lrcompress.lowrank.ranks import parameters as parameters
    from lrcompress.lowrank.ranks import rank_for_reduction as rank_for_reduction
    from lrcompress.lowrank.ranks import rank_for_share as rank_for_share
    from lrcompress.lowrank.ranks import rank_grid as rank_grid
    from lrcompress.lowrank.ranks import spread_ranks as spread_ranks
    from lrcompress.lowrank.refinement.outputs import Outputs as Outputs
    from lrcompress.lowrank.refinement.outputs import most_inputs as most_inputs
    from lrcompress.lowrank.refinement.outputs import outputs_of as outputs_of
    from lrcompress.lowrank.refinement.room import free_memory as free_memory
    from lrcompress.lowrank.responses import Correction as Correction
    from lrcompress.lowrank.responses import RowMoments as RowMoments
    from lrcompress.lowrank.responses import metric_of as metric_of
    from lrcompress.lowrank.responses import takes_metric as takes_metric
    from lrcompress.lowrank.svd import singular_values as singular_values
    from lrcompress.lowrank.svd import truncated_svd as truncated_svd

# Where each name is at home.
_MODULES = {
    "allocation": "Allocations Curve Ranks allocations total_price within_budget",
    "matrix": "check_kernel core_count each one_blas_thread",
    "refinement.outputs": "Outputs most_inputs outputs_of",
    "refinement.room": "free_memory",
    "factors": "Factors outline",
    "imitation": "imitating_kernel",
    "methods": "AUTO METHODS Method Setting calibration_warnings choose_method learns_from "
    "method_names",
    "methods.problem": "Problem factorize_ranks",
    "moments": "InputMoments",
    "ranks": "break_even_rank check_rank energy largest_useful_rank parameters rank_for_reduction "
    "rank_for_share rank_grid spread_ranks",
    "responses": "Correction RowMoments metric_of takes_metric",
    "svd": "singular_values truncated_svd",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:  # noqa: ANN401  # PEP 562
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found
