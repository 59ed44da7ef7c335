"""How many multiplications by kernels a layer takes for one sample: nearly all there are.

Those of biases, normalizations and activations grow with the activations only and are not counted;
those between activations are where they grow with the square of a length (attention).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lrcompress.kinds.protocol import Serialized
from lrcompress.kinds.shapes.windows import Shape, is_first
from lrcompress.kinds.terms import as_dict, as_list

# From a layer, the shapes of its inputs and that of its output.
_Count = Callable[[Serialized, Sequence[Shape], Shape], "int | None"]


def multiplications(
    layer: Serialized, inputs: Sequence[Shape], output: Shape, *, open_length: int | None = None
) -> int | None:
    """Return the multiplications of one use of a layer for one sample; None where they are not known.

    `open_length` stands for the length of a sequence that is open. Without it, and for open lengths of
    images, nothing is known: strides make less of them, and nothing tells how much.
    """
    rule = _RULES.get(layer.class_name)
    if rule is None:
        return 0 if all(len(array.shape) < 2 for array in layer.arrays) else None
    if layer.class_name in ("TimeDistributed", "SpectralNormalization"):
        inner = _inner(layer, layer.arrays)
        return multiplications(inner, inputs, output, open_length=open_length)
    if layer.class_name == "Bidirectional":
        half = len(layer.arrays) // 2
        halves = (_inner(layer, own) for own in (layer.arrays[:half], layer.arrays[half:]))
        both = [multiplications(h, inputs, output, open_length=open_length) for h in halves]
        return None if None in both else sum(each or 0 for each in both)
    if rule not in (_window, _transposed, _recurrent_window):
        *inputs, output = (
            tuple(open_length if n is None else n for n in shape) for shape in (*inputs, output)
        )
    try:
        return rule(layer, inputs, output)
    except (IndexError, KeyError, TypeError, ValueError):
        return None  # shapes that do not fit the class


def _times(axes: Sequence[int | None], size: int) -> int | None:
    """Return a number for each position of some axes, None where one is open."""
    return None if None in axes else math.prod(n or 0 for n in axes) * size


def _size(*arrays: Any) -> int:
    return sum(int(math.prod(array.shape)) for array in arrays)


def _free(layer: Serialized, inputs: Sequence[Shape], output: Shape) -> int:
    return 0


def _dense(layer: Serialized, inputs: Sequence[Shape], output: Shape) -> int | None:
    return _times(output[:-1], _size(layer.arrays[0]))


def _einsum(layer: Serialized, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Return the kernel's size at each position of the input's axes that it has not."""
    left = str(layer.config["equation"]).replace(" ", "").partition("->")[0]
    source, _, kernel = left.partition(",")
    named = source.removeprefix("...")
    axes = dict(zip(reversed(named), reversed(inputs[0]), strict=False))
    # Of the letters the first is the batch, unless dots stand for it.
    own = named if source.startswith("...") else named[1:]
    free = [axes[letter] for letter in own if letter not in kernel]
    if source.startswith("..."):
        free += inputs[0][: len(inputs[0]) - len(named)]
    return _times(free, _size(layer.arrays[0]))


def _grid(config: dict[str, Any], shape: Shape, axes: int) -> Shape:
    """Return the axes of a shape but that of the channels; those of a wrapper's steps stand before."""
    place = len(shape) - 1 - (axes if is_first(config) else 0)
    return (*shape[:place], *shape[place + 1 :])


def _window(layer: Serialized, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Count a kernel at each position of the output, of a separable convolution both."""
    kernels = [array for array in layer.arrays if len(array.shape) > 1]
    return _times(_grid(layer.config, output, len(kernels[0].shape) - 2), _size(*kernels))


def _transposed(layer: Serialized, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Count a kernel at each position of the input."""
    kernel = layer.arrays[0]
    return _times(_grid(layer.config, inputs[0], len(kernel.shape) - 2), _size(kernel))


def _recurrent(layer: Serialized, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Count the kernels of all cells at each step."""
    return _times(inputs[0][:-1], _size(*_kernels(layer)))


def _kernels(layer: Serialized) -> list[Any]:
    """Return the kernels of a recurrent layer: of each cell two, with perhaps a bias behind them."""
    arrays, cell = list(layer.arrays), as_dict(as_dict(layer.config.get("cell")).get("config"))
    cells = [as_dict(as_dict(one).get("config")) for one in as_list(cell.get("cells"))]
    found = []
    for one in cells or [cell or layer.config]:
        found += arrays[:2]
        arrays = arrays[2 + bool(one.get("use_bias", True)) :]
    # Keras 1 kept each gate's three arrays by themselves.
    return found + [array for array in arrays if len(array.shape) > 1]


def _recurrent_window(layer: Serialized, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Count both kernels of a convolutional recurrent layer at each step and position of its state."""
    first, second = layer.arrays[:2]
    axes = len(first.shape) - 2
    state = output[1:] if layer.config.get("return_sequences") else output
    return _times((inputs[0][0], *_grid(layer.config, state, axes)), _size(first, second))


def _attended(layer: Serialized, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Count the four projections, and what queries and keys, then weights and values make."""
    query = inputs[0]
    value = inputs[1] if len(inputs) > 1 else query
    key = inputs[2] if len(inputs) > 2 else value
    kernels = [array for array in layer.arrays if len(array.shape) == 3]
    places = (query[:-1], key[:-1], value[:-1], query[:-1])
    found = [_times(place, _size(kernel)) for place, kernel in zip(places, kernels, strict=True)]
    heads, width = kernels[0].shape[1:]
    across = _times((*query[:-1], *value[:-1]), heads * (width + kernels[3].shape[1]))
    return None if None in (*found, across) else sum(n or 0 for n in (*found, across))


def _looked_up(layer: Serialized, inputs: Sequence[Shape], output: Shape) -> int | None:
    """Count what an attention without kernels makes of queries, keys and values."""
    query, value = inputs[0], inputs[1]
    return _times((query[0], value[0]), (query[-1] or 0) + (value[-1] or 0))


_RULES: dict[str, _Count] = {
    "Dense": _dense, "TimeDistributedDense": _dense, "EinsumDense": _einsum, "Embedding": _free,
    "LSTM": _recurrent, "GRU": _recurrent, "SimpleRNN": _recurrent, "RNN": _recurrent,
    "CuDNNLSTM": _recurrent, "CuDNNGRU": _recurrent, "MultiHeadAttention": _attended,
    "GroupQueryAttention": _attended, "GroupedQueryAttention": _attended,
    "Attention": _looked_up, "AdditiveAttention": _looked_up,
    # Of what they wrap.
    "Bidirectional": _free, "TimeDistributed": _free, "SpectralNormalization": _free,
}  # fmt: skip
for _n in (1, 2, 3):
    for _name in ("Conv", "Convolution", "AtrousConvolution", "SeparableConv",
                  "SeparableConvolution", "DepthwiseConv"):  # fmt: skip
        _RULES[f"{_name}{_n}D"] = _window
    for _name in ("Conv", "Convolution"):
        _RULES[f"{_name}{_n}DTranspose"] = _transposed
    # It has its own weights at each position.
    _RULES[f"LocallyConnected{_n}D"] = lambda layer, inputs, output: _size(layer.arrays[0])
    _RULES[f"ConvLSTM{_n}D"] = _recurrent_window
COUNTED = frozenset(_RULES)


def _inner(layer: Serialized, arrays: tuple[Any, ...]) -> Serialized:
    """Return a wrapped layer, with all arrays of the wrapper or some of them."""
    entry = as_dict(layer.config.get("layer"))
    return Serialized(str(entry.get("class_name")), as_dict(entry.get("config")), arrays)
