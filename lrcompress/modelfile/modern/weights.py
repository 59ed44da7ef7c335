"""Weights that Keras 3 holds otherwise, or computes with otherwise, than the Keras that saved them.

Sources: `preprocess_weights_for_loading` of Keras 2 for the layouts of Keras 1 and cuDNN; the
definitions of `hard_sigmoid` in Keras 2 (clip(0.2 x + 0.5)) and Keras 3 (clip(x / 6 + 0.5)). As
0.2 x = (1.2 x) / 6, scaling all that feeds the activation by 1.2 gives the old numbers, exactly up
to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.kinds.endings import activation_name
from lrcompress.kinds.terms import as_dict, is_built_in, units
from lrcompress.modelfile.modern.keras1 import CLASSES

HARD_SIGMOID = 1.2
Arrays = list[NDArray[Any]]
Convert = Callable[[Arrays], Arrays]

_CONVOLUTIONS = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose")
_WITH_ACTIVATION = (
    *_CONVOLUTIONS,
    "Dense",
    "Conv1DTranspose",
    "Conv3DTranspose",
    "DepthwiseConv2D",
)
# Which gates the recurrent activation acts on, of how many.
_GATES = {"LSTM": ((0, 1, 3), 4), "ConvLSTM2D": ((0, 1, 3), 4), "GRU": ((0, 1), 3)}
_GATES |= {"ConvLSTM1D": _GATES["LSTM"], "ConvLSTM3D": _GATES["LSTM"]}


@dataclass(frozen=True)
class Origin:
    """What wrote a file.

    Attributes:
        era: Major version of Keras: 1, 2 or 3.
        theano: Whether its backend was Theano, which mirrors the kernels of convolutions.
    """

    era: int
    theano: bool


def conversions(entry: dict[str, Any], origin: Origin) -> list[tuple[str, Convert]]:
    """Return what has to be done to a layer's weights, each step with a sentence that names it.

    Args:
        entry: The layer as it was serialized, before it is modernized.
        origin: What wrote the file.
    """
    if origin.era >= 3 or not is_built_in(entry):
        return []
    config, class_name = as_dict(entry.get("config")), str(entry.get("class_name"))
    inner = as_dict(config.get("layer"))
    if class_name == "TimeDistributed" and inner:
        return conversions(inner, origin)
    if class_name == "Bidirectional" and inner:
        return [(what, _both(step)) for what, step in conversions(inner, origin)]
    class_name = CLASSES.get(class_name, class_name)
    found: list[tuple[str, Convert]] = []
    if origin.era == 1 and class_name in ("LSTM", "ConvLSTM2D", "GRU"):
        found.append(("one kernel for all gates", _join_gates))
    if origin.era == 1 and class_name in _CONVOLUTIONS:
        found.append(("kernels laid out as in Keras 2", _laid_out(class_name, config)))
    if origin.theano and class_name in (*_CONVOLUTIONS, "ConvLSTM2D"):
        kernels = 2 if class_name == "ConvLSTM2D" else 1
        found.append(("kernels trained with Theano mirrored", _mirrored(kernels)))
    if class_name.startswith("CuDNN"):
        found.append(("cuDNN weights laid out for every device", _from_cudnn(class_name)))
    elif class_name in _GATES and _is_hard(config, "recurrent_activation", "inner_activation"):
        found.append((_SCALED.format("gate"), _scaled_gates(*_GATES[class_name])))
    elif class_name in _WITH_ACTIVATION and _is_hard(config, "activation"):
        found.append((_SCALED.format("kernel and bias"), _scaled_all))
    return found


_SCALED = "{} weights scaled by 1.2, which gives Keras 3's hard_sigmoid the old values"


def _is_hard(config: dict[str, Any], *keys: str) -> bool:
    """Return whether an activation is `hard_sigmoid`; it was the default of recurrent ones."""
    stated = [config[key] for key in keys if key in config]
    return bool(stated) and activation_name(stated[0]) == "hard_sigmoid"


def uses_hard_sigmoid_inside(entry: dict[str, Any]) -> bool:
    """Return whether a layer applies `hard_sigmoid` where no scaling of weights makes up for it."""
    config, class_name = as_dict(entry.get("config")), str(entry.get("class_name"))
    class_name = CLASSES.get(class_name, class_name)
    if not is_built_in(entry) or class_name in (*_WITH_ACTIVATION, "Activation"):
        return False
    inner = as_dict(config.get("layer"))
    if inner:
        return uses_hard_sigmoid_inside(inner)
    recurrent = class_name not in _GATES and _is_hard(config, "recurrent_activation")
    return recurrent or _is_hard(config, "activation")


def _both(step: Convert) -> Convert:
    """Return a conversion of the forward half and the backward half of a Bidirectional."""

    def convert(arrays: Arrays) -> Arrays:
        half = len(arrays) // 2
        return step(arrays[:half]) + step(arrays[half:])

    return convert


def _join_gates(arrays: Arrays) -> Arrays:
    """Join one kernel, recurrent kernel and bias for each gate; an LSTM had them as i, c, f, o."""
    if len(arrays) not in (9, 12):
        return arrays
    order = (0, 1, 2) if len(arrays) == 9 else (0, 2, 1, 3)
    return [np.concatenate([arrays[3 * g + k] for g in order], axis=-1) for k in range(3)]


def _laid_out(class_name: str, config: dict[str, Any]) -> Convert:
    """Return a conversion of Keras 1's kernels, (filters, channels, rows, columns) under Theano."""
    filters = units(config)

    def convert(arrays: Arrays) -> Arrays:
        kernel, *rest = arrays
        if kernel.ndim == 4 and class_name == "Conv1D":
            first = kernel.shape[0] == filters and kernel.shape[3] == 1
            kernel = kernel.transpose(2, 3, 1, 0) if first else kernel
            return [np.ascontiguousarray(kernel[:, 0]), *rest]
        if config.get("dim_ordering") == "th" and kernel.shape[0] == filters:
            spatial = tuple(range(2, kernel.ndim))
            ends = (0, 1) if class_name == "Conv2DTranspose" else (1, 0)
            return [np.ascontiguousarray(kernel.transpose(*spatial, *ends)), *rest]
        if class_name == "Conv2DTranspose":
            return [np.ascontiguousarray(kernel.transpose(0, 1, 3, 2)), *rest]
        return arrays

    return convert


def _mirrored(kernels: int) -> Convert:
    """Return a conversion that mirrors all but the last two axes of the first few arrays."""

    def convert(arrays: Arrays) -> Arrays:
        turned = [
            np.ascontiguousarray(np.flip(a, tuple(range(a.ndim - 2)))) for a in arrays[:kernels]
        ]
        return turned + arrays[kernels:]

    return convert


def _from_cudnn(class_name: str) -> Convert:
    """Return a conversion of cuDNN's weights: each gate's kernels transposed, two biases."""
    gates = 4 if class_name == "CuDNNLSTM" else 3

    def convert(arrays: Arrays) -> Arrays:
        kernel, recurrent, *bias = arrays
        parts = [k.T.reshape(k.shape, order="F") for k in np.split(kernel, gates, axis=1)]
        turned = [k.T for k in np.split(recurrent, gates, axis=1)]
        both = [b.reshape(2, -1) for b in bias]
        # An LSTM adds the two; a GRU with reset_after keeps them apart.
        kept = [b.sum(axis=0) if gates == 4 else b for b in both]
        return [np.concatenate(parts, axis=1), np.concatenate(turned, axis=1), *kept]

    return convert


def _scaled(array: NDArray[Any], columns: Any) -> NDArray[Any]:  # noqa: ANN401 - an index
    """Return a copy with some of the last axis scaled, rounded once."""
    wide = array.astype(np.float64)
    wide[..., columns] *= HARD_SIGMOID
    return wide.astype(array.dtype)


def _scaled_gates(chosen: tuple[int, ...], gates: int) -> Convert:
    """Return a conversion that scales what feeds some of the gates."""

    def convert(arrays: Arrays) -> Arrays:
        scaled = []
        for array in arrays:
            width = array.shape[-1] // gates
            columns = np.concatenate([np.arange(g * width, (g + 1) * width) for g in chosen])
            scaled.append(_scaled(array, columns))
        return scaled

    return convert


def _scaled_all(arrays: Arrays) -> Arrays:
    """Scale a kernel and its bias."""
    return [_scaled(array, slice(None)) for array in arrays]
