"""The `centered` method: softmax does not see a number added to every class.

With ``z = x A + b`` and 1 the vector of n ones, ``softmax(z - mean(z)) = softmax(z)``, so A may be
replaced by ``A - (A 1 / n) 1^T`` and b by ``b - mean(b)``. The centred kernel has rank at most
n - 1, so r = n - 1 is exact, and truncating it never costs more in its own Frobenius norm than
truncating A.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.blocks import magnitude
from lrcompress.lowrank.certificate import certify, norms, within_rounding
from lrcompress.lowrank.factors import Factors
from lrcompress.lowrank.spectrum import Reference, at_rank
from lrcompress.lowrank.svd import truncated_svd


def centre_kernel(kernel: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Return ``A - (A 1 / n) 1^T``, (m, n), in float32 or better."""
    wide = kernel.astype(np.result_type(kernel.dtype, np.float32), copy=False)
    return np.asarray(wide - wide.mean(axis=1, keepdims=True, dtype=np.float64).astype(wide.dtype))


def centre_bias(bias: NDArray[Any]) -> NDArray[Any]:
    """Return ``b - mean(b)``, (n,), in the dtype of b."""
    wide = bias.astype(np.float64)
    return np.asarray(wide - wide.mean(), dtype=bias.dtype)


def share_of_norm(part: NDArray[Any], kernel: NDArray[Any]) -> float:
    """Return how large a matrix made of A is against A, both in the Frobenius norm."""
    unit = magnitude(kernel)
    if unit is None:
        return 0.0
    return norms(part, unit, spectral=False)[0] / norms(kernel, unit, spectral=False)[0]


def centered(kernel: NDArray[Any], bias: NDArray[Any] | None, rank: int) -> Factors:
    """Return the truncated SVD of the mean-free kernel, for a layer that softmax follows.

    Args:
        kernel: A, (m, n).
        bias: b, (n,), or None.
        rank: r, from 1 to min(m, n).

    Raises:
        KernelError: If the kernel is not a finite matrix.
        RankError: If there is no such rank.
    """
    return centered_ranks(bias, [rank], Reference(kernel, truncated_svd(kernel, rank)))[rank]


def centered_ranks(
    bias: NDArray[Any] | None, ranks: Collection[int], reference: Reference
) -> dict[int, Factors]:
    """Return `centered` at several ranks from one decomposition.

    Args:
        bias: b, (n,), or None.
        ranks: Each from 1 to that of the reference.
        reference: Of A, (m, n).
    """
    kernel = reference.kernel
    mean_free = centre_kernel(kernel)
    highest = truncated_svd(mean_free, max(ranks))
    new_bias = None if bias is None else centre_bias(bias)
    scale = share_of_norm(mean_free, kernel)
    found = {}
    for rank in ranks:
        inner = at_rank(highest, rank, mean_free)
        B, C = inner.B.astype(kernel.dtype), inner.C.astype(kernel.dtype)
        # The certificate speaks of A itself, by the same measure as for every other method.
        truncated = inner.certificate
        if B.dtype != inner.B.dtype:
            best = truncated.optimum_frobenius_error
            truncated = certify(mean_free, B, C, best, truncated.algorithm)
        truncated = within_rounding(truncated, scale, kernel.dtype)
        certificate = reference.certify(B, C, truncated.algorithm, truncated)
        found[rank] = Factors(B, C, new_bias, inner.singular_values, "centered", certificate)
    return found
