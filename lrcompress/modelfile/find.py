"""Which Dense layers a model has, and which of them is its head."""

from __future__ import annotations

from collections.abc import Sequence

from lrcompress.errors import UnsupportedModelError, did_you_mean, listed
from lrcompress.kinds.terms import dense_entry
from lrcompress.modelfile.describing import describe_dense
from lrcompress.modelfile.graph import Container, Item
from lrcompress.modelfile.model import ModelFile, Site
from lrcompress.modelfile.pairs import as_pair, find_pairs
from lrcompress.modelfile.tail import Tail, tails
from lrcompress.modelfile.untrusted import decoding


def survey(
    model: ModelFile,
) -> tuple[tuple[Site, ...], dict[str, UnsupportedModelError]]:
    """Return all sites of a model in config order, and by path why other layers of the kinds are none."""
    found, refused = [], {}
    with decoding(model.path):
        pairs = find_pairs(model)
        firsts = set(pairs.values())
        for item in _dense_items(model):
            if item in firsts:
                continue
            try:
                found.append(_describe(model, item, pairs))
            except UnsupportedModelError as error:
                refused["/".join(item.path)] = error
    return tuple(found), refused


def check_has_sites(model: ModelFile) -> None:
    """Refuse a model that lists no layers, or no Dense layer among them.

    Raises:
        UnsupportedModelError: With code ``subclassed`` or ``no_dense``.
    """
    if model.tree is None:
        msg = (
            f"{model.path} is a subclassed model ({model.class_name}), which lists no layers; "
            "expected a Sequential or functional model: rebuild it as one, load its weights "
            'and save with model.save("model.keras").'
        )
        raise UnsupportedModelError(msg, code="subclassed")
    if _dense_items(model):
        return
    hidden = [item.name for item in model.tree.walk() if item.inner is None and _wraps_dense(item)]
    if hidden:
        msg = (
            f"{model.path} has Dense layers only inside {listed(hidden)}, which wraps a model of "
            "its own and is not opened: save that model by itself and factorize it."
        )
    else:
        msg = (
            f"{model.path} has no Dense layer; lrcompress factorizes Dense layers only, "
            "so there is nothing to do: run inspect to see what it holds."
        )
    raise UnsupportedModelError(msg, code="no_dense")


def _wraps_dense(item: Item) -> bool:
    """Return whether a layer holds another one that is, or lists, a Dense."""
    pending: list[object] = [item.config.get("layer"), item.config.get("backward_layer")]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if value.get("class_name") == "Dense":
                return True
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return False


def find_head(model: ModelFile, layer: str | None = None) -> Site:
    """Return the final Dense layer, or the one asked for.

    Args:
        model: The file.
        layer: Name or path of a Dense layer; None for the head, found by walking back from the
            outputs over layers that act element by element or change the shape.

    Returns:
        The layer; where it is one of two that make up one matrix, both as one, whichever of them
        was named.

    Raises:
        UnsupportedModelError: If there is none, or none that can be factorized: codes
            ``subclassed``, ``no_dense``, ``no_such_layer``, ``blocked_tail``, ``merged_branches``,
            ``several_heads``, ``shared_dense``, ``quantized``, ``quantize_wrapper``, ``lora``,
            ``tied_embedding``, ``config``.
    """
    return find_sites(model, [layer])[0]


def find_sites(model: ModelFile, layers: Sequence[str | None]) -> list[Site]:
    """Return the Dense layers of some names or paths, as `find_head` does each of them.

    Raises:
        UnsupportedModelError: As `find_head` does.
    """
    with decoding(model.path):
        if model.tree is None:
            check_has_sites(model)
            raise AssertionError  # it is subclassed, which was refused
        by_name: dict[str, list[Item]] = {}
        for item in _dense_items(model):
            for name in {item.name, "/".join(item.path)}:
                by_name.setdefault(name, []).append(item)
        items = [
            _head(model, model.tree) if layer is None else _named(model, layer, by_name)
            for layer in layers
        ]
        pairs = find_pairs(model)
        seconds = {first: second for second, first in pairs.items()}
        return [_describe(model, seconds.get(item, item), pairs) for item in items]


def head_paths(model: ModelFile) -> list[str]:
    """Return the paths of the Dense layers that end a model, one an output; none where one does not."""
    try:
        return [find_head(model).path]
    except UnsupportedModelError as error:
        if error.code != "several_heads" or model.tree is None:
            return []
    return list(dict.fromkeys("/".join(i.path) for tail in tails(model.tree) for i in tail.heads))


def _describe(model: ModelFile, item: Item, pairs: dict[Item, Item]) -> Site:
    """Return a Dense, together with the one before it where the two make up one matrix."""
    layer = describe_dense(model, item)
    return as_pair(describe_dense(model, pairs[item]), layer) if item in pairs else layer


def _dense_items(model: ModelFile) -> list[Item]:
    """Return every Dense of a model, usable or not."""
    items = model.tree.walk() if model.tree is not None else iter(())
    return [item for item in items if dense_entry(item) is not None]


def _choices(items: list[Item]) -> str:
    """Return the layers for a sentence."""
    return listed(["/".join(item.path) for item in items])


def _named(model: ModelFile, layer: str, by_name: dict[str, list[Item]]) -> Item:
    """Return the Dense of a given path or, if only one has it, name."""
    called = by_name.get(layer, [])
    matches = [item for item in called if "/".join(item.path) == layer] or called
    if len(matches) == 1:
        return matches[0]
    if matches:
        msg = f"{model.path} has {len(matches)} layers {layer}; give a path: {_choices(matches)}."
        raise UnsupportedModelError(msg, code="no_such_layer")
    items = _dense_items(model)
    other = next((info for info in model.layers if layer in (info.name, info.path)), None)
    if other is not None:
        msg = (
            f"Layer {layer} of {model.path} is of class {other.class_name}; expected a Dense layer"
        )
    else:
        msg = f"{model.path} has no Dense layer {layer}"
    if not items:
        msg += ", and it has none at all."
    else:
        paths = ["/".join(item.path) for item in items]
        near = did_you_mean(layer, paths, most=3)
        msg += f".{near}" if near else f": use {' or '.join(paths[:5])}."
    raise UnsupportedModelError(msg, code="no_such_layer")


def _head(model: ModelFile, tree: Container) -> Item:
    """Return the one Dense that ends the model, or say why there is not exactly one."""
    items, ends = _dense_items(model), tails(tree)
    for tail in ends:
        _check_blocks(model, tail)
    check_has_sites(model)
    for tail in ends:
        _check_branches(model, tail)
    heads = list(dict.fromkeys(item for tail in ends for item in tail.heads))
    if len(heads) > 1:
        msg = (
            f"{model.path} has {len(heads)} outputs that end in Dense layers: {_choices(heads)}; "
            "choose with --layer."
        )
        raise UnsupportedModelError(msg, code="several_heads")
    if not heads:
        block = next((item for tail in ends for item in tail.blocks), None)
        what = f"ends in {block.name} ({block.class_name})" if block else "has no way back"
        msg = (
            f"{model.path} {what} instead of a Dense layer; "
            f"to factorize another Dense choose it with --layer: {_choices(items)}."
        )
        raise UnsupportedModelError(msg, code="blocked_tail")
    return heads[0]


def _check_blocks(model: ModelFile, tail: Tail) -> None:
    """Refuse an output whose matrix is there, but not to be factorized."""
    for item in tail.blocks:
        where = f"{model.path} ends in {item.name} ({item.class_name})"
        if item.class_name == "ReversibleEmbedding":
            msg = (
                f"{where}, whose output matrix is the transposed embedding: two factors would break "
                "that tie; expected a Dense of its own: copy the matrix into one and train again."
            )
            raise UnsupportedModelError(msg, code="tied_embedding")
        if item.class_name.startswith("QuantizeWrapper"):
            msg = (
                f"{where}, a wrapper for quantization-aware training; expected plain layers: "
                "factorize the model before wrapping it, or strip the wrappers and save it again."
            )
            raise UnsupportedModelError(msg, code="quantize_wrapper")


def _check_branches(model: ModelFile, tail: Tail) -> None:
    """Refuse an output that several weighted branches make together."""
    ways = tail.heads + tail.blocks
    if not tail.merges or not tail.heads or len(ways) < 2:
        return
    merge = tail.merges[0]
    msg = (
        f"{model.path} merges {_choices(ways)} in {merge.name} ({merge.class_name}) after its last "
        f"Dense layers, so none is the final one; choose with --layer: {_choices(tail.heads)}."
    )
    raise UnsupportedModelError(msg, code="merged_branches")
