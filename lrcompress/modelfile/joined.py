"""Weights in a file of their own, and the architecture as JSON, as one whole model file.

`save_weights` of Keras 1 and 2 lists layers by name: with the architecture that is an HDF5 model. Keras 2.12
and newer names groups by class and number: that is the weights file of a `.keras` archive.
"""

from __future__ import annotations

import filecmp
import json
import shutil
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py

from lrcompress.errors import ModelFileError, UnsupportedModelError, in_place_of
from lrcompress.files import check_output, names, replacing
from lrcompress.modelfile import legacy
from lrcompress.modelfile.container import CONFIG, METADATA, WEIGHTS, open_hdf5
from lrcompress.modelfile.hdf5.index import read_index
from lrcompress.modelfile.hdf5.space import ReadWindow
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.order import PREFIXES
from lrcompress.modelfile.read import open_model
from lrcompress.modelfile.rewrite.write import EPOCH, write_hdf5
from lrcompress.modelfile.untrusted import (
    MAX_CONFIG_BYTES,
    decoding,
    dump_json,
    parse_json,
    sniffed,
)

_EXPECTED = "expected what model.to_json() returns, saved as a text file"


def whole_file(
    weights: Path, architecture: Path, folder: Path = Path(), *, overwrite: bool = False
) -> Path:
    """Write ``<stem>-whole.h5`` or ``.keras`` into a folder, unless it is there already, and return its path."""
    text, config = _read_architecture(architecture)
    with ExitStack() as stack:
        kind, raw = stack.enter_context(sniffed(weights))
        if kind != "hdf5":
            msg = f"{weights} is a .keras archive; --architecture goes with HDF5 files of weights alone: leave it out."
            raise ModelFileError(msg, code="not_weights")
        with decoding(weights):
            index = read_index(ReadWindow(raw, 0, weights.stat().st_size), weights)
        source = stack.enter_context(open_hdf5(weights, weights))
        if "model_config" in source.attrs:
            msg = f"{weights} is a whole model, with an architecture of its own; leave --architecture out."
            raise ModelFileError(msg, code="not_weights")
        is_new = any(root in index.groups for root in PREFIXES)
        if not is_new and not any(key.startswith("layer_names") for key in source.attrs):
            msg = f"{weights} is HDF5 but holds no weights of Keras; expected what model.save_weights() writes."
            raise ModelFileError(msg, code="not_keras")
        stem = weights.name.removesuffix(weights.suffix).removesuffix(".weights")
        output = folder / f"{stem}{names.WHOLE}{'.keras' if is_new else '.h5'}"
        check_output(output, inputs=(weights, architecture), overwrite=True)
        with replacing(output, overwrite=True, like=weights) as made:
            if is_new:
                _write_archive(made, text, config, weights)
            else:
                _write_hdf5(made, text, config, source, weights)
            with in_place_of(made, weights):
                _check(open_model(made), weights, architecture)
            if not output.exists() or not filecmp.cmp(made, output, shallow=False):
                check_output(output, overwrite=overwrite)
    return output


def _read_architecture(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        if path.exists() and not path.is_file():
            msg = f"{path} is not a regular file; {_EXPECTED}."
            raise ModelFileError(msg, code="config")
        if path.stat().st_size > MAX_CONFIG_BYTES:
            msg = f"{path} has {path.stat().st_size:,} bytes, more than any architecture; {_EXPECTED}."
            raise ModelFileError(msg, code="hostile")
        with decoding(path):
            text = path.read_bytes().decode()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror or error}); {_EXPECTED}."
        raise ModelFileError(msg, code="missing") from error
    found = parse_json(text, path, "text")
    if not isinstance(found.get("class_name"), str) or "config" not in found:
        msg = f"{path} is not an architecture; {_EXPECTED}."
        raise ModelFileError(msg, code="config")
    return text, found


def _write_hdf5(
    path: Path, text: str, config: dict[str, Any], source: h5py.File, weights: Path
) -> None:
    """Write an HDF5 model: the architecture, and all that the file of weights holds as one group of it."""

    def fill(target: h5py.File, check: Callable[[], None]) -> None:
        target.attrs["model_config"] = text
        root = target.create_group(legacy.ROOT)
        for name, value in source.attrs.items():
            root.attrs[name] = value
        for key in ("keras_version", "backend"):
            if isinstance(config.get(key), str):
                target.attrs[key] = config[key]
        for name in source:
            source.copy(name, root, name=name)
            check()

    with path.open("r+b", buffering=0) as file:
        write_hdf5(file, weights, fill)


def _write_archive(path: Path, text: str, config: dict[str, Any], weights: Path) -> None:
    """Write a `.keras` archive, whose weights are the file as it is."""
    version = config.get("keras_version")
    metadata = {"keras_version": version} if isinstance(version, str) else {}
    if "module" not in config:
        text = dump_json(_as_archived(config))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, said in ((METADATA, json.dumps(metadata)), (CONFIG, text)):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), said)
        entry = zipfile.ZipInfo(WEIGHTS, EPOCH)
        entry.file_size = weights.stat().st_size
        with weights.open("rb") as given, archive.open(entry, "w") as member:
            shutil.copyfileobj(given, member, 2**20)


def _as_archived(config: dict[str, Any]) -> dict[str, Any]:
    """Return an architecture as archives of Keras 2.12 to 2.15 have it: they say where its class is from."""
    is_first = str(config.get("keras_version", "")).startswith("2.12.")
    home = "keras.engine" if is_first else "keras.src.engine"
    module = f"{home}.functional" if config["class_name"] == "Functional" else "keras"
    kept = {key: config[key] for key in ("class_name", "config")}
    return {"module": module, **kept, "registered_name": config["class_name"]}


def _check(model: ModelFile, weights: Path, architecture: Path) -> None:
    """Refuse weights that belong to another architecture."""
    problem = model.weights.problem
    known = {"/".join(path): model.weights.arrays(path) for path in model.weights.of_layer}
    for layer in model.layers:
        shapes = [array.shape for array in known.get(layer.path, ())]
        if problem is None and layer.units and not _may_have(shapes, layer.units):
            found = f"arrays of shape {', '.join(map(str, shapes))}" if shapes else "none"
            problem = f"layer {layer.path} has {layer.units} outputs, and of its weights there are {found}"
    if problem is not None:
        msg = (
            f"The weights in {weights} are not those of {architecture} ({problem}); expected both from the same model: "
            "save its architecture again with model.to_json()."
        )
        raise UnsupportedModelError(msg, code="weights_mismatch")


def _may_have(shapes: list[tuple[int, ...]], units: int) -> bool:
    """Return whether any array has an axis of so many outputs, or of as many for each of several gates."""
    return any(size and size % units == 0 for shape in shapes for size in shape)
