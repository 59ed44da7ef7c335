"""What shape a layer's output has, from its config and the shapes of its inputs, in all Keras versions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lrcompress.kinds import terms
from lrcompress.kinds.shapes import windows
from lrcompress.kinds.shapes.windows import Rule, Shape, channels_of, with_channels
from lrcompress.kinds.terms import as_dict, as_list

# No real axis is longer.
_LONGEST = 2**40


def output_shape(entry: dict[str, Any], inputs: Sequence[Shape | None]) -> Shape | None:
    """Return the shape of the first output of a serialized layer, None where no rule tells."""
    class_name, config = entry.get("class_name"), as_dict(entry.get("config"))
    rule = _RULES.get(class_name) if isinstance(class_name, str) else None
    if rule is None or not terms.is_built_in(entry):
        return None
    of_first = class_name not in _OF_ALL
    known = [shape for shape in inputs if shape is not None]
    if not known or (inputs[0] is None if of_first else len(known) < len(inputs)):
        return None
    try:
        found = rule(config, known)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None  # a config of a stranger's file, or inputs that do not fit it
    if found is None:
        return None
    return tuple(n if isinstance(n, int) and 0 < n < _LONGEST else None for n in found)


def states_shape(entry: dict[str, Any]) -> Shape | None:
    """Return the shape of the second and further outputs, the states, of a recurrent layer."""
    if entry.get("class_name") not in _RECURRENT or not terms.is_built_in(entry):
        return None
    width = _width(as_dict(entry.get("config")))
    return None if width is None else (width,)


def _same(_config: dict[str, Any], inputs: list[Shape]) -> Shape:
    return inputs[0]


def _einsum(config: dict[str, Any], inputs: list[Shape]) -> Shape | None:
    """Return the shape that an equation and the stated axes of the output give."""
    left, _, right = str(config["equation"]).replace(" ", "").partition("->")
    source, _, _ = left.partition(",")
    value = config.get("output_shape")
    stated = as_list(value) if isinstance(value, (list, dict)) else [value]
    if "..." in left:
        if not (source.startswith("...") and right.startswith("...")):
            return None
        # The dots are the batch and any axes behind it.
        return (*inputs[0][: len(inputs[0]) - len(source[3:])], *stated[-len(right[3:]) :])
    lengths = dict(zip(source[1:], inputs[0], strict=True))
    letters = right[1:]
    stated = [None] * (len(letters) - len(stated)) + stated
    return tuple(lengths.get(a) if n is None else n for a, n in zip(letters, stated, strict=True))


def _total(shape: Sequence[int | None]) -> int | None:
    return None if None in shape else math.prod(n or 1 for n in shape)


def _reshaped(config: dict[str, Any], inputs: list[Shape]) -> Shape:
    target = as_list(config.get("target_shape", config.get("dims")))
    rest, total = math.prod(n for n in target if n not in (-1, None)), _total(inputs[0])
    return tuple((total and total // rest) if n in (-1, None) else n for n in target)


def _elementwise(_config: dict[str, Any], inputs: list[Shape]) -> Shape:
    """Return the shape that several broadcast to."""
    longest = max(map(len, inputs))
    axes = zip(*((1,) * (longest - len(shape)) + shape for shape in inputs), strict=True)
    return tuple(_broadcast(column) for column in axes)


def _broadcast(lengths: Sequence[int | None]) -> int | None:
    wide = {n for n in lengths if n != 1}
    return next((n for n in wide if n is not None), None) if wide else 1


def _concatenated(config: dict[str, Any], inputs: list[Shape]) -> Shape:
    axis = int(config.get("axis", config.get("concat_axis", -1)))
    place = axis - 1 if axis > 0 else len(inputs[0]) + axis
    lengths = [shape[place] for shape in inputs]
    total = None if None in lengths else sum(n or 0 for n in lengths)
    others = [_broadcast(column) for column in zip(*inputs, strict=True)]
    return (*others[:place], total, *others[place + 1 :])


def _merged(config: dict[str, Any], inputs: list[Shape]) -> Shape | None:
    """Return what Merge of Keras 1 gives."""
    mode = config.get("mode", "sum")
    if mode == "concat":
        return _concatenated(config, inputs)
    return _elementwise(config, inputs) if mode in ("sum", "mul", "ave", "max") else None


def _dotted(config: dict[str, Any], inputs: list[Shape]) -> Shape:
    axes = config["axes"]
    each = as_list(axes) if isinstance(axes, (list, dict)) else [axes, axes]
    rest: list[int | None] = []
    for shape, axis in zip(inputs, each, strict=True):
        place = axis - 1 if axis > 0 else len(shape) + axis
        rest += [*shape[:place], *shape[place + 1 :]]
    return tuple(rest) or (1,)


def _embedded(config: dict[str, Any], inputs: list[Shape]) -> Shape:
    lengths = inputs[0]
    if lengths == (None,) and isinstance(config.get("input_length"), int):
        lengths = (config["input_length"],)
    return (*lengths, terms.units(config))


def _width(config: dict[str, Any]) -> int | None:
    """Return the units of a recurrent layer, those of its last cell where it has cells."""
    while isinstance(config.get("cell"), dict):
        config = as_dict(config["cell"].get("config"))
        cells = as_list(config.get("cells"))
        if cells:
            config = as_dict(as_dict(cells[-1]).get("config"))
    return terms.units(config)


def _recurrent(config: dict[str, Any], inputs: list[Shape]) -> Shape:
    width = _width(config)
    return (inputs[0][0], width) if config.get("return_sequences") else (width,)


def _both_ways(config: dict[str, Any], inputs: list[Shape]) -> Shape | None:
    found = output_shape(as_dict(config.get("layer")), inputs)
    if found is None or config.get("merge_mode", "concat") != "concat":
        return found
    return (*found[:-1], None if found[-1] is None else 2 * found[-1])


def _each_step(config: dict[str, Any], inputs: list[Shape]) -> Shape | None:
    found = output_shape(as_dict(config.get("layer")), [shape[1:] for shape in inputs])
    return None if found is None else (inputs[0][0], *found)


def _heads(config: dict[str, Any], inputs: list[Shape]) -> Shape:
    value = config.get("output_shape")
    if value is None:
        return inputs[0]
    last = as_list(value) if isinstance(value, (list, dict)) else [value]
    return (*inputs[0][:-1], *last)


def _scaled(config: dict[str, Any], inputs: list[Shape]) -> Shape:
    size = (config["height"], config["width"])
    return with_channels(config, size, channels_of(config, inputs[0]))


_RECURRENT = frozenset({"LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU"})
_ELEMENTWISE = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
# These need the shapes of all their inputs, others that of the first.
_OF_ALL = frozenset({*_ELEMENTWISE, "Concatenate", "Merge", "Dot"})
_KEEPING = terms.DROPOUTS | terms.NORMALIZATIONS | {
    "Activation", "ActivityRegularization", "ELU", "GroupNormalization", "Identity",
    "LayerNormalization", "LeakyReLU", "Masking", "Normalization", "PReLU", "RMSNormalization", "ReLU",
    "Rescaling", "Softmax", "SpatialDropout2D", "SpatialDropout3D", "ThresholdedReLU",
    "UnitNormalization", "RandomBrightness", "RandomContrast", "RandomFlip", "RandomRotation",
    "RandomTranslation", "RandomZoom",
}  # fmt: skip
_RULES: dict[str, Rule] = windows.RULES | {
    "Dense": lambda config, inputs: (*inputs[0][:-1], terms.units(config)),
    "Flatten": lambda config, inputs: (_total(inputs[0]),),
    "Permute": lambda config, inputs: tuple(inputs[0][n - 1] for n in as_list(config["dims"])),
    "RepeatVector": lambda config, inputs: (config["n"], *inputs[0]),
    "SpectralNormalization": lambda config, inputs: output_shape(as_dict(config.get("layer")), inputs),
    # Of a query and a value.
    "Attention": lambda config, inputs: (*inputs[0][:-1], inputs[1][-1]),
    "EinsumDense": _einsum, "Reshape": _reshaped, "Merge": _merged, "Concatenate": _concatenated,
    "Dot": _dotted, "Embedding": _embedded, "Bidirectional": _both_ways, "TimeDistributed": _each_step,
    "MultiHeadAttention": _heads, "Resizing": _scaled, "CenterCrop": _scaled, "RandomCrop": _scaled,
    "GroupedQueryAttention": _same, "GroupQueryAttention": _same, "InputLayer": _same,
    **dict.fromkeys(_KEEPING, _same), **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_RECURRENT, _recurrent),
}  # fmt: skip
_RULES |= {"TimeDistributedDense": _RULES["Dense"], "AdditiveAttention": _RULES["Attention"]}
