"""The sites of a model and the one that is its head, or in one sentence why a layer is none."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lrcompress.errors import UnsupportedModelError, did_you_mean
from lrcompress.kinds import NAMES, PER_STEP, is_wrapped, serialized
from lrcompress.kinds.protocol import Refusal
from lrcompress.modelfile.end import choices, ends_in, following, kind_items, tree_of
from lrcompress.modelfile.graph import Container, Item, input_dimensions
from lrcompress.modelfile.model import ModelFile, Site, SiteLayer
from lrcompress.modelfile.order import feeder, leads_to_output
from lrcompress.modelfile.untrusted import decoding

FLOATS = ("float32", "float16", "bfloat16", "float64")


def find_head(model: ModelFile, layer: str | None = None) -> Site:
    """Return the site that ends a model, or that of a layer's name or path; either of two that are one matrix."""
    return find_sites(model, [layer])[0]


def find_sites(model: ModelFile, layers: Sequence[str | None]) -> list[Site]:
    """Return the sites of layers of some names or paths, as `find_head` does each of them."""
    with decoding(model.path):
        tree_of(model)
        items = kind_items(model)
        by_name: dict[str, list[Item]] = {}
        for item in items:
            for name in {item.name, "/".join(item.path)}:
                by_name.setdefault(name, []).append(item)
        found: list[Site] = []
        for layer in layers:
            if layer is None and model.end.error is not None:
                raise model.end.error
            named = None if layer is None else _named(model, layer, items, by_name)
            sites = model.found[model.end.heads[0] if named is None else named]
            if isinstance(sites, UnsupportedModelError):
                raise sites
            found += sites
        return found


def head_paths(model: ModelFile) -> list[str]:
    """Return the paths of the sites that end a model, one an output; none where one does not."""
    try:
        return [find_head(model).path]
    except UnsupportedModelError as error:
        several = error.code == "several_heads" and model.tree is not None
        return list(model.end.heads) if several else []


def _named(model: ModelFile, layer: str, items: list[Item], by_name: dict[str, list[Item]]) -> str:
    """Return the path of the layer of a given path or, if only one has it, name."""
    called = by_name.get(layer, [])
    matches = [item for item in called if "/".join(item.path) == layer] or called
    if len(matches) == 1:
        return "/".join(matches[0].path)
    if matches:
        msg = f"{model.path} has {len(matches)} layers {layer}; give a path: {choices(matches)}."
        raise UnsupportedModelError(msg, code="no_such_layer")
    other = next((info for info in model.layers if layer in (info.name, info.path)), None)
    if other is not None:
        msg = (
            f"Layer {layer} of {model.path} is of class {other.class_name}; "
            f"expected a {NAMES} layer"
        )
    else:
        msg = f"{model.path} has no {NAMES} layer {layer}"
    if not items:
        msg += ", and it has none at all."
    else:
        paths = ["/".join(item.path) for item in items]
        near = did_you_mean(layer, paths, most=3)
        msg += f".{near}" if near else f": use {' or '.join(paths[:5])}."
    raise UnsupportedModelError(msg, code="no_such_layer")


def describe_sites(model: ModelFile) -> dict[str, tuple[Site, ...] | UnsupportedModelError]:
    """Return the sites in which every layer of a known kind is, by path, or why it cannot be factorized."""
    found: dict[Item, tuple[Site, ...] | UnsupportedModelError] = {}
    with decoding(model.path):
        for item in kind_items(model):
            try:
                found[item] = _describe(model, item)
            except UnsupportedModelError as error:
                found[item] = error
        usable = ((i, s) for i, s in found.items() if not isinstance(s, UnsupportedModelError))
        alone = {item: sites[0] for item, sites in usable if len(sites) == 1}
        for second, (first, whole) in _joined(alone).items():
            found[first] = found[second] = (whole,)
    return {"/".join(item.path): sites for item, sites in found.items()}


def _describe(model: ModelFile, item: Item) -> tuple[Site, ...]:
    """Return the sites of a layer by itself, with its arrays found and checked."""
    tree, kind, path = tree_of(model), item.kind, "/".join(item.path)
    if kind is None:
        raise AssertionError  # it is one of `kind_items`
    layer = serialized(item.entry, model.weights.arrays(item.path))
    why = why_fixed(tree, item)
    if why is None or why.code == "shared_dense":
        why = kind.refuse(layer) or why
    if why is not None:
        msg = f"{kind.name} layer {path} of {model.path} {why.why}"
        raise UnsupportedModelError(msg, code=why.code)
    views = kind.views(layer)
    if not views:
        msg = (
            f"The weights of {kind.name} layer {path} in {model.path} do not fit its architecture "
            f"(found {[list(a.shape) for a in layer.arrays]}); save the model again."
        )
        raise UnsupportedModelError(msg, code="config")
    dtype = str(layer.arrays[0].dtype)
    if dtype not in FLOATS:
        what = f"{dtype}; expected one of {', '.join(FLOATS)}: factorize the model before quantizing it."
        if dtype.startswith("void"):
            what = (
                "raw bytes without a type, as Keras writes bfloat16 to HDF5; "
                "expected an attribute dtype that says bfloat16: save the model as .keras."
            )
        msg = f"{kind.name} layer {path} of {model.path} stores its kernel as {what}"
        raise UnsupportedModelError(msg, code="quantized")
    after = following(tree, item)
    activation, keeps_order = ends_in(item, after)
    per_step = is_wrapped(item.entry) or layer.class_name in PER_STEP
    per_step = per_step or (input_dimensions(item) or 0) > 2
    return tuple(
        Site(
            name=item.name,
            path=path,
            kernel_shape=view.shape,
            dtype=dtype,
            use_bias=view.bias > 0,
            activation=activation,
            keeps_order=keeps_order,
            following=tuple(i.class_name for i in after),
            per_step=per_step,
            layers=(SiteLayer(item.name, path, view, layer),),
            kind=kind,
            part=view.part,
        )
        for view in views
    )


def why_fixed(tree: Container, item: Item) -> Refusal | None:
    """Return why no layer in this place, of whatever kind, can be changed."""
    identity = item.entry.get("shared_object_id")
    if not item.is_named or not leads_to_output(item):
        why = "leads to no output" if item.is_named else "has no name"
        return Refusal("config", f"{why}; expected a layer in use: choose another.")
    if tree.paths[item.path] > 1:
        # Keras does not load such a model, and which of them is meant cannot be said.
        return Refusal("config", (
            "shares its name with another layer; expected names "
            "that differ: rename one in the model's own Keras and save it again."
        ))  # fmt: skip
    if isinstance(identity, int) and tree.identities[identity] > 1:
        return Refusal("shared_dense", (
            "is one object used in several nested models; "
            "expected it in one place: give the models their own layers, or choose with --layer."
        ))  # fmt: skip
    return None


def _joined(alone: dict[Item, Site]) -> dict[Item, tuple[Item, Site]]:
    """Return, by the second of two layers that are one matrix, the first and the site that they are."""
    before: dict[Item, tuple[Item, Site]] = {}
    for item in alone:
        first = feeder(item)
        if first is None or first not in alone or first.class_name != item.class_name:
            continue
        calls = (*item.calls, *first.calls)
        whole = _join(alone[first], alone[item]) if len(calls) == 2 else None
        if whole is not None and all(len(call) <= 1 for call in calls):
            before[item] = first, whole
    # Of three or more in a row the last two are one, then the two before them: no layer is in two sites.
    firsts = {first for first, _ in before.values()}
    found = {}
    for last in before:
        second = last if last not in firsts else None
        while second is not None and second in before:
            found[second] = before[second]
            second = before[second][0]
            second = before[second][0] if second in before else None
    return found


def _join(first: Site, second: Site) -> Site | None:
    """Return the site that two layers in a row are, described under the second's name; or None."""
    layers = (*first.layers, *second.layers)
    if first.kind is not second.kind or first.dtype != second.dtype:
        return None
    view = second.kind.join(tuple(layer.serialized for layer in layers))
    if view is None:
        return None
    return dataclasses.replace(
        second,
        kernel_shape=view.shape,
        use_bias=view.bias > 0,
        per_step=first.per_step or second.per_step,
        layers=layers,
    )
