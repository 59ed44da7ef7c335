"""How many dimensions reach a layer, as far as the config tells, without running anything."""

from __future__ import annotations

from lrcompress.kinds.terms import own_input_shape, shape
from lrcompress.modelfile.graph import Item
from lrcompress.modelfile.untrusted import as_dict

_TO_VECTOR = ("Flatten", "Global")
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU")


def input_dimensions(item: Item) -> int | None:
    """Return the number of dimensions of a layer's input, batch included.

    The nearest layer before it whose output's dimensions are known decides; layers in between are
    taken to keep them, as all but the known exceptions do.

    Args:
        item: Any layer.

    Returns:
        2 for plain vectors, 3 for sequences of them, ...; None where the config does not tell.
    """
    stated = own_input_shape(item)
    if stated is not None:
        return len(stated)
    known = item.container.input_ranks
    passed: list[Item] = []
    current: Item | None = item
    while current is not None and current not in known:
        # None for now, which also ends a cycle.
        known[current] = None
        passed.append(current)
        before = _before(current)
        found = _stated_output(before) if before else None
        if found is not None:
            break
        current = before
    else:
        found = known[current] if current is not None else None
    known.update(dict.fromkeys(passed, found))
    return found


def _stated_output(item: Item) -> int | None:
    """Return the dimensions of a layer's output where it alone tells."""
    fixed = _output_dimensions(item)
    stated = own_input_shape(item) if fixed is None and _keeps(item) else None
    return fixed if stated is None else len(stated)


def _before(item: Item) -> Item | None:
    """Return the first layer that feeds `item` in its container."""
    first = item.calls[0] if item.calls else []
    return item.container.by_name.get(first[0].layer) if first else None


def _keeps(item: Item) -> bool:
    """Return whether the layer's output has as many dimensions as its input."""
    return item.inner is None and item.class_name not in ("Embedding", "Reshape", "RepeatVector")


def _output_dimensions(item: Item) -> int | None:
    """Return the dimensions of a layer's output where its class fixes them."""
    name, config = item.class_name, item.config
    if name == "InputLayer":
        stated = own_input_shape(item)
        return len(stated) if stated else None
    if name.startswith(_TO_VECTOR):
        return None if config.get("keepdims") else 2
    if name == "Reshape":
        target = shape([0 if d == -1 else d for d in config.get("target_shape") or []])
        return len(target) + 1 if target else None
    if name in ("RepeatVector", "TimeDistributedDense"):
        return 3
    if name == "Bidirectional":
        config = as_dict(as_dict(config.get("layer")).get("config"))
        return 3 if config.get("return_sequences") else 2
    if name in _RECURRENT:
        return 3 if config.get("return_sequences") else 2
    for axes in (1, 2, 3):
        if f"{axes}D" in name and name.startswith(("Conv", "MaxPool", "AveragePool")):
            return axes + 2
    return None
