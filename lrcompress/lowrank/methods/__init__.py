"""The methods, a file each: what is asked of them, which one `auto` takes, what guards their results."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from lrcompress.errors import RankError, did_you_mean
from lrcompress.lowrank.descent import rows, split
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.matrix import check_kernel
from lrcompress.lowrank.methods.centered import Centered, centre_kernel
from lrcompress.lowrank.methods.problem import GIVEN, Given, Method, Problem, Setting
from lrcompress.lowrank.methods.refined import Refined
from lrcompress.lowrank.methods.svd import SVD
from lrcompress.lowrank.methods.whitened import Whitened
from lrcompress.lowrank.objectives import Imitated, head_of, imitated
from lrcompress.lowrank.svd import check_has_rank

__all__ = [
    "AUTO",
    "METHODS",
    "Method",
    "Problem",
    "Setting",
    "calibration_warnings",
    "centre_kernel",
    "choose_method",
    "factorize_ranks",
    "learns_from",
    "method_names",
]

# The first that suits is what `auto` takes.
METHODS: dict[str, Method] = {
    method.name: method for method in (Refined(), Whitened(), Centered(), SVD())
}
AUTO = "auto"
# Below so many inputs a feature, the covariance of whitening is poorly known.
AMPLE = 5
# Losses that differ by less are equal: float32 rounds so, and each engine its own way.
ROUNDING = 1e-6


def method_names() -> list[str]:
    """Return what may be asked for, the simplest method first."""
    return [AUTO, *reversed(METHODS)]


def learns_from(method: str) -> Given:
    """Return the most that a method, or whichever `auto` takes, would learn from."""
    return GIVEN[-1] if method == AUTO else METHODS[method].needs


def choose_method(method: str, setting: Setting) -> tuple[str, str]:
    """Return the method to use and why: `auto` takes the best that the data and the layer allow.

    Args:
        method: auto, or one of the methods.
        setting: What is known of the layer.

    Raises:
        RankError: If the method is unknown, or needs data that are not there.
    """
    if method == AUTO:
        return _best(setting)
    if method not in METHODS:
        near = did_you_mean(method, method_names())
        msg = f"Unknown method {method!r}; expected {', '.join(method_names())}.{near}"
        raise RankError(msg, code="unknown_method")
    asked = METHODS[method]
    if not _is_given(asked, setting):
        msg = f"Method {method} needs inputs to calibrate on; give --dataset, or use --method auto."
        raise RankError(msg, code="needs_data")
    if asked.hidden == "never" and not setting.is_head:
        best, _ = _best(replace(setting, given="kernel"))
        return best, f"instead of {method}, which would move the outputs of a hidden layer"
    against = asked.suits(setting)
    return method, f"as asked; {against}" if against else "as asked"


def _best(setting: Setting) -> tuple[str, str]:
    best = next(
        method
        for method in METHODS.values()
        if _is_given(method, setting)
        and (setting.is_head or method.hidden == AUTO)
        and method.suits(setting) is None
    )
    where = "" if setting.is_head else " for a hidden layer"
    if best.needs != "kernel":
        return best.name, f"the best method{where}, since there is data to calibrate on"
    if setting.is_head and not setting.softmax:
        where = " for a layer that softmax does not follow"
    because = f"; {best.because}" if best.because else ""
    return best.name, f"the best method without data{where}{because}"


def _is_given(method: Method, setting: Setting) -> bool:
    return GIVEN.index(method.needs) <= GIVEN.index(setting.given)


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
    without, _ = _best(replace(problem.setting, given="kernel"))
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


def calibration_warnings(kernel_shape: tuple[int, int], count: int, method: str) -> list[str]:
    """Return what a user should know of a method that learned a layer from so few inputs.

    Args:
        kernel_shape: (m, n).
        count: Inputs of the layer, time steps counted one by one.
        method: That used them.
    """
    m = kernel_shape[0]
    if METHODS[method].needs == "kernel" or count >= AMPLE * m:
        return []
    few = f"{count:,} calibration inputs for a layer with {m:,} features"
    if count < m:
        return [
            f"{few}: fewer inputs than features, so {method} is damped and close to the best "
            f"method without data; give at least {AMPLE * m:,}."
        ]
    return [f"{few}: the result is less good than it could be; give at least {AMPLE * m:,}."]
