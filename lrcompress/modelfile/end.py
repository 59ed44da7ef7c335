"""What ends a model, by walking back from its outputs, and what follows a layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from lrcompress.errors import UnsupportedModelError, first_three
from lrcompress.kinds import CLASSES, NAMES, peeled
from lrcompress.kinds.terms import (
    HANDS_ON,
    ORDER_KEEPING,
    PASSED_OVER,
    RESHAPED,
    activation_name,
    applied,
    as_dict,
    is_built_in,
)
from lrcompress.modelfile.graph import Container, Item, Ref, input_dimensions
from lrcompress.modelfile.model import End, ModelFile
from lrcompress.modelfile.untrusted import decoding


def tree_of(model: ModelFile) -> Container:
    """Return the layers of a model; refuse one that lists none."""
    if model.tree is None:
        msg = (
            f"{model.path} is a subclassed model ({model.class_name}), which lists no layers; "
            "expected a Sequential or functional model: rebuild it as one, load its weights "
            'and save with model.save("model.keras").'
        )
        raise UnsupportedModelError(msg, code="subclassed")
    return model.tree


def check_has_sites(model: ModelFile) -> None:
    """Refuse a model that lists no layers, or none of a known kind among them."""
    tree = tree_of(model)
    if kind_items(model):
        return
    hidden = [item.name for item in tree.walk() if item.inner is None and _wraps_site(item)]
    if hidden:
        msg = (
            f"{model.path} has {NAMES} layers only inside {first_three(hidden)}, which wraps a model of "
            "its own and is not opened: save that model by itself and factorize it."
        )
    else:
        msg = (
            f"{model.path} has no {NAMES} layer, and without --layers that is what is factorized: "
            "`lrcompress inspect` says whether --layers all makes others smaller."
        )
    raise UnsupportedModelError(msg, code="no_dense")


def _wraps_site(item: Item) -> bool:
    """Return whether a layer holds another one that is, or lists, one of a known kind."""
    pending: list[object] = [item.config.get("layer"), item.config.get("backward_layer")]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if str(value.get("class_name")) in CLASSES:
                return True
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return False


def kind_items(model: ModelFile) -> list[Item]:
    """Return every layer of a known kind, usable or not."""
    items = model.tree.walk() if model.tree is not None else iter(())
    return [item for item in items if item.kind is not None]


def find_end(model: ModelFile) -> End:
    """Return the layers that end a model, and why there is not exactly one."""
    with decoding(model.path):
        ends = endings(model.tree) if model.tree is not None else []
        heads = list(dict.fromkeys(item for ending in ends for item in ending.heads))
        paths = tuple("/".join(item.path) for item in heads)
        try:
            _check_end(model, ends, heads)
        except UnsupportedModelError as error:
            return End(paths, error)
        return End(paths)


def _check_end(model: ModelFile, ends: list[Ending], heads: list[Item]) -> None:
    for ending in ends:
        _check_blocks(model, ending)
    check_has_sites(model)
    for ending in ends:
        _check_branches(model, ending)
    if len(heads) > 1:
        msg = (
            f"{model.path} has {len(heads)} outputs that end in {NAMES} layers: {choices(heads)}; "
            "choose with --layer."
        )
        raise UnsupportedModelError(msg, code="several_heads")
    if not heads:
        block = next((item for ending in ends for item in ending.blocks), None)
        what = f"ends in {block.name} ({block.class_name})" if block else "has no way back"
        msg = (
            f"{model.path} {what} instead of a {NAMES} layer; "
            f"to factorize another {NAMES} choose it with --layer: {choices(kind_items(model))}."
        )
        raise UnsupportedModelError(msg, code="blocked_tail")


def _check_blocks(model: ModelFile, ending: Ending) -> None:
    """Refuse an output whose matrix is there, but not to be factorized."""
    for item in ending.blocks:
        where = f"{model.path} ends in {item.name} ({item.class_name})"
        if item.class_name == "ReversibleEmbedding":
            msg = (
                f"{where}, whose output matrix is the transposed embedding: two factors would break "
                f"that tie; expected a {NAMES} of its own: copy the matrix into one and train again."
            )
            raise UnsupportedModelError(msg, code="tied_embedding")
        if item.class_name.startswith("QuantizeWrapper"):
            msg = (
                f"{where}, a wrapper for quantization-aware training; expected plain layers: "
                "factorize the model before wrapping it, or strip the wrappers and save it again."
            )
            raise UnsupportedModelError(msg, code="quantize_wrapper")


def _check_branches(model: ModelFile, ending: Ending) -> None:
    """Refuse an output that several weighted branches make together."""
    ways = ending.heads + ending.blocks
    if not ending.merges or not ending.heads or len(ways) < 2:
        return
    merge = ending.merges[0]
    msg = (
        f"{model.path} merges {choices(ways)} in {merge.name} ({merge.class_name}) after its last "
        f"{NAMES} layers, so none is the final one; choose with --layer: {choices(ending.heads)}."
    )
    raise UnsupportedModelError(msg, code="merged_branches")


def choices(items: list[Item]) -> str:
    """Return the layers for a sentence."""
    return first_three(["/".join(item.path) for item in items])


# Thousands of layers behind each of thousands of outputs, or sites, are no model.
MOST_STEPS, LONGEST_WAY = 1_000_000, 1_000


@dataclass
class Ending:
    """What ends one output of a model."""

    heads: list[Item] = field(default_factory=list)  # of known kinds, met first on the ways back
    blocks: list[Item] = field(default_factory=list)  # others that may not be passed over
    merges: list[Item] = field(default_factory=list)  # with several inputs


# The nested models entered on the way, each with the number of its call that was entered.
_Frames = tuple[tuple[Item, int], ...]


def endings(tree: Container) -> list[Ending]:
    """Return what ends each output of a model, in the order of its outputs."""
    steps = iter(range(MOST_STEPS))
    return [_ending(tree, output, steps) for output in tree.outputs]


def _ending(tree: Container, output: Ref, steps: Iterator[int]) -> Ending:
    """Walk back from one output along all ways, into nested models and out of them again."""
    ending = Ending()
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
            if item not in ending.heads:
                ending.heads.append(item)
        elif item.inner is not None:
            outputs = item.inner.outputs[ref.tensor : ref.tensor + 1]
            entered = (*frames, (item, ref.node))
            pending.extend((item.inner, inner, entered) for inner in outputs)
        elif item.is_input:
            pending.extend(_outside(item, frames))
        elif item.is_operation or (item.class_name in PASSED_OVER and is_built_in(item.entry)):
            refs = item.calls[min(ref.node, len(item.calls) - 1)]
            if len(set(refs)) > 1:
                ending.merges.append(item)
            pending.extend((container, r, frames) for r in reversed(refs))
        else:
            ending.blocks.append(item)
    return ending


def _outside(item: Item, frames: _Frames) -> list[tuple[Container, Ref, _Frames]]:
    """Return what feeds a nested model's input from outside; nothing for the model's own input."""
    if not frames:
        return []
    outer, node = frames[-1]
    position = next((i for i, r in enumerate(item.container.inputs) if r.layer == item.name), 0)
    refs = outer.calls[min(node, len(outer.calls) - 1)] if outer.calls else []
    return [(outer.container, r, frames[:-1]) for r in refs[position : position + 1]]


def following(tree: Container, item: Item) -> list[Item]:
    """Return the layers after `item`, up to the next of a known kind, while its output takes one way."""
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
    """Return the activation behind a kernel, see `Site.activation`, and whether classes keep their order."""
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
