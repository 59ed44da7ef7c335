"""Passing over a large matrix piece by piece, at a scale where squares are safe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 64 * 2**20


class KernelSource(Protocol):
    """What is sliced like a matrix, (m, n): an array, a memory map, an HDF5 dataset.

    Anything but a plain array is read in blocks of rows or columns and never held whole.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (m, n)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the type of the entries."""

    def __getitem__(self, key: Any, /) -> Any:  # noqa: ANN401
        """Return the entries of a slice, or of a pair of slices, as an array."""


def in_memory(kernel: KernelSource) -> bool:
    """Return whether slices of the kernel are views of memory rather than reads of a file."""
    return isinstance(kernel, np.ndarray) and not isinstance(kernel, np.memmap)


def row_blocks(matrix: KernelSource) -> list[slice]:
    """Return slices of rows that are small in float64, so that no second copy of A is needed."""
    step = max(1, BLOCK_BYTES // (8 * max(1, matrix.shape[1])))
    return [slice(start, start + step) for start in range(0, matrix.shape[0], step)]


def panels(
    kernel: KernelSource, dtype: type[np.floating[Any]], unit: int = 0
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Yield slices along the long side with their entries, long side first, over ``2^unit``.

    An array in memory that is in `dtype` already comes in one piece and uncopied.

    Args:
        kernel: A, (m, n).
        dtype: Of the entries that are yielded.
        unit: Binary exponent; see `magnitude`.
    """
    m, n = kernel.shape
    longer, shorter = max(m, n), min(m, n)
    step = max(1, BLOCK_BYTES // (np.dtype(dtype).itemsize * shorter))
    if in_memory(kernel) and kernel.dtype == dtype and not unit:
        step = longer
    for start in range(0, longer, step):
        where = slice(start, min(start + step, longer))
        block = kernel[where, :] if m >= n else kernel[:, where]
        if not in_memory(kernel):
            # A copy reads the file once; products would read it again and again.
            block = np.array(block)
        yield where, scaled(block if m >= n else block.T, dtype, unit)


def scaled(block: NDArray[Any], dtype: type[np.floating[Any]], unit: int) -> NDArray[Any]:
    """Return ``2^-unit`` times a block in `dtype`; a power of two rounds nothing."""
    if not unit:
        return np.asarray(block, dtype)
    wide = block.astype(np.result_type(block.dtype, dtype), copy=False)
    return np.asarray(np.ldexp(wide, -unit).astype(dtype, copy=False))


def magnitude(matrix: KernelSource) -> int | None:
    """Return e with ``2^(e-1) <= max |a_ij| < 2^e``, or None for a matrix of zeros.

    Squares of entries near 1e160 overflow and near 1e-170 vanish in float64 (1e20 and 1e-25 in
    float32). Scaling by a power of two avoids both and rounds nothing.
    """
    largest = 0.0
    for rows in row_blocks(matrix):
        block = np.asarray(matrix[rows])
        largest = max(largest, float(block.max()), -float(block.min()))
    return int(np.frexp(largest)[1]) if largest > 0 else None


def norm_squared(matrix: KernelSource, unit: int = 0) -> float:
    """Return ``||2^-unit A||_F^2``, summed in float64."""
    return sum(
        float(np.square(scaled(np.asarray(matrix[rows]), np.float64, unit)).sum())
        for rows in row_blocks(matrix)
    )
