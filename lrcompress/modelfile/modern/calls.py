"""The calls of a functional model: Keras 2 notes them in lists, which Keras 3 reads in part only."""

from __future__ import annotations

from typing import Any

from lrcompress.kinds.terms import as_dict, as_list
from lrcompress.modelfile.graph import Container, Item, first_calls, is_leaf, tensors
from lrcompress.modelfile.modern.notes import Notes

RECURRENT = ("RNN", "LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU", "Bidirectional")
# Keras 2 counts the creation of a nested model as its call number 0.
_CREATION = 1


def modern_calls(tree: Container, notes: Notes, path: str) -> None:
    """Rewrite the calls of one functional model in place.

    Args:
        tree: The model; calls in Keras 3's own notation are left alone.
        notes: Told of changes.
        path: Names of the models around it, each with a slash after it.
    """
    shifted = _counting_creation(tree)
    for item in tree.items:
        nodes = item.entry.get("inbound_nodes")
        if not isinstance(nodes, list) or not any(isinstance(node, list) for node in nodes):
            continue
        lowered = [_lowered(node, shifted, tree) for node in nodes]
        modern = [_with_arguments(node, item, tree) for node in lowered]
        if modern != nodes:
            item.entry["inbound_nodes"] = modern
            notes.changed("calls put in the notation of Keras 3", path + item.name)
    if shifted:
        config = as_dict(tree.entry.get("config"))
        # Among a model's outputs Keras 3 goes on counting the creation, of functional ones only.
        outputs = {n for n in shifted if _is_sequential(tree.by_name[n])}
        config["output_layers"] = _lowered(config.get("output_layers"), outputs, tree)


def _is_sequential(item: Item) -> bool:
    return item.inner is not None and item.inner.sequential


def _counting_creation(tree: Container) -> set[str]:
    """Return the nested models whose calls are counted from 1 in this file."""
    nodes = [n for item in tree.items for n in as_list(item.entry.get("inbound_nodes"))]
    if any(isinstance(node, dict) for node in nodes):
        return set()
    outputs = as_dict(tree.entry.get("config")).get("output_layers")
    first = first_calls(tensors([nodes, outputs], tree.by_name))
    return {i.name for i in tree.items if i.inner is not None and first.get(i.name, 0) >= _CREATION}


def _lowered(value: Any, shifted: set[str], tree: Container) -> Any:  # noqa: ANN401 - JSON
    """Return a copy in which the calls of some nested models are counted from 0."""
    if is_leaf(value, tree.by_name):
        number = value[1] - _CREATION if value[0] in shifted else value[1]
        rest = [_lowered(part, shifted, tree) for part in value[3:]]
        return [value[0], number, value[2], *rest]
    if isinstance(value, list):
        return [_lowered(part, shifted, tree) for part in value]
    if isinstance(value, dict):
        return {key: _lowered(part, shifted, tree) for key, part in value.items()}
    return value


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
    if not has_states and not any(holds_tensor(value, tree) for value in keywords.values()):
        return node
    keywords = {key: tensors_in(value, tree) for key, value in keywords.items()}
    if has_states:
        keywords["initial_state"] = given[1:]
        given = given[:1]
    return {"args": [given[0] if len(given) == 1 else given], "kwargs": keywords}


def holds_tensor(value: Any, tree: Container) -> bool:  # noqa: ANN401 - JSON
    """Return whether a keyword argument refers to a layer's output."""
    return any(True for _ in tensors(value, tree.by_name))


def tensors_in(value: Any, tree: Container) -> Any:  # noqa: ANN401 - JSON
    """Return a keyword argument with every reference as Keras 3 writes it."""
    if is_leaf(value, tree.by_name):
        return tensor(value)
    if isinstance(value, list):
        return [tensors_in(part, tree) for part in value]
    if isinstance(value, dict):
        return {key: tensors_in(part, tree) for key, part in value.items()}
    return value


def tensor(leaf: list[Any]) -> dict[str, Any]:
    """Return a reference in Keras 3's notation; the shape stands for the real one on loading."""
    config = {"shape": [None], "dtype": "float32", "keras_history": leaf[:3]}
    return {"class_name": "__keras_tensor__", "config": config}
