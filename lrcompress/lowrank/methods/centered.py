"""The truncated SVD of the mean-free kernel: softmax does not see a number added to every class.

With ``z = x A + b`` and 1 the vector of n ones, ``softmax(z - mean(z)) = softmax(z)``, so A may be
replaced by ``A - (A 1 / n) 1^T`` and b by ``b - mean(b)``. The centred kernel has rank at most
n - 1, so r = n - 1 is exact, and truncating it never costs more in its own Frobenius norm than
truncating A.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.certificate import Certificate, certify, share_of_norm, within_rounding
from lrcompress.lowrank.factors import Factors, at_rank
from lrcompress.lowrank.matrix import Array, Floats
from lrcompress.lowrank.methods import Method, Setting
from lrcompress.lowrank.methods.problem import Problem
from lrcompress.lowrank.svd import truncated_svd


def centre_kernel(kernel: Array, weights: Floats | None = None) -> NDArray[np.floating[Any]]:
    """Return ``A - (A 1 / n) 1^T``, (m, n), in float32 or better; with weights, (n,), by the weighted mean."""
    wide = kernel.astype(np.result_type(kernel.dtype, np.float32), copy=False)
    if weights is None:
        mean = wide.mean(axis=1, dtype=np.float64)
    else:
        # Not a product in float64, for which all of a large kernel would be copied.
        mean = wide @ (weights / weights.sum()).astype(wide.dtype)
    return np.asarray(wide - mean[:, None].astype(wide.dtype))


def centre_bias(bias: Array, weights: Floats | None = None) -> Floats:
    """Return ``b - mean(b)``, (n,), in float64."""
    wide = bias.astype(np.float64)
    return np.asarray(wide - np.average(wide, weights=weights))


class Centered(Method):
    """The best without data where softmax follows."""

    name = "centered"
    minimises = spectrum_of = "mean-free kernel"
    color, marker = "#0072B2", "s"
    hidden = "never"
    because = "softmax does not see what it removes"

    def suits(self, setting: Setting) -> str | None:
        """Return what it does to outputs that no softmax follows."""
        if setting.softmax:
            return None
        does = "are moved by their mean" if setting.has_bias else "lose their mean over the classes"
        return f"no softmax follows, so the outputs {does}"

    def truncated(self, kernel: Array, *, softmax: bool) -> Array:
        """Return the mean-free kernel."""
        return centre_kernel(kernel)

    def solve(self, problem: Problem, ranks: Sequence[int]) -> dict[int, Factors]:
        """Cut every rank from one decomposition of the mean-free kernel."""
        kernel = problem.kernel
        highest = problem.known.get(self.name)
        if not isinstance(highest, Factors) or highest.rank < max(ranks):
            highest = truncated_svd(centre_kernel(kernel), max(ranks))
            problem.known[self.name] = highest
        bias = (
            None if problem.bias is None else centre_bias(problem.bias).astype(problem.bias.dtype)
        )
        # Those of a lower rank are the first of these.
        first, second = (part.astype(kernel.dtype, copy=False) for part in (highest.B, highest.C))
        found = {}
        for rank in ranks:
            B, C = np.ascontiguousarray(first[:, :rank]), second[:rank]
            measured = partial(_certified, problem, highest, (B, C))
            found[rank] = Factors(
                B, C, bias, highest.singular_values, self.name, measured, self.spectrum_of
            )
        return found


def _certified(problem: Problem, highest: Factors, factors: tuple[Array, Array]) -> Certificate:
    """Return the certificate of A itself, by the same measure as for every other method."""
    kernel, (B, C) = problem.kernel, factors
    mean_free = centre_kernel(kernel)
    own = at_rank(highest, B.shape[1], mean_free).certificate
    if B.dtype != highest.B.dtype:
        own = certify(mean_free, B, C, own.optimum_frobenius_error, own.algorithm)
    own = within_rounding(own, share_of_norm(mean_free, kernel), kernel.dtype)
    return problem.reference(highest.rank).certify(B, C, own.algorithm, own)


METHOD = Centered()
