"""Weights that Keras 3 holds otherwise, or computes with otherwise, than the Keras that saved them.

Sources: `preprocess_weights_for_loading` of Keras 2 for the layouts of Keras 1 and cuDNN; the
definitions of `hard_sigmoid` in Keras 2 (clip(0.2 x + 0.5)) and Keras 3 (clip(x / 6 + 0.5)). As
0.2 x = (1.2 x) / 6, scaling all that feeds the activation by 1.2 gives the old numbers, exactly up
to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.kinds.terms import activation_name, as_dict, is_built_in, units
from lrcompress.modelfile.modern.layers import KERAS_2_CLASSES

_HARD_SIGMOID = 1.2
_SCALED = "{} weights scaled by 1.2, which gives Keras 3's hard_sigmoid the old values"
_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose")
_WITH_ACTIVATION = (
    *_CONVOLUTIONS,
    "Dense",
    "Conv1DTranspose",
    "Conv3DTranspose",
    "DepthwiseConv2D",
)
# Which gates the recurrent activation acts on, of how many.
_GATES = {"GRU": ((0, 1), 3)} | dict.fromkeys(
    ("LSTM", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), ((0, 1, 3), 4)
)
Arrays = list[NDArray[Any]]
Convert = Callable[[Arrays], Arrays]


def conversions(entry: dict[str, Any], era: int, *, theano: bool) -> list[tuple[str, Convert]]:
    """Return what has to be done to the weights of a layer not yet modernized, each step in words."""
    if era >= 3 or not is_built_in(entry):
        return []
    config, class_name = as_dict(entry.get("config")), str(entry.get("class_name"))
    inner = as_dict(config.get("layer"))
    if class_name == "TimeDistributed" and inner:
        return conversions(inner, era, theano=theano)
    if class_name == "Bidirectional" and inner:
        return [
            (what, partial(_both, step)) for what, step in conversions(inner, era, theano=theano)
        ]
    class_name = KERAS_2_CLASSES.get(class_name, class_name)
    convolves, convolves_steps = class_name in _CONVOLUTIONS, class_name == "ConvLSTM2D"
    gated = class_name in _GATES and _is_hard(config, "recurrent_activation", "inner_activation")
    steps: list[tuple[bool, str, Convert]] = [
        (era == 1 and class_name in ("LSTM", "ConvLSTM2D", "GRU"),
         "one kernel for all gates", _join_gates),
        (era == 1 and convolves,
         "kernels laid out as in Keras 2", partial(_laid_out, class_name, config)),
        (theano and (convolves or convolves_steps),
         "kernels trained with Theano mirrored", partial(_mirrored, 1 + convolves_steps)),
        (class_name.startswith("CuDNN"),
         "cuDNN weights laid out for every device", partial(_from_cudnn, class_name)),
        (gated,
         _SCALED.format("gate"), partial(_scaled_gates, *_GATES.get(class_name, ((), 1)))),
        (class_name in _WITH_ACTIVATION and _is_hard(config, "activation"),
         _SCALED.format("kernel and bias"), _scaled_all),
    ]  # fmt: skip
    return [(what, step) for applies, what, step in steps if applies]


def uses_hard_sigmoid_inside(entry: dict[str, Any]) -> bool:
    """Return whether a layer applies `hard_sigmoid` where no scaling of weights makes up for it."""
    config, class_name = as_dict(entry.get("config")), str(entry.get("class_name"))
    class_name = KERAS_2_CLASSES.get(class_name, class_name)
    if not is_built_in(entry) or class_name in (*_WITH_ACTIVATION, "Activation"):
        return False
    inner = as_dict(config.get("layer"))
    if inner:
        return uses_hard_sigmoid_inside(inner)
    recurrent = class_name not in _GATES and _is_hard(config, "recurrent_activation")
    return recurrent or _is_hard(config, "activation")


def _is_hard(config: dict[str, Any], *keys: str) -> bool:
    """Return whether an activation is `hard_sigmoid`; it was the default of recurrent ones."""
    stated = [config[key] for key in keys if key in config]
    return bool(stated) and activation_name(stated[0]) == "hard_sigmoid"


def _both(step: Convert, arrays: Arrays) -> Arrays:
    half = len(arrays) // 2
    return step(arrays[:half]) + step(arrays[half:])


def _join_gates(arrays: Arrays) -> Arrays:
    """Join one kernel, recurrent kernel and bias for each gate; an LSTM had them as i, c, f, o."""
    if len(arrays) not in (9, 12):
        return arrays
    order = (0, 1, 2) if len(arrays) == 9 else (0, 2, 1, 3)
    return [np.concatenate([arrays[3 * g + k] for g in order], axis=-1) for k in range(3)]


def _laid_out(class_name: str, config: dict[str, Any], arrays: Arrays) -> Arrays:
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


def _mirrored(kernels: int, arrays: Arrays) -> Arrays:
    """Mirror all but the last two axes of the first few arrays."""
    turned = [np.flip(a, tuple(range(a.ndim - 2))) for a in arrays[:kernels]]
    return [*map(np.ascontiguousarray, turned), *arrays[kernels:]]


def _from_cudnn(class_name: str, arrays: Arrays) -> Arrays:
    """Convert cuDNN's weights: each gate's kernels transposed, two biases."""
    gates = 4 if class_name == "CuDNNLSTM" else 3
    kernel, recurrent, *bias = arrays
    parts = [k.T.reshape(k.shape, order="F") for k in np.split(kernel, gates, axis=1)]
    turned = [k.T for k in np.split(recurrent, gates, axis=1)]
    both = [b.reshape(2, -1) for b in bias]
    # An LSTM adds the two; a GRU with reset_after keeps them apart.
    kept = [b.sum(axis=0) if gates == 4 else b for b in both]
    return [np.concatenate(parts, axis=1), np.concatenate(turned, axis=1), *kept]


def _scaled_gates(chosen: tuple[int, ...], gates: int, arrays: Arrays) -> Arrays:
    """Scale what feeds some of the gates."""
    scaled = []
    for array in arrays:
        width = array.shape[-1] // gates
        columns = np.concatenate([np.arange(g * width, (g + 1) * width) for g in chosen])
        scaled.append(_scaled(array, columns))
    return scaled


def _scaled_all(arrays: Arrays) -> Arrays:
    return [_scaled(array, slice(None)) for array in arrays]


def _scaled(array: NDArray[Any], columns: Any) -> NDArray[Any]:  # noqa: ANN401 - an index
    """Return a copy with some of the last axis scaled, rounded once."""
    wide = array.astype(np.float64)
    wide[..., columns] *= _HARD_SIGMOID
    return wide.astype(array.dtype)
