"""A large matrix, passed over piece by piece at a scale where squares are safe."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import KernelError

Array = NDArray[Any]
Floats = NDArray[np.float64]
Dtype = type[np.floating[Any]]

BLOCK_BYTES = 64 * 2**20
# Entries whose squares are summed in the kernel's own precision before float64 takes over: the
# sum of all then has seven digits in float32.
RUN = 2**13
# Up to here float64 throughout costs nothing worth saving.
EXACT_ENTRIES = 2**20
# Mean squares between which neither squares nor sums of them leave the range of the type.
SAFE = {"float32": (1e-24, 1e18), "float64": (1e-240, 1e240)}


class KernelSource(Protocol):
    """What is sliced like a matrix, (m, n); all but a plain array is read in blocks and never held whole."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (m, n)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of the entries."""

    def __getitem__(self, key: Any, /) -> Any: ...  # noqa: ANN401  # of slices, as an array


# Squares of entries near 1e160 overflow and near 1e-170 vanish in float64 (1e20 and 1e-25 in float32). Scaling by
# a power of two avoids both and rounds nothing.
class Scale(NamedTuple):
    """How large a matrix is: ``||2^-unit A||_F^2``, and the even unit, 0 nearly always."""

    total: float
    unit: int


def check_shape(kernel: KernelSource) -> None:
    """Refuse what is not a real (m, n) matrix."""
    if len(kernel.shape) != 2 or 0 in kernel.shape or kernel.dtype.kind != "f":
        msg = f"expected a kernel of shape (m, n) of floats. Received: shape {kernel.shape}, {kernel.dtype}."
        raise KernelError(msg, code="not_a_matrix")


def check_kernel(kernel: KernelSource) -> None:
    """Refuse what is not a real (m, n) matrix of finite numbers."""
    check_shape(kernel)
    bad = sum(int((~np.isfinite(block)).sum()) for block in _blocks(kernel))
    if bad:
        m, n = kernel.shape
        msg = (
            f"the kernel holds NaN or infinity in {bad:,} of {m * n:,} entries; expected finite "
            "numbers: the model was saved after its training diverged, take an earlier checkpoint."
        )
        raise KernelError(msg, code="not_finite")


def measure(kernel: KernelSource) -> Scale:
    """Return the scale of a kernel from one pass; entries that are not finite are refused."""
    check_shape(kernel)
    m, n = kernel.shape
    total = _sum_of_squares(kernel)
    low, high = SAFE["float64" if kernel.dtype == np.float64 else "float32"]
    if low <= total / (m * n) <= high:
        return Scale(total, 0)
    # Not finite, zero, or squares out of range: which of them, the slow way.
    check_kernel(kernel)
    exponent = magnitude(kernel)
    if exponent is None:
        return Scale(0.0, 0)
    unit = exponent + exponent % 2
    squares = (np.square(scaled(block, np.float64, unit)) for block in _blocks(kernel))
    return Scale(sum(float(square.sum()) for square in squares), unit)


def magnitude(matrix: KernelSource) -> int | None:
    """Return e with ``2^(e-1) <= max |a_ij| < 2^e``, or None for a matrix of zeros."""
    largest = 0.0
    for block in _blocks(matrix):
        largest = max(largest, float(block.max()), -float(block.min()))
    return int(np.frexp(largest)[1]) if largest > 0 else None


def panels(kernel: KernelSource, dtype: Dtype, unit: int = 0) -> Iterator[tuple[slice, Array]]:
    """Yield slices along the long side with their entries, long side first, over ``2^unit``."""
    m, n = kernel.shape
    longer, shorter = max(m, n), min(m, n)
    step = max(1, BLOCK_BYTES // (np.dtype(dtype).itemsize * shorter))
    if _in_memory(kernel) and kernel.dtype == dtype and not unit:
        step = longer  # in one piece and uncopied
    for start in range(0, longer, step):
        where = slice(start, min(start + step, longer))
        block = kernel[where, :] if m >= n else kernel[:, where]
        if not _in_memory(kernel):
            # A copy reads the file once; products would read it again and again.
            block = np.array(block)
            let_go(kernel)
        yield where, scaled(block if m >= n else block.T, dtype, unit)


def scaled(block: Array, dtype: Dtype, unit: int) -> Array:
    """Return ``2^-unit`` times a block in `dtype`."""
    if not unit:
        return np.asarray(block, dtype)
    wide = block.astype(np.result_type(block.dtype, dtype), copy=False)
    return np.asarray(np.ldexp(wide, -unit).astype(dtype, copy=False))


def let_go(matrix: KernelSource) -> None:
    """Give back the memory that what was read of a mapped file takes; it can be read again."""
    mapped = getattr(matrix, "_mmap", None)
    if isinstance(matrix, np.memmap) and mapped is not None and not matrix.flags.writeable:
        advice = getattr(mmap, "MADV_DONTNEED", None)  # not on Windows
        if advice is not None:
            mapped.madvise(advice)


def _in_memory(kernel: KernelSource) -> bool:
    return isinstance(kernel, np.ndarray) and not isinstance(kernel, np.memmap)


def _blocks(matrix: KernelSource) -> Iterator[Array]:
    """Yield rows that are small in float64, so that no second copy of A is needed."""
    step = max(1, BLOCK_BYTES // (8 * max(1, matrix.shape[1])))
    for start in range(0, matrix.shape[0], step):
        yield np.asarray(matrix[start : start + step])
        let_go(matrix)


def _sum_of_squares(kernel: KernelSource) -> float:
    """Return ``||A||_F^2``, or something not finite or out of range where squares are so."""
    if isinstance(kernel, np.ndarray) and _in_memory(kernel) and kernel.dtype != np.float16:
        if kernel.flags.c_contiguous:
            return _runs(kernel.reshape(-1))
        if kernel.flags.f_contiguous:
            return _runs(kernel.T.reshape(-1))
    total = 0.0
    for block in _blocks(kernel):
        wide = block.astype(np.result_type(block.dtype, np.float32), copy=False)
        total += _runs(np.ascontiguousarray(wide).reshape(-1))
    return total


def _runs(flat: Array) -> float:
    wide = np.float64 if len(flat) <= EXACT_ENTRIES else flat.dtype
    total = 0.0
    with np.errstate(all="ignore"):
        for start in range(0, len(flat), RUN):
            run = flat[start : start + RUN].astype(wide, copy=False)
            total += float(np.dot(run, run))
    return total
