"""Sites are given factors, given other factors, or made one layer again, in a copy of their file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lrcompress.errors import RankError, UnsupportedModelError
from lrcompress.modelfile.container import kept_open
from lrcompress.modelfile.find import find_sites
from lrcompress.modelfile.model import ModelFile, Replacement, Site, Written
from lrcompress.modelfile.read import read_bias
from lrcompress.modelfile.rewrite.change import Edit, Edits
from lrcompress.modelfile.rewrite.layers import SUFFIX, split_remarks
from lrcompress.modelfile.rewrite.write import check_place, rewrite
from lrcompress.modelfile.untrusted import decoding

if TYPE_CHECKING:
    from lrcompress.modelfile.chains import Chain


def write_replaced(
    model: ModelFile, replacements: Sequence[Replacement], output: Path, *, overwrite: bool = False
) -> Written:
    """Write a copy of a model file in which each given site is two layers.

    Layer `name` with kernel (m, n) becomes `name_lowrank` (r units, no bias, linear) followed by
    `name` with kernel (r, n) and everything else as it was. A site that is two layers already
    stays these two with new kernels; a bias of its first layer is folded into the second's. All
    other weights are copied bit by bit; optimizer state is left out, its settings stay.
    """

    def change(edit: Edit) -> None:
        _check_sites(model, [replacement.layer for replacement in replacements])
        for replacement in replacements:
            _replace(model, edit, replacement)

    for replacement in replacements:
        _check_factors(replacement)
    # The width between two layers is another one.
    wider = any(replacement.layer.rank is not None for replacement in replacements)
    return _write(model, output, change, restated=wider, overwrite=overwrite)


def write_merged(
    model: ModelFile, chains: Sequence[Chain], output: Path, *, overwrite: bool = False
) -> Written:
    """Write a copy of a model file in which each given chain is one layer, under the last one's name."""

    def change(edit: Edit) -> None:
        for chain in chains:
            edit.join(chain)

    return _write(model, output, change, restated=False, overwrite=overwrite)


def write_changed(
    model: ModelFile, edits: Edits, output: Path, *, overwrite: bool = False
) -> Written:
    """Write a copy in which other stock layers stand for some, of which the last keeps name and calls."""

    def change(edit: Edit) -> None:
        for path, layers in edits.items():
            edit.change(path, layers)
            edit.changes.warnings += split_remarks(path, layers)

    return _write(model, output, change, restated=True, overwrite=overwrite)


def _write(
    model: ModelFile,
    output: Path,
    change: Callable[[Edit], None],
    *,
    restated: bool,
    overwrite: bool,
) -> Written:
    """Write a copy of a model file as `change` edits it; equal input gives equal bytes."""
    output = check_place(model, output, overwrite=overwrite)
    with kept_open(model.path):
        with decoding(model.path):
            edit = Edit(model)
            change(edit)
            edit.finish(restated=restated)
        return rewrite(model, edit.changes, output, overwrite=overwrite)


def _check_factors(replacement: Replacement) -> None:
    """Refuse factors whose shapes do not fit their site."""
    site, (m, n) = replacement.layer, replacement.layer.kernel_shape
    first, second = np.shape(replacement.first), np.shape(replacement.second)
    rank = first[1] if len(first) == 2 else 0
    if first != (m, rank) or second != (rank, n) or rank < 1:
        msg = (
            f"Factors of shapes {first} and {second} do not fit the kernel {(m, n)} "
            f"of layer {site.path}; expected ({m}, r) and (r, {n}) with r >= 1."
        )
        raise RankError(msg)
    if replacement.bias is not None and np.shape(replacement.bias) != (n,):
        shape = np.shape(replacement.bias)
        msg = f"Bias of shape {shape} for layer {site.path}; expected ({n},)."
        raise RankError(msg)


def _check_sites(model: ModelFile, sites: Sequence[Site]) -> None:
    """Refuse sites that are not the file's, or given twice."""
    seen: set[str] = set()
    found = find_sites(model, [site.path for site in sites])
    for site, there in zip(sites, found, strict=True):
        if there != site:
            msg = (
                f"Layer {site.path} was not read from {model.path}; "
                "expected one that find_head or find_sites gave for it."
            )
            raise UnsupportedModelError(msg, code="no_such_layer")
        if site.path in seen:
            msg = f"Layer {site.path} is to be replaced twice; expected once."
            raise RankError(msg)
        seen.add(site.path)


def _replace(model: ModelFile, edit: Edit, replacement: Replacement) -> None:
    site, bias = replacement.layer, replacement.bias
    left, right = np.asarray(replacement.first), np.asarray(replacement.second)
    if bias is None and site.rank is not None and site.layers[0].view.bias:
        bias = read_bias(model, site, "float64")  # b1 C + b2
    if site.rank is None:
        layer = site.layers[0]
        name = f"{layer.serialized.config.get('name', 'dense')}{SUFFIX}"
        made = site.kind.split(layer.view, layer.serialized, (left, right, bias), name)
        edit.changes.warnings += split_remarks(site.name, made)
        edit.change(site.path, made)
        return
    first, second = site.layers
    bare = dataclasses.replace(first.view, bias=0)
    arrays = site.kind.arrays(bare, left, None), site.kind.arrays(second.view, right, bias)
    for layer, values in zip(site.layers, arrays, strict=True):
        edit.change(layer.path, (site.kind.refit(layer.serialized, values),))
    edit.changes.first_names[site.path] = (first.name,)
