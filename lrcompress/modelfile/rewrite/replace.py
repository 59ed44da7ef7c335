"""Write a new model file in which Dense layers are split, split otherwise, or made one again."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrcompress.errors import RankError, UnsupportedModelError
from lrcompress.kinds.products import folded_bias, product
from lrcompress.modelfile.find import find_sites
from lrcompress.modelfile.graph import Container, Item, build, unused_name
from lrcompress.modelfile.model import ModelFile, Replacement, Site, Written
from lrcompress.modelfile.read import changed, read_bias, read_kernel
from lrcompress.modelfile.rewrite import joining
from lrcompress.modelfile.rewrite.changes import Changes
from lrcompress.modelfile.rewrite.factors import rounded, stored_factors
from lrcompress.modelfile.rewrite.plan import NewArray
from lrcompress.modelfile.rewrite.rewriting import check_place, rewrite
from lrcompress.modelfile.rewrite.splitting import SUFFIX, put_before, remarks, split, take_out
from lrcompress.modelfile.untrusted import decoding


def write_replaced(
    model: ModelFile, replacements: Sequence[Replacement], output: Path, *, overwrite: bool = False
) -> Written:
    """Write a copy of a model file in which each given Dense layer is two.

    Layer `name` with kernel (m, n) becomes `name_lowrank` (r units, no bias, linear) followed by
    `name` with kernel (r, n) and everything else as it was. A pair, which is two layers already,
    stays these two with new kernels; a bias of its first layer is folded into the second's. All
    other weights are copied bit by bit; optimizer state is left out, its settings stay. The file is
    read back and compared before it takes its place. Equal input gives equal bytes.

    Args:
        model: The file to start from; it is not touched.
        replacements: What to replace; each layer once.
        output: Where to write. The format is that of `model`.
        overwrite: Whether an existing `output` may be replaced.

    Returns:
        What was written.

    Raises:
        RankError: If factors do not fit a layer's kernel or each other.
        KernelError: If a factor is not finite, or no longer is in the stored type.
        OutputError: If the output cannot be written.
        ModelFileError: If the input cannot be read or has changed since `model` was read.
        UnsupportedModelError: If a layer is not one of the file, or its place is not certain.
        VerificationError: If the written file is not what was meant; it is then not put in place.
    """
    output = check_place(model, output, overwrite=overwrite)
    arrays = [_arrays(model, replacement) for replacement in replacements]
    layers = [replacement.layer for replacement in replacements]
    with decoding(model.path):
        changes = _replace(model, replacements, arrays)
    names = {"/".join(old): first[-1] for old, first in changes.firsts.items()}
    names |= {layer.path: layer.first.name for layer in layers if layer.first is not None}
    return rewrite(model, changes, output, names, overwrite=overwrite)


def write_merged(
    model: ModelFile, layers: Sequence[Site], output: Path, *, overwrite: bool = False
) -> Written:
    """Write a copy of a model file in which each given pair of Dense layers is one again.

    The second layer keeps its name and everything it had; its kernel becomes B C, computed in
    float64, its bias b1 C + b2 where the first layer has one. All other weights are copied bit by
    bit; optimizer state, checks and bytes are as with `write_replaced`.

    Args:
        model: The file to start from; it is not touched.
        layers: Pairs, as found in it; each once.
        output: Where to write. The format is that of `model`.
        overwrite: Whether an existing `output` may be replaced.

    Returns:
        What was written.

    Raises:
        KernelError: If B C is not finite, or not in the stored type.
        OutputError: If the output cannot be written.
        ModelFileError: If the input cannot be read or has changed since `model` was read.
        UnsupportedModelError: If a layer is no pair of the file (code ``not_split``), or its
            place is not certain.
        VerificationError: If the written file is not what was meant; it is then not put in place.
    """
    output = check_place(model, output, overwrite=overwrite)
    with decoding(model.path):
        changes = _merge(model, layers)
    names = {layer.path: layer.first.name for layer in layers if layer.first is not None}
    return rewrite(model, changes, output, names, overwrite=overwrite)


def _replace(
    model: ModelFile, replacements: Sequence[Replacement], arrays: Sequence[dict[str, NewArray]]
) -> Changes:
    """Return what becomes of a model in which Dense layers get other factors."""
    changes, tree = _start(model, [replacement.layer for replacement in replacements])
    items = {"/".join(item.path): item for item in tree.walk()}
    taken = {item.name for item in tree.walk()}
    new_entries: list[tuple[Item, dict[str, Any]]] = []
    for replacement, given in zip(replacements, arrays, strict=True):
        layer = replacement.layer
        item, rank = items[layer.path], int(np.shape(replacement.first)[1])
        has_bias = layer.use_bias or "bias" in given
        changes.values[item.path, 0] = given["second"]
        if "bias" in given:
            changes.values[item.path, 1] = given["bias"]
        if layer.first is None:
            path = (*item.path[:-1], unused_name(item.name + SUFFIX, taken))
            taken.add(path[-1])
            changes.warnings += remarks(item)
            new_entries.append((item, split(item, path[-1], rank, bias=has_bias)))
            changes.firsts[item.path], changes.kernels[path] = path, given["first"]
            continue
        first = items[layer.first.path]
        joining.narrow(first, item, rank, bias=has_bias)
        changes.values[first.path, 0] = given["first"]
        if layer.first.use_bias:
            changes.values[first.path, 1] = None
    put_before(new_entries)
    return changes


def _merge(model: ModelFile, layers: Sequence[Site]) -> Changes:
    """Return what becomes of a model in which pairs are made one."""
    changes, tree = _start(model, layers)
    items = {"/".join(item.path): item for item in tree.walk()}
    gone: list[Item] = []
    for layer in layers:
        if layer.first is None:
            msg = (
                f"Layer {layer.path} of {model.path} is one Dense; expected two in a row with "
                "nothing between: there is nothing to merge."
            )
            raise UnsupportedModelError(msg, code="not_split")
        first, second = items[layer.first.path], items[layer.path]
        changes.warnings += joining.remarks(first, second)
        joining.merge(first, second, layer.kernel_shape[0], bias=layer.use_bias)
        gone.append(first)
        changes.gone.add(first.path)
        changes.values[second.path, 0] = _product(model, layer, layer.first)
        bias = _folded(model, layer)
        if bias is not None:
            changes.values[second.path, 1] = bias
    take_out(gone)
    return changes


def _arrays(model: ModelFile, replacement: Replacement) -> dict[str, NewArray]:
    """Return the arrays of one replacement, the bias folded where it does not give one."""
    found = stored_factors(model, replacement)
    bias = _folded(model, replacement.layer) if replacement.bias is None else None
    return found if bias is None else {**found, "bias": bias}


def _product(model: ModelFile, layer: Site, first: Site) -> NewArray:
    """Return B C in the stored type."""
    wide = "float32" if layer.dtype == "bfloat16" else layer.dtype
    made = product(read_kernel(model, first), read_kernel(model, layer.second), wide)
    return rounded(model, layer, "merged kernel", made)


def _folded(model: ModelFile, layer: Site) -> NewArray | None:
    """Return b1 C + b2 in the stored type, None where the first of two layers has no bias."""
    if layer.first is None or not layer.first.use_bias:
        return None
    second = layer.second
    made = folded_bias(
        read_bias(model, layer.first), read_kernel(model, second), read_bias(model, second),
        "float64",
    )  # fmt: skip
    return None if made is None else rounded(model, layer, "merged bias", made)


def _start(model: ModelFile, layers: Sequence[Site]) -> tuple[Changes, Container]:
    """Return an architecture to edit, also as a tree, having checked the layers to be changed."""
    changes = Changes(copy.deepcopy(model.config))
    tree = build(changes.config)
    if tree is None:
        raise changed(model.path)
    seen: set[str] = set()
    for layer, found in zip(layers, find_sites(model, [e.path for e in layers]), strict=True):
        if found != layer:
            msg = (
                f"Layer {layer.path} was not read from {model.path}; "
                "expected one that find_head or find_sites gave for it."
            )
            raise UnsupportedModelError(msg, code="no_such_layer")
        if layer.path in seen:
            msg = f"Layer {layer.path} is to be replaced twice; expected once."
            raise RankError(msg)
        seen.add(layer.path)
    return changes, tree
