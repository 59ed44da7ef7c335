"""What several test files of this room ask of a model file."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lrcompress.errors import UnsupportedModelError
from lrcompress.modelfile import ModelFile, Replacement, Site, find_head


def factors(layer: Site, rank: int = 2, seed: int = 1) -> Replacement:
    """Return two random factors for a layer."""
    rng, (m, n) = np.random.default_rng(seed), layer.kernel_shape
    return Replacement(layer, rng.normal(size=(m, rank)), rng.normal(size=(rank, n)))


def each_alone(site: Site) -> tuple[Site, ...]:
    """Return the layers of a site, each as a site of its own."""
    return tuple(
        replace(
            site,
            name=layer.name,
            path=layer.path,
            kernel_shape=layer.view.shape,
            use_bias=layer.view.bias > 0,
            activation=site.activation if layer is site.layers[-1] else "linear",
            layers=(layer,),
        )
        for layer in site.layers
    )


def refusal(model: ModelFile, layer: Any = None) -> UnsupportedModelError:
    """Return the error with which a head is refused."""
    with pytest.raises(UnsupportedModelError) as caught:
        find_head(model, layer)
    assert "\n" not in str(caught.value)
    return caught.value


def stored(path: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Return every array of a model file and, of HDF5, every list of names, read with h5py alone."""
    arrays: dict[str, np.ndarray] = {}
    lists: dict[str, list[str]] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]
        for key in ("layer_names", "weight_names"):
            if key in item.attrs:
                lists[f"{name}:{key}"] = [n.decode() for n in item.attrs[key]]

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member:
            h5py.File(member).visititems(visit)
    else:
        with h5py.File(path) as file:
            file.visititems(visit)
    return arrays, lists
