"""One pass over a kernel before any work: is it finite, how large is it, at what scale."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import KernelError
from lrcompress.lowrank.blocks import (
    KernelSource,
    in_memory,
    magnitude,
    norm_squared,
    row_blocks,
)

# Entries whose squares are summed in the kernel's own precision before float64 takes over: the
# sum of all then has seven digits in float32.
RUN = 2**13
# Up to here float64 throughout costs nothing worth saving.
EXACT_ENTRIES = 2**20
# Mean squares between which neither squares nor sums of them leave the range of the type.
SAFE = {"float32": (1e-24, 1e18), "float64": (1e-240, 1e240)}


class Survey(NamedTuple):
    """What one pass over A tells.

    Attributes:
        total: ``||2^-unit A||_F^2``.
        unit: Even binary exponent that keeps squares of entries in range; 0 nearly always.
    """

    total: float
    unit: int


def check_shape(kernel: KernelSource) -> None:
    """Refuse what is not a real (m, n) matrix.

    Raises:
        KernelError: With code `not_a_matrix`.
    """
    if len(kernel.shape) != 2 or 0 in kernel.shape or kernel.dtype.kind != "f":
        msg = f"expected a kernel of shape (m, n) of floats. Received: shape {kernel.shape}, {kernel.dtype}."
        raise KernelError(msg, code="not_a_matrix")


def check_kernel(kernel: KernelSource) -> None:
    """Refuse what cannot be factorized.

    Raises:
        KernelError: If the kernel is not a real (m, n) matrix of finite numbers.
    """
    check_shape(kernel)
    bad = sum(int((~np.isfinite(kernel[rows])).sum()) for rows in row_blocks(kernel))
    if bad:
        m, n = kernel.shape
        msg = (
            f"the kernel holds NaN or infinity in {bad:,} of {m * n:,} entries; expected finite "
            "numbers: the model was saved after its training diverged, take an earlier checkpoint."
        )
        raise KernelError(msg, code="not_finite")


def survey(kernel: KernelSource) -> Survey:
    """Return the size and scale of a kernel; entries that are not finite are found on the way.

    Raises:
        KernelError: If the kernel is not a real (m, n) matrix of finite numbers.
    """
    check_shape(kernel)
    m, n = kernel.shape
    total = _sum_of_squares(kernel)
    low, high = SAFE["float64" if kernel.dtype == np.float64 else "float32"]
    if low <= total / (m * n) <= high:
        return Survey(total, 0)
    # Not finite, zero, or squares out of range: which of them, the slow way.
    check_kernel(kernel)
    exponent = magnitude(kernel)
    if exponent is None:
        return Survey(0.0, 0)
    unit = exponent + exponent % 2
    return Survey(norm_squared(kernel, unit), unit)


def _sum_of_squares(kernel: KernelSource) -> float:
    """Return ``||A||_F^2``, or something not finite or out of range where squares are so."""
    total = 0.0
    if isinstance(kernel, np.ndarray) and in_memory(kernel) and kernel.dtype != np.float16:
        if kernel.flags.c_contiguous:
            return _runs(kernel.reshape(-1))
        if kernel.flags.f_contiguous:
            return _runs(kernel.T.reshape(-1))
    for rows in row_blocks(kernel):
        block = np.asarray(kernel[rows])
        wide = block.astype(np.result_type(block.dtype, np.float32), copy=False)
        total += _runs(np.ascontiguousarray(wide).reshape(-1))
    return total


def _runs(flat: NDArray[Any]) -> float:
    wide = np.float64 if len(flat) <= EXACT_ENTRIES else flat.dtype
    total = 0.0
    with np.errstate(all="ignore"):
        for start in range(0, len(flat), RUN):
            run = flat[start : start + RUN].astype(wide, copy=False)
            total += float(np.dot(run, run))
    return total
