"""Where an HDF5 model file keeps the weights of each layer.

One group per outer layer, its attribute `weight_names` listing the arrays in order. Their paths
follow no rule over the years, so they are never derived. All weights inside a nested model stand
in one flat list, and are told apart by the layer names in their paths.
"""

from __future__ import annotations

from typing import Any

import h5py

from lrcompress.errors import printable
from lrcompress.kinds.terms import as_dict
from lrcompress.modelfile.graph import Container, Item, LayerPath
from lrcompress.modelfile.hdf5.arrays import Index, names
from lrcompress.modelfile.model import Weights

ROOT = "model_weights"
OPTIMIZER = "optimizer_weights"


def locate(tree: Container | None, index: Index, file: h5py.File) -> Weights:
    """Return where each layer's weights stand in an open HDF5 file; without a tree, the outer layers'."""
    if ROOT not in index.groups:
        return Weights(index, {}, problem=f"there is no group {ROOT}")
    root = file[ROOT]
    layer_names = tuple(names(root, "layer_names"))
    weight_names: dict[str, tuple[str, ...]] = {}
    of_layer: dict[LayerPath, tuple[str, ...]] = {}
    problems = []
    for layer in layer_names:
        if layer in weight_names:
            # Keras cannot write one group twice, and each reading costs time.
            problems.append(f"layer {layer} is listed twice")
            continue
        if canonical(layer) not in index.groups:
            problems.append(f"the weights of layer {layer} are missing")
            continue
        weight_names[layer] = tuple(names(root[layer], "weight_names"))
        of_layer[(layer,)] = paths = tuple(canonical(layer, w) for w in weight_names[layer])
        problems += [f"the array {path} is missing" for path in paths if path not in index.arrays]
    for item in tree.items if tree is not None else ():
        if item.inner is not None:
            of_layer.update(_inside(item, item.inner, weight_names.get(item.name, ())))
    problem = printable(problems[0]) if problems else None
    return Weights(
        index, of_layer, layer_names=layer_names, weight_names=weight_names, problem=problem
    )


def name_after_file(config: dict[str, Any], file: h5py.File) -> None:
    """Name the nested models that Keras up to 2.2.2 left unnamed, as the saved order of layers has them."""
    layers = config.get("config")
    if config.get("class_name") != "Sequential" or not isinstance(layers, list):
        return
    saved = names(file[ROOT], "layer_names") if ROOT in file else []
    if len(saved) == len(layers):
        for entry, name in zip(layers, saved, strict=True):
            if isinstance(entry, dict) and isinstance(entry.get("config"), list):
                entry.setdefault("name", name)  # beside the class no Keras version objects to it


def canonical(layer: str, weight: str = "") -> str:
    """Return the path of a layer's group or of one of its arrays, as HDF5 resolves it."""
    return "/".join(part for part in f"{ROOT}/{layer}/{weight}".split("/") if part)


def _inside(
    outer: Item, inner: Container, flat: tuple[str, ...]
) -> dict[LayerPath, tuple[str, ...]]:
    """Attribute the flat list of a nested model's weights to its layers by their names."""
    found: dict[LayerPath, list[str]] = {}
    leaves: dict[str, list[Item]] = {}
    for item in inner.walk():
        if item.inner is None:
            for name in {item.name, _wrapped_name(item)} - {None}:
                leaves.setdefault(str(name), []).append(item)
    for weight in flat:
        owner = _owner(weight.split("/"), leaves)
        if owner is not None:
            # A nested model counts the weights of all layers below it.
            for depth in range(2, len(owner.path) + 1):
                found.setdefault(owner.path[:depth], []).append(canonical(outer.name, weight))
    return {path: tuple(weights) for path, weights in found.items()}


def _wrapped_name(item: Item) -> str | None:
    """Return the name of the layer inside a wrapper, by which older Keras names its weights."""
    name = as_dict(as_dict(item.config.get("layer")).get("config")).get("name")
    return name if isinstance(name, str) else None


def _owner(parts: list[str], leaves: dict[str, list[Item]]) -> Item | None:
    """Return the layer that the innermost part of a path names, None where that does not decide."""
    for part in reversed(parts):
        candidates = leaves.get(part, [])
        if len(candidates) > 1:
            around = [len(set(c.path[:-1]) & set(parts)) for c in candidates]
            candidates = [c for c, n in zip(candidates, around, strict=True) if n == max(around)]
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            return None
    # Theano wrote `dense_1_W`.
    stem = parts[-1].removesuffix(":0").rsplit("_", 1)[0]
    owners = leaves.get(stem, [])
    return owners[0] if len(owners) == 1 else None
