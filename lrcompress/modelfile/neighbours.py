"""Which layers stand before a layer and behind it, as far as nothing else is in between."""

from __future__ import annotations

from lrcompress.kinds.terms import DROPOUTS, as_list, hands_on, is_built_in
from lrcompress.modelfile.graph import Item, Ref, tensors


def is_alone(item: Item) -> bool:
    """Return whether a layer takes in one tensor, and perhaps its mask, but no states."""
    nodes = as_list(item.entry.get("inbound_nodes"))
    given = [tensors(_without_mask(node), item.container.by_name) for node in nodes]
    return len(item.calls[0]) == 1 or all(len(list(each)) == 1 for each in given)


def _without_mask(value: object) -> object:
    if isinstance(value, list):
        return [_without_mask(part) for part in value]
    if isinstance(value, dict):
        return {key: _without_mask(part) for key, part in value.items() if key != "mask"}
    return value


def is_called_once(item: Item) -> bool:
    """Return whether a layer is called once, and its output is no output of the model."""
    return len(item.calls) == 1 and not item.container.output_counts[item.name]


def takers(item: Item) -> list[Item]:
    """Return the layers that take in a layer's output alone, see `Place.after`; none where it is an output."""
    if not is_called_once(item) or not is_alone(item):
        return []
    found: list[Item] = []
    for user in item.container.users.get(item.name, []):
        if len(user.calls) != 1:
            return []
        if hands_on(user.class_name, user.config) and is_built_in(user.entry):
            behind = takers(user)
            if not behind:
                return []
            found += behind
        else:
            found.append(user)
    return found


def giver(item: Item) -> Item | None:
    """Return the layer that alone feeds a layer and feeds nothing else, dropout passed over."""
    if len(item.calls) != 1 or len(item.calls[0]) != 1:
        return None
    ref = item.calls[0][0]
    first = item.container.by_name.get(ref.layer)
    if first is None or ref != Ref(first.name, 0, 0) or not is_called_once(first):
        return None
    if len(item.container.users.get(first.name, [])) != 1:
        return None
    return giver(first) if first.class_name in DROPOUTS else first
