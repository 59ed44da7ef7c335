"""The weights of Keras 1, Theano and cuDNN, laid out as Keras 3 does.

Source: `preprocess_weights_for_loading` of Keras 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.kinds.terms import units

Arrays = list[NDArray[Any]]


def join_gates(arrays: Arrays) -> Arrays:
    """Join one kernel, recurrent kernel and bias for each gate; an LSTM had them as i, c, f, o."""
    if len(arrays) not in (9, 12):
        return arrays
    order = (0, 1, 2) if len(arrays) == 9 else (0, 2, 1, 3)
    return [np.concatenate([arrays[3 * g + k] for g in order], axis=-1) for k in range(3)]


def laid_out(class_name: str, config: dict[str, Any], arrays: Arrays) -> Arrays:
    """Lay out a kernel of Keras 1, which is (filters, channels, rows, columns) under Theano."""
    kernel, *rest = arrays
    filters = units(config)
    if kernel.ndim == 4 and class_name == "Conv1D":
        first = kernel.shape[0] == filters and kernel.shape[3] == 1
        kernel = kernel.transpose(2, 3, 1, 0) if first else kernel
        return [np.ascontiguousarray(kernel[:, 0]), *rest]
    transposed = class_name == "Conv2DTranspose"
    if config.get("dim_ordering") == "th" and kernel.shape[0] == filters:
        axes = (*range(2, kernel.ndim), *((0, 1) if transposed else (1, 0)))
        return [np.ascontiguousarray(kernel.transpose(axes)), *rest]
    if transposed:
        return [np.ascontiguousarray(kernel.transpose(0, 1, 3, 2)), *rest]
    return arrays


def mirrored(kernels: int, arrays: Arrays) -> Arrays:
    """Mirror all but the last two axes of the first few arrays."""
    turned = [np.flip(a, tuple(range(a.ndim - 2))) for a in arrays[:kernels]]
    return [*map(np.ascontiguousarray, turned), *arrays[kernels:]]


def from_cudnn(class_name: str, arrays: Arrays) -> Arrays:
    """Convert cuDNN's weights: each gate's kernels transposed, two biases."""
    gates = 4 if class_name == "CuDNNLSTM" else 3
    kernel, recurrent, *bias = arrays
    parts = [k.T.reshape(k.shape, order="F") for k in np.split(kernel, gates, axis=1)]
    turned = [k.T for k in np.split(recurrent, gates, axis=1)]
    both = [b.reshape(2, -1) for b in bias]
    # An LSTM adds the two; a GRU with reset_after keeps them apart.
    kept = [b.sum(axis=0) if gates == 4 else b for b in both]
    return [np.concatenate(parts, axis=1), np.concatenate(turned, axis=1), *kept]
