"""Tiny model files made by hand, byte for byte in the manner of the Keras version each imitates."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lrcompress.errors import LRCompressError
from lrcompress.modelfile import ModelFile, Replacement, Site, open_model, read_kernel

Json = dict[str, Any]
Arrays = Mapping[str, np.ndarray]


class Maker:
    """Writes small model files; every array is filled from one seeded generator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rng = np.random.default_rng(0)

    def array(self, *shape: int) -> np.ndarray:
        """Return random values: no two weights alike, so that a swap is seen."""
        return self.rng.normal(size=shape).astype("float32")

    def layer(self, class_name: str, name: str, **config: Any) -> Json:
        """Return a serialized layer."""
        return {"class_name": class_name, "config": {"name": name, "trainable": True, **config}}

    def dense(self, name: str, size: int, **config: Any) -> Json:
        """Return a serialized Dense of `size` units, unless the config says otherwise."""
        settings = {"units": size, "activation": "linear", "use_bias": True, "dtype": "float32"}
        return self.layer("Dense", name, **(settings | config))

    def input(self, name: str = "x", size: int = 6) -> Json:
        """Return a serialized input layer."""
        return self.layer("InputLayer", name, batch_shape=[None, size], dtype="float32")

    def sequential(self, *layers: Json, name: str = "model") -> Json:
        """Return a serialized Sequential model."""
        return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}

    def functional(
        self, links: Sequence[tuple[Json, Sequence[str]]], outputs: Sequence[str], **extra: Any
    ) -> Json:
        """Return a serialized functional model: each layer with the layers that feed it."""
        layers = []
        for entry, sources in links:
            nodes = [[[source, 0, 0, {}] for source in sources]] if sources else []
            layers.append({**entry, "name": entry["config"]["name"], "inbound_nodes": nodes})
        inputs = [[e["name"], 0, 0] for e in layers if e["class_name"] == "InputLayer"]
        config = {
            "name": "model",
            "layers": layers,
            "input_layers": inputs,
            "output_layers": [[name, 0, 0] for name in outputs],
        }
        return {"class_name": "Functional", "config": config | extra}

    def hdf5(
        self,
        config: Json,
        weights: Mapping[str, Arrays],
        *,
        name: str = "model.h5",
        optimizer: bool = False,
        **attributes: Any,
    ) -> Path:
        """Write an HDF5 model file; `weights` maps layer names to arrays by weight name."""
        path = self.folder / name
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = json.dumps(config)
            file.attrs["keras_version"] = b"2.4.0"
            for key, value in attributes.items():
                file.attrs[key] = value
            root = file.create_group("model_weights")
            root.attrs["layer_names"] = np.array([n.encode() for n in weights])
            for layer, arrays in weights.items():
                group = root.create_group(layer)
                group.attrs["weight_names"] = np.array([n.encode() for n in arrays])
                for key, value in arrays.items():
                    group[key] = value
            if optimizer:
                file["optimizer_weights/adam/m"] = self.array(50)
        return path

    def keras(
        self,
        config: Json,
        arrays: Arrays,
        *,
        name: str = "model.keras",
        names: Mapping[str, str] | None = None,
        metadata: Json | None = None,
        members: Mapping[str, bytes] | None = None,
        compression: int = zipfile.ZIP_STORED,
    ) -> Path:
        """Write a `.keras` archive; `names` gives the name attribute of groups."""
        path, weights = self.folder / name, self.folder / "weights.tmp"
        with h5py.File(weights, "w") as file:
            file.create_group("vars")
            for group, label in (names or {}).items():
                file.require_group(group).attrs["name"] = label
            for key, value in arrays.items():
                file[key] = value
        described = metadata or {"keras_version": "3.8.0", "date_saved": "2025-01-01@00:00:00"}
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("metadata.json", json.dumps(described))
            archive.writestr("config.json", json.dumps(config))
            archive.write(weights, "model.weights.h5")
            for member, content in (members or {}).items():
                archive.writestr(member, content)
        weights.unlink()
        return path

    def small_hdf5(self, **settings: Any) -> Path:
        """Write Dense(8, relu) -> Dense(5, softmax) as HDF5, layers named hidden and probs."""
        config = self.sequential(
            self.input(), self.dense("hidden", 8), self.dense("probs", 5, activation="softmax")
        )
        weights = {
            "hidden": self.pair("hidden/hidden", 6, 8),
            "probs": self.pair("probs/probs", 8, 5),
        }
        return self.hdf5(config, weights, **settings)

    def small_keras(self, **settings: Any) -> Path:
        """Write the same model as a `.keras` archive."""
        config = self.sequential(
            self.input(), self.dense("hidden", 8), self.dense("probs", 5, activation="softmax")
        )
        arrays = {
            "layers/dense/vars/0": self.array(6, 8),
            "layers/dense/vars/1": self.array(8),
            "layers/dense_1/vars/0": self.array(8, 5),
            "layers/dense_1/vars/1": self.array(5),
        }
        names = {"layers/dense/vars": "hidden", "layers/dense_1/vars": "probs"}
        return self.keras(config, arrays, names=names, **settings)

    def pair(self, stem: str, inputs: int, units: int) -> dict[str, np.ndarray]:
        """Return a Dense layer's arrays under the names of tf.keras."""
        return {f"{stem}/kernel:0": self.array(inputs, units), f"{stem}/bias:0": self.array(units)}


def refusal(path: Path) -> LRCompressError:
    """Return the error with which a file is refused: one printable line that names the file."""
    with pytest.raises(LRCompressError) as caught:
        open_model(path)
    assert str(caught.value).isprintable()
    assert path.name in str(caught.value)
    return caught.value


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """Return a maker of model files in a fresh folder."""
    return Maker(tmp_path)


@pytest.fixture
def chain(make: Maker) -> Callable[..., ModelFile]:
    """Return a function that opens Dense(5) named probs with layers before and after it."""

    def opened(*after: Any, before: Any = (), **config: Any) -> ModelFile:
        layers = (make.input(), *before, make.dense("probs", 5, **config), *after)
        weights = {"probs": make.pair("probs", 6, 5)}
        return open_model(make.hdf5(make.sequential(*layers), weights))

    return opened


@pytest.fixture
def halves() -> Callable[[ModelFile, Site], Replacement]:
    """Return a function that splits a layer exactly: its kernel times the identity."""

    def split(model: ModelFile, layer: Site) -> Replacement:
        kernel = read_kernel(model, layer).astype("float64")
        m, n = kernel.shape
        if m <= n:
            return Replacement(layer, np.eye(m), kernel)
        return Replacement(layer, kernel, np.eye(n))

    return split


@pytest.fixture(params=["hdf5", "keras"])
def small(request: pytest.FixtureRequest, make: Maker) -> ModelFile:
    """Return the two-layer model, in each format."""
    return open_model(make.small_hdf5() if request.param == "hdf5" else make.small_keras())


@pytest.fixture(scope="session")
def zoo() -> Path:
    """Return the folder of model files from the wild, or skip."""
    folder = os.environ.get("LRCOMPRESS_ZOO")
    if not folder:
        pytest.skip("LRCOMPRESS_ZOO does not name a folder of model files with an INDEX.tsv")
    return Path(folder)
