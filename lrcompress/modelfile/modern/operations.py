"""Functions of TensorFlow that Keras 2 wrapped in layers, as the functions of Keras 3."""

from __future__ import annotations

from typing import Any, NamedTuple

from lrcompress.kinds.terms import as_dict, as_list
from lrcompress.modelfile.graph import Container, Item, tensors
from lrcompress.modelfile.modern.calls import operation_entry, replaced, tensor
from lrcompress.modelfile.modern.notes import Notes

_CONSTANT = "_CONSTANT_VALUE"
_Json = dict[str, Any]
_Made = tuple[list[_Json], _Json] | None  # the calls of a function, and its settings
_NONE: _Json = {}


class _Operation(NamedTuple):
    """A class of `keras.ops`, the names of its tensors, and its settings by TensorFlow's names."""

    functions: str
    class_name: str
    tensors: str = "x"
    settings: dict[str, str] = _NONE
    defaults: _Json = _NONE


_AXIS, _REDUCED = {"axis": "axis"}, {"axis": "axis", "keepdims": "keepdims"}
_CLIPPED = {"clip_value_min": "x_min", "clip_value_max": "x_max"}
_OPERATIONS = (
    _Operation("__operators__.add math.add", "numpy.Add", "x y"),
    _Operation("math.subtract", "numpy.Subtract", "x y"),
    _Operation("math.multiply", "numpy.Multiply", "x y"),
    _Operation("math.truediv math.divide", "numpy.TrueDivide", "x y"),
    _Operation("__operators__.pow math.pow", "numpy.Power", "x y"),
    _Operation("math.maximum", "numpy.Maximum", "x y"),
    _Operation("math.minimum", "numpy.Minimum", "x y"),
    _Operation("__operators__.matmul linalg.matmul", "numpy.Matmul", "a b"),
    _Operation("math.negative __operators__.neg", "numpy.Negative"),
    _Operation("math.abs", "numpy.Absolute"),
    _Operation("math.exp", "numpy.Exp"),
    _Operation("math.log", "numpy.Log"),
    _Operation("math.sqrt", "numpy.Sqrt"),
    _Operation("math.square", "numpy.Square"),
    _Operation("math.tanh nn.tanh", "numpy.Tanh"),
    _Operation("math.sigmoid nn.sigmoid", "nn.Sigmoid"),
    _Operation("nn.relu", "nn.Relu", "features"),
    _Operation("nn.relu6", "nn.Relu6", "features"),
    _Operation("nn.elu", "nn.Elu", "features"),
    _Operation("nn.selu", "nn.Selu", "features"),
    _Operation("nn.silu", "nn.Silu", "features"),
    _Operation("math.softplus", "nn.Softplus", "features"),
    _Operation("nn.softmax", "nn.Softmax", "logits", _AXIS, {"axis": -1}),
    _Operation("math.reduce_mean", "numpy.Mean", "input_tensor", _REDUCED),
    _Operation("math.reduce_sum", "numpy.Sum", "input_tensor", _REDUCED),
    _Operation("math.reduce_max", "numpy.Max", "input_tensor", _REDUCED),
    _Operation("math.reduce_min", "numpy.Min", "input_tensor", _REDUCED),
    _Operation("concat", "numpy.Concatenate", "values", _AXIS),
    _Operation("stack", "numpy.Stack", "values", _AXIS, {"axis": 0}),
    _Operation("reshape", "numpy.Reshape", "tensor", {"shape": "newshape"}),
    _Operation("transpose", "numpy.Transpose", "a", {"perm": "axes"}),
    _Operation("expand_dims", "numpy.ExpandDims", "input", _AXIS),
    _Operation("squeeze", "numpy.Squeeze", "input", _AXIS),
    _Operation("cast", "core.Cast", "x", {"dtype": "dtype"}),
    _Operation("clip_by_value", "numpy.Clip", "t", _CLIPPED),
    _Operation("__operators__.getitem", "numpy.GetItem"),
)
_BY_FUNCTION = {name: known for known in _OPERATIONS for name in known.functions.split()}


def modern_operations(tree: Container, notes: Notes) -> None:
    """Rewrite the layers of a functional model that are known functions of TensorFlow, in place."""
    for item in tree.items:
        operation = _BY_FUNCTION.get(str(item.config.get("function")))
        if item.class_name not in ("TFOpLambda", "SlicingOpLambda") or operation is None:
            continue
        slicing = operation.class_name == "numpy.GetItem"
        made = _sliced(item, tree) if slicing else _called(item, operation, tree)
        if made is None:
            continue
        item.entry.clear()
        item.entry.update(operation_entry(operation.class_name, item.name, *made))
        item.config, item.class_name = item.entry["config"], item.entry["class_name"]
        notes.inside(item.name).changed("functions of TensorFlow became functions of Keras 3")


def _arguments(node: Any) -> tuple[list[Any], _Json]:  # noqa: ANN401 - JSON
    """Return the tensors and constants of a call, and its arguments by name."""
    leaves = [node] if node and isinstance(node[0], str) else as_list(node)
    keywords: _Json = {}
    first = []
    for leaf in leaves:
        keywords |= as_dict(leaf[3] if len(as_list(leaf)) == 4 else None)
        first.append(leaf[2] if as_list(leaf)[:1] == [_CONSTANT] else as_list(leaf)[:3])
    return first, keywords


def _called(item: Item, operation: _Operation, tree: Container) -> _Made:
    """Return the calls of a function and its settings, None where Keras 3 has it otherwise."""
    nodes, settings = [], None
    names, many = operation.tensors.split(), operation.tensors == "values"
    for node in as_list(item.entry.get("inbound_nodes")):
        first, keywords = _arguments(node)
        given = {names[0]: first if many else first[0] if len(first) == 1 else None} | keywords
        found = {
            theirs: given.pop(ours)
            for ours, theirs in operation.settings.items()
            if given.get(ours) is not None
        }
        positional = [given.pop(name, None) for name in names]
        # What is left says something that Keras' function does not take.
        says_more = any(value not in (None, False) for key, value in given.items() if key != "name")
        moved = settings is not None and found != settings
        if None in positional or says_more or moved or any(tensors(found, tree.by_name)):
            return None
        settings = found
        nodes.append(
            {"args": [replaced(value, tree, tensor) for value in positional], "kwargs": {}}
        )
    if settings is None:
        return None
    settings = operation.defaults | settings
    complete = operation.settings is _REDUCED or set(settings) == set(operation.settings.values())
    return (nodes, settings) if complete else None


def _sliced(item: Item, tree: Container) -> _Made:
    nodes = []
    for node in as_list(item.entry.get("inbound_nodes")):
        first, keywords = _arguments(node)
        spec = as_list(keywords.get("slice_spec"))
        if len(first) != 1 or not spec or not all(_is_slice(part) for part in spec):
            return None
        parts = [
            {"class_name": "__slice__", "config": part} if isinstance(part, dict) else part
            for part in spec
        ]
        nodes.append({"args": [replaced(first[0], tree, tensor), parts], "kwargs": {}})
    return (nodes, {}) if nodes else None


def _is_slice(part: Any) -> bool:  # noqa: ANN401 - JSON
    """Return whether a part of a slice is a number, or a range of numbers."""
    if isinstance(part, dict):
        is_range = set(part) <= {"start", "stop", "step"}
        return is_range and all(end is None or isinstance(end, int) for end in part.values())
    return isinstance(part, int) and not isinstance(part, bool)
