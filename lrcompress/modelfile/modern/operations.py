"""Functions of TensorFlow that Keras 2 wrapped in layers, as the functions of Keras 3."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lrcompress.kinds.terms import as_dict, as_list
from lrcompress.modelfile.graph import Container, Item
from lrcompress.modelfile.modern.calls import holds_tensor, tensors_in
from lrcompress.modelfile.modern.notes import Notes

_CONSTANT = "_CONSTANT_VALUE"


@dataclass(frozen=True)
class _Operation:
    """A class of `keras.ops`, the names of its tensors, and its settings by TensorFlow's names."""

    module: str
    class_name: str
    tensors: tuple[str, ...] = ("x",)
    settings: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)


def _numpy(class_name: str, *tensors: str) -> _Operation:
    """Return an operation without settings."""
    return _Operation("numpy", class_name, tensors or ("x",))


_REDUCED = {"axis": "axis", "keepdims": "keepdims"}
_ADD, _TANH, _SIGMOID = _numpy("Add", "x", "y"), _numpy("Tanh"), _Operation("nn", "Sigmoid")
_POWER, _MATMUL = _numpy("Power", "x", "y"), _numpy("Matmul", "a", "b")
_DIVIDE, _NEGATIVE = _numpy("TrueDivide", "x", "y"), _numpy("Negative")
_SUBTRACT, _MULTIPLY = _numpy("Subtract", "x", "y"), _numpy("Multiply", "x", "y")
# By the names that TensorFlow's API has for them; with other arguments they are left alone.
_KNOWN = {
    "__operators__.add": _ADD, "math.add": _ADD, "math.subtract": _SUBTRACT,
    "math.multiply": _MULTIPLY, "math.truediv": _DIVIDE, "math.divide": _DIVIDE,
    "__operators__.pow": _POWER, "math.pow": _POWER,
    "math.maximum": _numpy("Maximum", "x", "y"), "math.minimum": _numpy("Minimum", "x", "y"),
    "__operators__.matmul": _MATMUL, "linalg.matmul": _MATMUL,
    "math.negative": _NEGATIVE, "__operators__.neg": _NEGATIVE, "math.abs": _numpy("Absolute"),
    "math.exp": _numpy("Exp"), "math.log": _numpy("Log"), "math.sqrt": _numpy("Sqrt"),
    "math.square": _numpy("Square"), "math.tanh": _TANH, "nn.tanh": _TANH,
    "math.sigmoid": _SIGMOID, "nn.sigmoid": _SIGMOID,
    "nn.relu": _Operation("nn", "Relu", ("features",)),
    "nn.relu6": _Operation("nn", "Relu6", ("features",)),
    "nn.elu": _Operation("nn", "Elu", ("features",)),
    "nn.selu": _Operation("nn", "Selu", ("features",)),
    "nn.silu": _Operation("nn", "Silu", ("features",)),
    "math.softplus": _Operation("nn", "Softplus", ("features",)),
    "nn.softmax": _Operation("nn", "Softmax", ("logits",), {"axis": "axis"}, {"axis": -1}),
    "math.reduce_mean": _Operation("numpy", "Mean", ("input_tensor",), _REDUCED),
    "math.reduce_sum": _Operation("numpy", "Sum", ("input_tensor",), _REDUCED),
    "math.reduce_max": _Operation("numpy", "Max", ("input_tensor",), _REDUCED),
    "math.reduce_min": _Operation("numpy", "Min", ("input_tensor",), _REDUCED),
    "concat": _Operation("numpy", "Concatenate", ("values",), {"axis": "axis"}),
    "stack": _Operation("numpy", "Stack", ("values",), {"axis": "axis"}, {"axis": 0}),
    "reshape": _Operation("numpy", "Reshape", ("tensor",), {"shape": "newshape"}),
    "transpose": _Operation("numpy", "Transpose", ("a",), {"perm": "axes"}),
    "expand_dims": _Operation("numpy", "ExpandDims", ("input",), {"axis": "axis"}),
    "squeeze": _Operation("numpy", "Squeeze", ("input",), {"axis": "axis"}),
    "cast": _Operation("core", "Cast", ("x",), {"dtype": "dtype"}),
    "clip_by_value": _Operation(
        "numpy", "Clip", ("t",), {"clip_value_min": "x_min", "clip_value_max": "x_max"}
    ),
}  # fmt: skip


def modern_operations(tree: Container, notes: Notes, path: str) -> None:
    """Rewrite the layers of one functional model that are functions of TensorFlow, in place.

    Args:
        tree: The model; what is not known stays, and is warned of as a class that Keras 3 lacks.
        notes: Told of changes.
        path: Names of the models around it, each with a slash after it.
    """
    for item in tree.items:
        if item.class_name not in ("TFOpLambda", "SlicingOpLambda"):
            continue
        function = str(item.config.get("function"))
        slicing = function == "__operators__.getitem"
        operation = _numpy("GetItem") if slicing else _KNOWN.get(function)
        if operation is None:
            continue
        made = _sliced(item, tree) if slicing else _called(item, operation, tree)
        if made is None:
            continue
        nodes, settings = made
        item.entry.clear()
        item.entry.update(
            operation_entry(operation.module, operation.class_name, item.name, nodes, settings)
        )
        item.config, item.class_name = item.entry["config"], operation.class_name
        notes.changed("functions of TensorFlow became functions of Keras 3", path + item.name)


def operation_entry(
    module: str, class_name: str, name: str, nodes: list[dict[str, Any]], settings: dict[str, Any]
) -> dict[str, Any]:
    """Return a function of `keras.ops` as Keras 3 notes it among a model's layers."""
    return {
        "module": f"keras.src.ops.{module}",
        "class_name": class_name,
        "config": {"name": name, **settings},
        "registered_name": class_name,
        "name": name,
        "inbound_nodes": nodes,
    }


_Made = tuple[list[dict[str, Any]], dict[str, Any]] | None


def _arguments(node: Any) -> tuple[list[Any], dict[str, Any]]:  # noqa: ANN401 - JSON
    """Return the tensors and constants of a call, and its arguments by name."""
    leaves = [node] if node and isinstance(node[0], str) else as_list(node)
    keywords: dict[str, Any] = {}
    first = []
    for leaf in leaves:
        keywords |= as_dict(leaf[3] if len(as_list(leaf)) == 4 else None)
        first.append(leaf[2] if as_list(leaf)[:1] == [_CONSTANT] else as_list(leaf)[:3])
    return first, keywords


def _called(item: Item, operation: _Operation, tree: Container) -> _Made:
    """Return the calls of a function and its settings, None where Keras 3 has it otherwise."""
    nodes, settings = [], None
    for node in as_list(item.entry.get("inbound_nodes")):
        first, keywords = _arguments(node)
        many = operation.tensors == ("values",)
        names = (operation.tensors[0],) if many else operation.tensors
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
        if None in positional or says_more or moved or holds_tensor(list(found.values()), tree):
            return None
        settings = found
        nodes.append({"args": [tensors_in(value, tree) for value in positional], "kwargs": {}})
    if settings is None:
        return None
    settings = operation.defaults | settings
    complete = operation.settings is _REDUCED or set(settings) == set(operation.settings.values())
    return (nodes, settings) if complete else None


def _sliced(item: Item, tree: Container) -> _Made:
    """Return the calls of a slice."""
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
        nodes.append({"args": [tensors_in(first[0], tree), parts], "kwargs": {}})
    return (nodes, {}) if nodes else None


def _is_slice(part: Any) -> bool:  # noqa: ANN401 - JSON
    """Return whether a part of a slice is a number, or a range of numbers."""
    if isinstance(part, dict):
        ends = [part.get(key) for key in ("start", "stop", "step")]
        return set(part) <= {"start", "stop", "step"} and all(
            end is None or isinstance(end, int) for end in ends
        )
    return isinstance(part, int) and not isinstance(part, bool)
