"""What calibration inputs can and cannot promise.

Methods that learn from inputs may learn too much from few. Where the inputs themselves are at
hand, every tenth is held out, and a head that is worse on those than the best without data is not
returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.objectives import Problem, make_problem
from lrcompress.lowrank.sampling import rows, split

# Below so many inputs a feature, the covariance of whitening is poorly known.
AMPLE = 5
# Losses that differ by less are equal: float32 rounds so, and each engine its own way.
ROUNDING = 1e-6


def calibration_warnings(kernel_shape: tuple[int, int], count: int, method: str) -> list[str]:
    """Return what a user should know about calibrating a layer on so few inputs.

    Args:
        kernel_shape: (m, n).
        count: Inputs of the layer, time steps counted one by one.
        method: That will use them; svd and centered use none.

    Returns:
        One line for each reservation; none where the inputs are ample.
    """
    m = kernel_shape[0]
    if method not in ("whitened", "refined") or count >= AMPLE * m:
        return []
    few = f"{count:,} calibration inputs for a layer with {m:,} features"
    if count < m:
        return [
            f"{few}: fewer inputs than features, so {method} is damped and close to the best "
            f"method without data; give at least {AMPLE * m:,}."
        ]
    return [f"{few}: the result is less good than it could be; give at least {AMPLE * m:,}."]


def held_out_problem(
    kernel: NDArray[Any], bias: NDArray[Any] | None, activations: NDArray[Any], head: str
) -> Problem:
    """Return the problem of imitating a layer on every tenth of its inputs, (..., m).

    Fewer than ten inputs are not split: all of them serve.
    """
    inner, outer = split(activations)
    x = rows(outer if len(outer) else inner, kernel.shape[1])
    offset = None if bias is None else bias.astype(np.float32)
    return make_problem(x, kernel.astype(np.float32), offset, head)


def loss_of(problem: Problem, factors: Factors, bias: NDArray[Any] | None) -> float:
    """Return the mean loss of factors as they are stored; `bias` is the layer's own."""
    stored = bias if factors.bias is None else factors.bias
    n = factors.C.shape[1]
    offset = np.zeros(n, np.float32) if stored is None else stored.astype(np.float32)
    return problem.loss(factors.B.astype(np.float32), factors.C.astype(np.float32), offset)


def better(
    found: Mapping[int, Factors],
    without_data: Mapping[int, Factors],
    bias: NDArray[Any] | None,
    held_out: Problem,
) -> dict[int, Factors]:
    """Return at each rank the factors that are nearer to the original on the inputs held out.

    Those found without data where both are equally near.

    Args:
        found: By a method that learned from inputs.
        without_data: By one that did not, at the same ranks.
        bias: The layer's own.
        held_out: From `held_out_problem`.
    """
    return {
        rank: factors
        if loss_of(held_out, factors, bias)
        < (1 - ROUNDING) * loss_of(held_out, without_data[rank], bias)
        else without_data[rank]
        for rank, factors in found.items()
    }
