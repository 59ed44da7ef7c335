"""Walk back from a model's outputs to the layers that end it, and on from a layer to what follows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lrcompress.kinds import peeled
from lrcompress.kinds.endings import HANDS_ON, ORDER_KEEPING, RESHAPED, activation_name, applied
from lrcompress.kinds.terms import PASSED_OVER, as_dict, is_built_in
from lrcompress.modelfile.graph import Container, Item, Ref, input_dimensions

# Thousands of layers behind each of thousands of outputs, or sites, are no model.
MOST_STEPS, LONGEST_WAY = 1_000_000, 1_000


@dataclass
class Tail:
    """What ends one output of a model.

    Attributes:
        heads: The layers of known kinds met first on the ways back, without repetition.
        blocks: Other layers that may not be passed over.
        merges: Layers with several inputs on the ways back.
    """

    heads: list[Item] = field(default_factory=list)
    blocks: list[Item] = field(default_factory=list)
    merges: list[Item] = field(default_factory=list)


# The nested models entered on the way, each with the number of its call that was entered.
_Frames = tuple[tuple[Item, int], ...]


def tails(tree: Container) -> list[Tail]:
    """Return what ends each output of a model, in the order of its outputs.

    Raises:
        ValueError: If the ways back from all outputs together have more than `MOST_STEPS` steps.
    """
    steps = iter(range(MOST_STEPS))
    return [_tail(tree, output, steps) for output in tree.outputs]


def _tail(tree: Container, output: Ref, steps: Iterator[int]) -> Tail:
    """Walk back from one output along all ways, into nested models and out of them again."""
    tail = Tail()
    seen: set[tuple[tuple[str, ...], int, int]] = set()
    pending: list[tuple[Container, Ref, _Frames]] = [(tree, output, ())]
    while pending:
        container, ref, frames = pending.pop()
        item = container.by_name.get(ref.layer)
        # A nested model's outputs differ; those of a plain layer are the same way back.
        if item is None or (key := (item.path, ref.node, ref.tensor)) in seen:
            continue
        if next(steps, None) is None:
            msg = f"more than {MOST_STEPS} steps back from its outputs"
            raise ValueError(msg)
        seen.add(key)
        if item.kind is not None:
            if item not in tail.heads:
                tail.heads.append(item)
        elif item.inner is not None:
            outputs = item.inner.outputs[ref.tensor : ref.tensor + 1]
            entered = (*frames, (item, ref.node))
            pending.extend((item.inner, inner, entered) for inner in outputs)
        elif item.is_input:
            pending.extend(_outside(item, frames))
        elif item.is_operation or (item.class_name in PASSED_OVER and is_built_in(item.entry)):
            refs = item.calls[min(ref.node, len(item.calls) - 1)]
            if len(set(refs)) > 1:
                tail.merges.append(item)
            pending.extend((container, r, frames) for r in reversed(refs))
        else:
            tail.blocks.append(item)
    return tail


def _outside(item: Item, frames: _Frames) -> list[tuple[Container, Ref, _Frames]]:
    """Return what feeds a nested model's input from outside; nothing for the model's own input."""
    if not frames:
        return []
    outer, node = frames[-1]
    position = next((i for i, r in enumerate(item.container.inputs) if r.layer == item.name), 0)
    refs = outer.calls[min(node, len(outer.calls) - 1)] if outer.calls else []
    return [(outer.container, r, frames[:-1]) for r in refs[position : position + 1]]


def following(tree: Container, item: Item) -> list[Item]:
    """Return the layers after `item`, up to the next of a known kind, while its output takes one way only.

    No more than the first `LONGEST_WAY`; none where the output is used twice, or is an output and
    used as well.
    """
    # In order, and quick to look up: hundreds of layers may follow.
    found: dict[Item, None] = {}
    current = item
    while len(found) < LONGEST_WAY:
        container = current.container
        users = container.users.get(current.name, [])
        outputs = container.output_counts[current.name]
        if len(users) + outputs != 1:
            break
        if users:
            current = users[0]
        elif container in tree.owners and len(container.outputs) == 1:
            current = tree.owners[container]
            continue
        else:
            break
        if current in found:  # a cycle, in a malformed graph
            break
        found[current] = None
        if current.kind is not None:
            break
    return list(found)


def ends_in(item: Item, after: list[Item]) -> tuple[str, bool]:
    """Return what is applied to what a layer's kernel gives, and whether classes keep their order.

    That is its own activation, or, where that is linear, the next one's if it makes probabilities
    or their logarithms; classes keep it if the largest unit stays the only largest up to the output.
    """
    own = activation_name(as_dict(peeled(item.entry).get("config")).get("activation"))
    found = [_activation(layer) for layer in after]
    keeps = all(name in ORDER_KEEPING for name in (own, *found) if name != HANDS_ON)
    keeps = keeps and not any(layer.class_name in RESHAPED for layer in after)
    keeps = keeps and len(after) < LONGEST_WAY
    place = next((i for i, name in enumerate(found) if name != HANDS_ON), None)
    if own != "linear" or place is None:
        return own, keeps
    # Softmax over what was given another shape is not one over the units.
    reshaped = any(layer.class_name in RESHAPED for layer in after[:place])
    follows = found[place]
    if follows in ("sigmoid", "hard_sigmoid") or (
        follows in ("softmax", "log_softmax") and not reshaped
    ):
        return follows, keeps
    return own, keeps


def _activation(item: Item) -> str | None:
    """Return the activation that a layer applies; None of one with a kernel, or a custom one."""
    if not (item.is_operation or is_built_in(item.entry)):
        return None
    entry = peeled(item.entry)
    if not item.is_operation and entry.get("class_name") not in PASSED_OVER:
        return None
    return applied(
        str(entry.get("class_name")), as_dict(entry.get("config")), input_dimensions(item)
    )
