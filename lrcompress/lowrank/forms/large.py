"""Factors of kernels so large that no copy of them is made: they are passed over in panels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.lowrank.forms.separable import slot_gram
from lrcompress.lowrank.gram import gram_matrix
from lrcompress.lowrank.matrix import panels
from lrcompress.lowrank.svd import truncated_svd

Array = NDArray[Any]


def large_tucker(kernel: Array, slots: int, inputs: int, size: int) -> tuple[Array, Array, Array]:
    """Return B (inner, inputs), the core (slots, inputs, size) and C (size, n) near A (slots * inner, n).

    The responses are those of the truncated SVD, their inputs those of the SVD of what that keeps,
    and C is fitted again.
    """
    from scipy.linalg import eigh

    found = truncated_svd(kernel, size)
    # B C is A V V^T with the rows of V^T in proportion to those of C: this is A V.
    kept = found.B
    kept *= np.sqrt(np.square(found.C, dtype=np.float64).sum(axis=1)).astype(kept.dtype)
    kept = kept.reshape(slots, -1, size)
    del found
    _, basis = eigh(slot_gram(kept))
    first = np.ascontiguousarray(basis[:, ::-1][:, :inputs], kept.dtype)
    core = first.T @ kept
    del kept
    made = (first @ core).reshape(-1, size)
    gram, _ = gram_matrix(made, np.float64, 0)
    last = np.linalg.lstsq(gram, _product(made, kernel), rcond=1e-12)[0]
    return first, core, last.astype(kernel.dtype)


def _product(left: Array, kernel: Array) -> Array:
    """Return L^T A."""
    (m, n), found = kernel.shape, np.zeros((left.shape[1], kernel.shape[1]))
    for where, panel in panels(kernel, np.float64):
        if m >= n:
            found += left[where].T @ panel
        else:
            found[:, where] = left.T @ panel.T
    return found
