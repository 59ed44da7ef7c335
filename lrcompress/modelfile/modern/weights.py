"""Weights that Keras 3 holds otherwise, or computes with otherwise, than the Keras that saved them.

Source: the definitions of `hard_sigmoid` in Keras 2 (clip(0.2 x + 0.5)) and Keras 3 (clip(x / 6 + 0.5)). As
0.2 x = (1.2 x) / 6, scaling all that feeds the activation by 1.2 gives the old numbers, exactly up
to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.kinds.terms import activation_name, as_dict, is_built_in
from lrcompress.modelfile.modern.layers import KERAS_2_CLASSES
from lrcompress.modelfile.modern.layouts import Arrays, from_cudnn, join_gates, laid_out, mirrored

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
         "one kernel for all gates", join_gates),
        (era == 1 and convolves,
         "kernels laid out as in Keras 2", partial(laid_out, class_name, config)),
        (theano and (convolves or convolves_steps),
         "kernels trained with Theano mirrored", partial(mirrored, 1 + convolves_steps)),
        (class_name.startswith("CuDNN"),
         "cuDNN weights laid out for every device", partial(from_cudnn, class_name)),
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
