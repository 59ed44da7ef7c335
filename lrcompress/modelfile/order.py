"""The order in which Keras holds the layers of a rebuilt model.

Weights are stored and loaded by position in this order, not by name, so the place of a new layer
follows from it: depth to the outputs descending, ties in the order of a depth-first search from
the outputs. This computation from the config alone reproduced the saved order of 73 of 74
functional models found in the wild.
"""

from __future__ import annotations

from lrcompress.modelfile.graph import Container, Item, Ref

_Call = tuple[Item, int]


def layer_order(container: Container) -> list[Item]:
    """Return the layers of a container in Keras' order, but for those that no output depends on."""
    return list(_order(container))


def computed(container: Container) -> list[Item]:
    """Return all layers in the order in which they are computed, those of nested models behind them."""
    found = []
    for item in layer_order(container):
        found.append(item)
        if item.inner is not None:
            found += computed(item.inner)
    return found


def call_order(container: Container) -> list[tuple[Item, int]]:
    """Return every call (layer, number) that an output depends on, those before it first."""
    if container.sequential:
        return [(item, 0) for item in container.items]
    return _search(container)[0]


def leads_to_output(item: Item) -> bool:
    """Return whether Keras holds a layer of the config in its rebuilt model at all."""
    return item in _order(item.container)


def feeder(item: Item) -> Item | None:
    """Return the layer that feeds a layer at each of its calls, and nothing else."""
    container = item.container
    refs = [call[0] if call else None for call in item.calls]
    first = container.by_name.get(refs[0].layer) if refs and refs[0] else None
    if first is None or first is item or len(first.calls) != len(refs):
        return None
    own = [Ref(first.name, number, 0) for number in range(len(refs))]
    return first if refs == own and all(container.uses[ref] == 1 for ref in own) else None


def _order(container: Container) -> dict[Item, None]:
    """Return the order, worked out on the first call only."""
    if container.order is None:
        work_out = (lambda c: c.items) if container.sequential else _by_depth
        container.order = dict.fromkeys(work_out(container))
    return container.order


def _by_depth(container: Container) -> list[Item]:
    """Return the layers of a functional model, the farthest from the outputs first."""
    finished, first_seen = _search(container)
    depth_of_call: dict[_Call, int] = {}
    depth_of: dict[Item, int] = {}
    for call in reversed(finished):
        item = call[0]
        # A layer used at several depths counts with the greatest.
        depth = max(depth_of_call.get(call, 0), depth_of.get(item, 0))
        depth_of[item] = depth_of_call[call] = depth
        for parent in _parents(container, call):
            depth_of_call[parent] = max(depth + 1, depth_of_call.get(parent, 0))
    for ref in container.inputs:
        item = container.by_name[ref.layer]
        if item not in depth_of:
            # An input that nothing uses stands first among the last.
            depth_of[item], first_seen[item] = 0, -1
    return sorted(depth_of, key=lambda item: (-depth_of[item], first_seen[item]))


def _parents(container: Container, call: _Call) -> list[_Call]:
    item, node = call
    return [resolve(container, ref) for ref in item.calls[node]] if item.calls else []


def resolve(container: Container, ref: Ref) -> _Call:
    """Return the call that produces a tensor."""
    item = container.by_name[ref.layer]
    # A number past the list occurs where a file counts calls made outside this model.
    return item, min(max(ref.node, 0), max(len(item.calls) - 1, 0))


def _search(container: Container) -> tuple[list[_Call], dict[Item, int]]:
    """Return the calls as a depth-first search from the outputs completes them, and layers as it sees them."""
    finished: list[_Call] = []
    done: set[_Call] = set()
    active: set[_Call] = set()
    first_seen: dict[Item, int] = {}
    for output in container.outputs:
        # A real graph can be deeper than Python's stack.
        stack: list[tuple[_Call, bool]] = [(resolve(container, output), False)]
        while stack:
            call, leaving = stack.pop()
            if leaving:
                active.discard(call)
                done.add(call)
                finished.append(call)
                continue
            if call in done:
                continue
            if call in active:
                msg = f"the graph has a cycle through layer {call[0].name}"
                raise ValueError(msg)
            first_seen.setdefault(call[0], len(first_seen))
            active.add(call)
            stack.append((call, True))
            stack.extend((parent, False) for parent in reversed(_parents(container, call)))
    return finished, first_seen
