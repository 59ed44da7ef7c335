"""A large matrix, passed over piece by piece at a scale where squares are safe, by all cores.

The work is shared out in parts that do not depend on the number of cores. BLAS sums in another order
with another number of threads. It gets one, so that the same work gives the same bytes, and what takes
long is done in parts, each in a thread of its own. BLAS' own threads would wait for each other longer
than they work at thin products (thousands of rows, a few dozen columns), and much longer where other
programs want the cores.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController, threadpool_limits

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


# A share of so many blocks is worth a thread of its own; there are at most so many shares.
LEAST_BLOCKS = 2
MOST_SHARES = 16
# What the BLAS that SciPy brings begins with, where it is loaded later.
_THREADS = "OPENBLAS_NUM_THREADS"

Item = TypeVar("Item")
Found = TypeVar("Found")


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to the calling thread while the context lasts, also one that is loaded meanwhile."""
    wanted = os.environ.get(_THREADS)
    known = {library.filepath for library in _blas()}
    os.environ[_THREADS] = "1"
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            yield
    finally:
        del os.environ[_THREADS]
        if wanted is not None:
            os.environ[_THREADS] = wanted
        for library in _blas():
            if library.filepath not in known:
                library.set_num_threads(
                    int(wanted) if wanted and wanted.isdecimal() else core_count()
                )


def _blas() -> list[Any]:
    found: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return found


def each(work: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """Return what `work` makes of each item, in order; side by side where there are cores."""
    todo = list(items)
    threads = min(core_count(), len(todo))
    if threads < 2:
        return [work(item) for item in todo]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, todo))


def over_shares(rows: int, work: Callable[[range], Found], block: int) -> list[Found]:
    """Return what `work` makes of the starts of blocks of so many rows, share by share, in order."""
    shares = max(1, min(MOST_SHARES, rows // (LEAST_BLOCKS * block)))
    # Whole blocks each; neighbours, so that each reads its own part of the memory.
    length = max(1, -(-rows // (shares * block))) * block
    firsts = range(0, max(rows, 1), length)
    return each(work, [range(first, min(first + length, rows), block) for first in firsts])


def core_count() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows do not tell
        return os.cpu_count() or 1
