"""Tiny model files written by hand, and what hostile ones add to them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

_DENSE = {"units": 8, "activation": "linear", "use_bias": False, "trainable": True}

Json = dict[str, Any]


def dense(name: str, units: int = 8, **more: Any) -> Json:  # noqa: ANN401 - any JSON
    """Return a serialized Dense."""
    entry = {
        "class_name": "Dense",
        "name": name,
        "config": {**_DENSE, "name": name, "units": units},
    }
    return entry | more


def sequential(*layers: Json) -> Json:
    """Return a serialized model of eight inputs."""
    first = {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 8]}}
    return {"class_name": "Sequential", "config": {"name": "m", "layers": [first, *layers]}}


def functional(layers: list[Json], outputs: list[Any]) -> Json:
    """Return a serialized functional model of eight inputs."""
    first = {"class_name": "InputLayer", "name": "x", "inbound_nodes": []}
    first["config"] = {"name": "x", "batch_shape": [None, 8]}
    config = {"name": "m", "layers": [first, *layers], "input_layers": [["x", 0, 0]]}
    return {"class_name": "Functional", "config": config | {"output_layers": outputs}}


def hdf5(
    fill: Callable[[h5py.File], object] = lambda file: None, config: object = None,
    names: tuple[str, ...] = ("d",), **layout: Any,  # noqa: ANN401 - of h5py.File
) -> bytearray:  # fmt: skip
    """Return a model of some Dense and whatever `fill` adds, in some layout of HDF5."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **layout) as file:
        text = config if isinstance(config, str) else json.dumps(config or sequential(dense("d")))
        file.attrs["model_config"] = text
        file.attrs["keras_version"] = b"2.4.0"
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group = weights.create_group(name)
            group.attrs["weight_names"] = [f"{name}/kernel:0".encode()]
            group[f"{name}/kernel:0"] = np.random.default_rng(0).normal(size=(8, 8)).astype("f4")
        fill(file)
    return bytearray(buffer.getvalue())


def archive(
    path: Path, config: object = None, metadata: object = None,
    packing: int = zipfile.ZIP_DEFLATED, more: dict[str, bytes] | None = None,
    fill: Callable[[h5py.File], None] = lambda file: None,
) -> Path:  # fmt: skip
    """Write a `.keras` archive of one Dense."""
    path = path.with_suffix(".keras")
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = np.random.default_rng(0).normal(size=(8, 8)).astype("f4")
        fill(file)
    parts = {
        "metadata.json": metadata or {"keras_version": "3.8.0"},
        "config.json": config or sequential(dense("d")),
    }
    with zipfile.ZipFile(path, "w", packing) as made:
        for name, part in parts.items():
            made.writestr(name, part if isinstance(part, str) else json.dumps(part))
        made.writestr("model.weights.h5", weights.getvalue())
        for name, content in (more or {}).items():
            made.writestr(name, content)
    return path
