"""Which Dense layers a model has, and which of them is its head."""

from __future__ import annotations

import difflib

from lrcompress.errors import UnsupportedModelError
from lrcompress.modelfile.archive import is_shared
from lrcompress.modelfile.decoding import as_dict, decoding
from lrcompress.modelfile.layers import (
    activation_name,
    dense_entry,
    has_bias,
    quantization,
    units,
)
from lrcompress.modelfile.model import DenseLayer, ModelFile
from lrcompress.modelfile.order import layer_order
from lrcompress.modelfile.ranks import input_dimensions
from lrcompress.modelfile.tail import Tail, feeds_softmax, following, tails
from lrcompress.modelfile.topology import Container, Item

FLOATS = ("float32", "float16", "bfloat16", "float64")


def dense_layers(model: ModelFile) -> tuple[DenseLayer, ...]:
    """Return all Dense layers that can be factorized, in config order.

    Args:
        model: The file.

    Returns:
        The layers, those of nested models and those under TimeDistributed included; quantized
        ones, ones with LoRA, and shared ones are not.
    """
    found = []
    with decoding(model.path):
        for item in _dense_items(model):
            try:
                found.append(describe_dense(model, item))
            except UnsupportedModelError:
                continue
    return tuple(found)


def find_head(model: ModelFile, layer: str | None = None) -> DenseLayer:
    """Return the final Dense layer, or the one asked for.

    Args:
        model: The file.
        layer: Name or path of a Dense layer; None for the head, found by walking back from the
            outputs over layers that act element by element or change the shape.

    Raises:
        UnsupportedModelError: If there is none, or none that can be factorized: codes
            ``subclassed``, ``no_dense``, ``no_such_layer``, ``blocked_tail``, ``merged_branches``,
            ``several_heads``, ``shared_dense``, ``quantized``, ``quantize_wrapper``, ``lora``,
            ``tied_embedding``, ``config``.
    """
    with decoding(model.path):
        if model.tree is None:
            msg = (
                f"{model.path} is a subclassed model ({model.class_name}), which lists no layers; "
                "expected a Sequential or functional model: rebuild it as one, load its weights "
                'and save with model.save("model.keras").'
            )
            raise UnsupportedModelError(msg, code="subclassed")
        item = _named(model, layer) if layer is not None else _head(model, model.tree)
        return describe_dense(model, item)


def _dense_items(model: ModelFile) -> list[Item]:
    """Return every Dense of a model, usable or not."""
    items = model.tree.walk() if model.tree is not None else iter(())
    return [item for item in items if dense_entry(item) is not None]


def _choices(items: list[Item]) -> str:
    """Return the layers for a sentence: three names, then how many more."""
    paths = ["/".join(item.path) for item in items]
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more


def _named(model: ModelFile, layer: str) -> Item:
    """Return the Dense of a given path or, if only one has it, name."""
    items = _dense_items(model)
    by_path = [item for item in items if "/".join(item.path) == layer]
    matches = by_path or [item for item in items if item.name == layer]
    if len(matches) == 1:
        return matches[0]
    if matches:
        msg = f"{model.path} has {len(matches)} layers {layer}; give a path: {_choices(matches)}."
        raise UnsupportedModelError(msg, code="no_such_layer")
    other = next((info for info in model.layers if layer in (info.name, info.path)), None)
    if other is not None:
        msg = (
            f"Layer {layer} of {model.path} is of class {other.class_name}; expected a Dense layer"
        )
    else:
        msg = f"{model.path} has no Dense layer {layer}"
    names = ["/".join(item.path) for item in items]
    near = difflib.get_close_matches(layer, names, n=3, cutoff=0.5) or names[:5]
    msg += f": use {' or '.join(near)}." if near else " and it has none at all."
    raise UnsupportedModelError(msg, code="no_such_layer")


def _head(model: ModelFile, tree: Container) -> Item:
    """Return the one Dense that ends the model, or say why there is not exactly one."""
    items, ends = _dense_items(model), tails(tree)
    for tail in ends:
        _check_blocks(model, tail)
    if not items:
        msg = (
            f"{model.path} has no Dense layer; lrcompress factorizes Dense layers only, "
            "so there is nothing to do: run inspect to see what it holds."
        )
        raise UnsupportedModelError(msg, code="no_dense")
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


def describe_dense(model: ModelFile, item: Item) -> DenseLayer:
    """Return a Dense with its arrays found and checked.

    Raises:
        UnsupportedModelError: If it is quantized, has LoRA, is shared, or its arrays are missing.
    """
    tree, entry = model.tree, dense_entry(item)
    if tree is None or entry is None:
        msg = f"Layer {item.name} of {model.path} is a {item.class_name}; expected a Dense layer."
        raise UnsupportedModelError(msg, code="no_such_layer")
    path, config = "/".join(item.path), as_dict(entry.get("config"))
    _refuse_special(model, item, config)
    index = model.weights.index
    paths = model.weights.of_layer.get(item.path, ())
    arrays = [index.arrays[p] for p in paths if p in index.arrays]
    use_bias = has_bias(config)
    kernel = arrays[0] if arrays else None
    bias = arrays[1] if use_bias and len(arrays) > 1 else None
    n = kernel.shape[1] if kernel is not None and len(kernel.shape) == 2 else 0
    fits = len(arrays) == 1 + use_bias and n > 0 and units(config) in (n, None)
    if kernel is None or not fits or (use_bias and (bias is None or bias.shape != (n,))):
        msg = (
            f"The weights of Dense layer {path} in {model.path} do not fit its architecture "
            f"(found {[list(a.shape) for a in arrays]}); save the model again."
        )
        raise UnsupportedModelError(msg, code="config")
    if kernel.dtype not in FLOATS:
        msg = (
            f"Dense layer {path} of {model.path} stores its kernel as {kernel.dtype}; "
            f"expected one of {', '.join(FLOATS)}: factorize the model before quantizing it."
        )
        raise UnsupportedModelError(msg, code="quantized")
    after = following(tree, item)
    dimensions = input_dimensions(item)
    return DenseLayer(
        name=item.name,
        path=path,
        kernel_shape=(kernel.shape[0], n),
        dtype=kernel.dtype,
        use_bias=use_bias,
        activation=activation_name(config.get("activation")),
        softmax=feeds_softmax(item, config.get("activation"), after),
        following=tuple(i.class_name for i in after),
        per_step=entry is not item.entry
        or entry.get("class_name") == "TimeDistributedDense"
        or (dimensions or 0) > 2,
        kernel=kernel,
        bias=bias,
    )


def _refuse_special(model: ModelFile, item: Item, config: dict[str, object]) -> None:
    """Refuse a Dense that Keras would not rebuild, or whose kernel is not all there is to it."""
    path, tree = "/".join(item.path), model.tree
    if not item.is_named or item not in layer_order(item.container):
        why = "leads to no output" if item.is_named else "has no name"
        msg = f"Dense layer {path} of {model.path} {why}; expected a layer in use: choose another."
        raise UnsupportedModelError(msg, code="config")
    if tree is not None and sum(other.path == item.path for other in tree.walk()) > 1:
        # Keras does not load such a model, and which of them is meant cannot be said.
        msg = (
            f"Dense layer {path} of {model.path} shares its name with another layer; expected names "
            "that differ: rename one in the model's own Keras and save it again."
        )
        raise UnsupportedModelError(msg, code="config")
    mode = quantization(config)
    if mode is not None:
        msg = (
            f"Dense layer {path} of {model.path} is quantized ({mode}); "
            "expected a float kernel: factorize the model before quantizing it."
        )
        raise UnsupportedModelError(msg, code="quantized")
    if config.get("lora_rank"):
        msg = (
            f"Dense layer {path} of {model.path} has LoRA enabled; expected a plain kernel: "
            "merge the adapters first (save the model after quantize or a weight merge)."
        )
        raise UnsupportedModelError(msg, code="lora")
    if tree is not None and is_shared(tree, item):
        msg = (
            f"Dense layer {path} of {model.path} is one object used in several nested models; "
            "expected it in one place: give the models their own layers, or choose with --layer."
        )
        raise UnsupportedModelError(msg, code="shared_dense")
