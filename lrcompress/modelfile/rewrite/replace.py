"""Sites are given factors, given other factors, or made one layer again, in a copy of their file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import KernelError, RankError, UnsupportedModelError
from lrcompress.kinds import Halves, Serialized
from lrcompress.modelfile.container import kept_open
from lrcompress.modelfile.find import find_sites
from lrcompress.modelfile.graph import unused_name
from lrcompress.modelfile.hdf5 import cast
from lrcompress.modelfile.model import ModelFile, Replacement, Site, SiteLayer, Written
from lrcompress.modelfile.read import read_bias, read_kernel
from lrcompress.modelfile.rewrite.layers import SUFFIX, Draft, merge_remarks, split_remarks
from lrcompress.modelfile.rewrite.plan import Changes, NewArray
from lrcompress.modelfile.rewrite.write import check_place, rewrite
from lrcompress.modelfile.untrusted import decoding


def write_replaced(
    model: ModelFile, replacements: Sequence[Replacement], output: Path, *, overwrite: bool = False
) -> Written:
    """Write a copy of a model file in which each given site is two layers.

    Layer `name` with kernel (m, n) becomes `name_lowrank` (r units, no bias, linear) followed by
    `name` with kernel (r, n) and everything else as it was. A site that is two layers already
    stays these two with new kernels; a bias of its first layer is folded into the second's. All
    other weights are copied bit by bit; optimizer state is left out, its settings stay. The file is
    read back and compared before it takes its place. Equal input gives equal bytes.

    Args:
        model: The file to start from; it is not touched.
        replacements: What to replace; each site once.
        output: Where to write. The format is that of `model`.
        overwrite: Whether an existing `output` may be replaced.

    Raises:
        RankError: If factors do not fit a layer's kernel or each other.
        KernelError: If a factor is not finite, or no longer is in the stored type.
        OutputError: If the output cannot be written.
        ModelFileError: If the input cannot be read or has changed since `model` was read.
        UnsupportedModelError: If a site is not one of the file, or its place is not certain.
        VerificationError: If the written file is not what was meant; it is then not put in place.
    """
    output = check_place(model, output, overwrite=overwrite)
    for replacement in replacements:
        _check_factors(replacement)
    with kept_open(model.path):
        with decoding(model.path):
            edit = _Edit(model, [replacement.layer for replacement in replacements])
            for replacement in replacements:
                edit.replace(replacement)
            changes = edit.finish()
        return rewrite(model, changes, output, edit.first_names, overwrite=overwrite)


def write_merged(
    model: ModelFile, layers: Sequence[Site], output: Path, *, overwrite: bool = False
) -> Written:
    """Write a copy of a model file in which each given site, two layers, is one again.

    The second layer keeps its name and everything it had; its kernel becomes B C, computed in
    float64, its bias b1 C + b2 where the first layer has one. All other weights are copied bit by
    bit; optimizer state, checks and bytes are as with `write_replaced`.

    Raises:
        UnsupportedModelError: If a site is no two layers of the file (code ``not_split``).
        KernelError: If B C is not finite, or not in the stored type; others as `write_replaced`.
    """
    output = check_place(model, output, overwrite=overwrite)
    with kept_open(model.path):
        with decoding(model.path):
            edit = _Edit(model, layers)
            for site in layers:
                edit.merge(site)
            changes = edit.finish()
        return rewrite(model, changes, output, edit.first_names, overwrite=overwrite)


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


class _Edit:
    """Edits a copy of a model's architecture, and keeps what becomes of its weights.

    Attributes:
        first_names: Name of the first of two layers by path of the second.
    """

    def __init__(self, model: ModelFile, sites: Sequence[Site]) -> None:
        """Check the sites that are to be changed."""
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
        items = list(model.tree.walk()) if model.tree is not None else []
        self._model = model
        self._items = {"/".join(item.path): item for item in items}
        self._taken = {item.name for item in items}
        self._draft = Draft(model.config)
        self._changes = Changes(self._draft.config)
        self.first_names: dict[str, str] = {}

    def finish(self) -> Changes:
        """Return the new architecture and what becomes of the weights."""
        self._draft.finish()
        return self._changes

    def replace(self, replacement: Replacement) -> None:
        """Give a site two factors."""
        site = replacement.layer
        halves = (np.asarray(replacement.first), np.asarray(replacement.second))
        bias, called = replacement.bias, ("second", "bias")
        if bias is None:
            bias, called = self._folded(site), ("second", "merged bias")
        if site.first is None:
            self._split(site, (*halves, None if bias is None else np.asarray(bias)), called)
            return
        first, second = site.layers
        bare = dataclasses.replace(first.view, bias=0)
        self._refit(site, first, site.kind.arrays(bare, halves[0], None), ("first",))
        self._refit(site, second, site.kind.arrays(second.view, halves[1], bias), called)
        self._draft.feed(self._items[second.path], first.name, halves[0].shape[1])
        self.first_names[site.path] = first.name

    def merge(self, site: Site) -> None:
        """Make a site of two layers one."""
        if site.first is None:
            msg = (
                f"Layer {site.path} of {self._model.path} is one {site.kind.name}; expected two in a "
                "row with nothing between: there is nothing to merge."
            )
            raise UnsupportedModelError(msg, code="not_split")
        first, second = (self._items[layer.path] for layer in site.layers)
        last = site.layers[-1]
        # Rounded once, to what is stored; bfloat16 is made of float32.
        dtype = "float32" if site.dtype == "bfloat16" else site.dtype
        kernel = read_kernel(self._model, site, dtype)
        arrays = site.kind.arrays(last.view, kernel, self._folded(site))
        self._changes.warnings += merge_remarks(first, second)
        self._refit(site, last, arrays, ("merged kernel", "merged bias"))
        self._draft.take_over(first, second, site.kernel_shape[0])
        self._changes.gone.add(first.path)
        self.first_names[site.path] = first.name

    def _split(self, site: Site, halves: Halves, called: tuple[str, ...]) -> None:
        """Put new layers before the one that a site is."""
        (layer,), item = site.layers, self._items[site.path]
        wrapped = f"{layer.serialized.config.get('name', 'dense')}{SUFFIX}"
        *firsts, last = site.kind.split(layer.view, layer.serialized, halves, wrapped)
        self._changes.warnings += split_remarks(site.name, layer.serialized)
        before, width, paths = "", 0, []
        for new in firsts:
            name = unused_name(item.name + SUFFIX, self._taken)
            self._taken.add(name)
            self._draft.put_before(item, new, name, before, width)
            before, width = name, new.arrays[0].shape[-1]
            paths.append((*item.path[:-1], name))
            arrays = [self._rounded(site, "first", values) for values in new.arrays]
            self._changes.arrays[paths[-1]] = tuple(arrays)
        self._changes.firsts[item.path] = tuple(paths)
        self._settle(site, layer, last, called)
        self._draft.feed(item, before, width)
        self.first_names[site.path] = paths[0][-1]

    def _refit(
        self,
        site: Site,
        layer: SiteLayer,
        arrays: tuple[NDArray[Any] | None, ...],
        called: tuple[str, ...],
    ) -> None:
        """Give a layer other arrays; None keeps the one that is stored there."""
        self._settle(site, layer, site.kind.refit(layer.serialized, arrays), called)

    def _settle(
        self, site: Site, layer: SiteLayer, new: Serialized, called: tuple[str, ...]
    ) -> None:
        """Keep the new config of a layer and its new arrays, called so in messages."""
        item = self._items[layer.path]
        self._draft.settle(item, new)
        for number, values in enumerate(new.arrays):
            if values is not None:
                array = self._rounded(site, called[number], values)
                self._changes.values[item.path, number] = array
        for number in range(len(new.arrays), len(layer.stored)):
            self._changes.values[item.path, number] = None

    def _folded(self, site: Site) -> NDArray[Any] | None:
        """Return b1 C + b2, None where the first of two layers has no bias."""
        if site.first is None or not site.first.use_bias:
            return None
        return read_bias(self._model, site, "float64")

    def _rounded(self, site: Site, name: str, values: NDArray[Any]) -> NewArray:
        """Return new values in the type that a layer stores.

        Raises:
            KernelError: If a value is not finite, or no longer is in the stored type.
        """
        kept = cast(values, site.dtype)
        if not (np.isfinite(values).all() and _finite(kept)):
            msg = (
                f"The {name} array for layer {site.path} of {self._model.path} holds NaN or infinity, "
                f"or overflows {site.dtype}; expected finite values."
            )
            raise KernelError(msg)
        return NewArray(kept, site.dtype)


def _finite(kept: NDArray[Any]) -> bool:
    """Return whether values in stored form are finite."""
    if kept.dtype.kind == "V":  # bfloat16, whose exponent is all ones otherwise
        return not bool(((kept.view(np.uint16) & 0x7F80) == 0x7F80).any())
    return bool(np.isfinite(kept).all())
