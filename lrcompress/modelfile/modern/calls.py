"""The calls of a functional model.

Keras 3 reads the lists in which Keras 2 notes calls in part only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lrcompress.kinds.terms import as_dict, as_list
from lrcompress.modelfile.graph import Container, Item, first_calls, is_leaf, tensors
from lrcompress.modelfile.modern.notes import Notes

RECURRENT = ("RNN", "LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU", "Bidirectional")
# Keras 2 counts the creation of a nested model as its call number 0.
_CREATION = 1
Reference = list[Any]  # name of the layer, number of its call, and of the tensor
_Json = dict[str, Any]


def modern_calls(tree: Container, notes: Notes) -> None:
    """Rewrite the calls of one functional model in place; those in Keras 3's own notation stay."""
    counted = _counting_creation(tree)
    for item in tree.items:
        nodes = item.entry.get("inbound_nodes")
        if not isinstance(nodes, list) or not any(isinstance(node, list) for node in nodes):
            continue
        modern = [_with_arguments(_lowered(node, counted, tree), item, tree) for node in nodes]
        if modern != nodes:
            item.entry["inbound_nodes"] = modern
            notes.inside(item.name).changed("calls put in the notation of Keras 3")
    if counted:
        config = as_dict(tree.entry.get("config"))
        # Among a model's outputs Keras 3 goes on counting the creation, of functional ones only.
        models = {item.name: item.inner for item in tree.items if item.inner is not None}
        outputs = {name for name in counted if models[name].sequential}
        config["output_layers"] = _lowered(config.get("output_layers"), outputs, tree)


def replaced(value: Any, tree: Container, change: Callable[[Reference], Any]) -> Any:  # noqa: ANN401 - JSON
    """Return JSON with what `change` makes of it in the place of every reference to an output."""
    if is_leaf(value, tree.by_name):
        return change([*value[:3], *(replaced(part, tree, change) for part in value[3:])])
    if isinstance(value, list):
        return [replaced(part, tree, change) for part in value]
    if isinstance(value, dict):
        return {key: replaced(part, tree, change) for key, part in value.items()}
    return value


def tensor(leaf: Reference) -> dict[str, Any]:
    """Return a reference in Keras 3's notation; the shape stands for the real one on loading."""
    config = {"shape": [None], "dtype": "float32", "keras_history": leaf[:3]}
    return {"class_name": "__keras_tensor__", "config": config}


def operation_entry(operation: str, name: str, nodes: list[_Json], settings: _Json) -> _Json:
    """Return a function of `keras.ops`, "numpy.Add", as Keras 3 notes it among a model's layers."""
    module, class_name = operation.split(".")
    return {
        "module": f"keras.src.ops.{module}",
        "class_name": class_name,
        "config": {"name": name, **settings},
        "registered_name": class_name,
        "name": name,
        "inbound_nodes": nodes,
    }


def _counting_creation(tree: Container) -> set[str]:
    """Return the nested models whose calls are counted from 1 in this file."""
    nodes = [n for item in tree.items for n in as_list(item.entry.get("inbound_nodes"))]
    if any(isinstance(node, dict) for node in nodes):
        return set()
    outputs = as_dict(tree.entry.get("config")).get("output_layers")
    first = first_calls(tensors([nodes, outputs], tree.by_name))
    return {i.name for i in tree.items if i.inner is not None and first.get(i.name, 0) >= _CREATION}


def _lowered(value: Any, counted: set[str], tree: Container) -> Any:  # noqa: ANN401 - JSON
    """Return a copy in which the calls of some nested models are counted from 0."""
    return replaced(
        value, tree, lambda leaf: [leaf[0], leaf[1] - (leaf[0] in counted) * _CREATION, *leaf[2:]]
    )


def _with_arguments(node: Any, item: Item, tree: Container) -> Any:  # noqa: ANN401 - JSON
    """Return a call with tensors among its keyword arguments, or states, as Keras 3 writes it."""
    leaves = [leaf for leaf in as_list(node) if is_leaf(leaf, tree.by_name)]
    if not leaves or len(leaves) != len(node):
        return node
    keywords: dict[str, Any] = {}
    for leaf in leaves:
        if len(leaf) == 4 and isinstance(leaf[3], dict):
            # Arguments that Keras 3 may not have, left open: `constants` of a Bidirectional.
            leaf[3] = {key: value for key, value in leaf[3].items() if value is not None}
            keywords |= leaf[3]
    given = [tensor(leaf) for leaf in leaves]
    # A recurrent layer takes its initial states in the list of inputs.
    has_states = item.class_name in RECURRENT and len(given) > 1
    if not has_states and not any(tensors(list(keywords.values()), tree.by_name)):
        return node
    keywords = {key: replaced(value, tree, tensor) for key, value in keywords.items()}
    if has_states:
        keywords["initial_state"] = given[1:]
        given = given[:1]
    return {"args": [given[0] if len(given) == 1 else given], "kwargs": keywords}
