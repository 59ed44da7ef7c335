"""Read the structure of a model file; find its Dense layers and its head; read their arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import ModelFileError
from lrcompress.kinds.products import folded_bias, product
from lrcompress.kinds.terms import is_input, own_input_shape, units
from lrcompress.modelfile import archive, legacy
from lrcompress.modelfile.container import OpenModel, opened
from lrcompress.modelfile.graph import Container, build
from lrcompress.modelfile.hdf5 import Index, StoredArray, read_array, text
from lrcompress.modelfile.model import LayerInfo, ModelFile, Site, Weights
from lrcompress.modelfile.untrusted import decoding, parse_json
from lrcompress.records import provenance

# What an archive stores beside the model itself.
_NOT_WEIGHTS = ("optimizer", "metrics", "_metrics", "_loss_tracker", "_compile_metrics")


# From here on a kernel stays on disk while it is worked on.
MAPPED_BYTES = 2**30


def open_model(path: Path) -> ModelFile:
    """Read the structure of a whole-model Keras file; no array is read.

    Args:
        path: A `.keras` archive (Keras 2.12 to 3) or HDF5 file (Keras 1 to 3), told by content.

    Returns:
        The structure. It holds no open handle.

    Raises:
        ModelFileError: If the file is missing, damaged, hostile or not a Keras model.
        UnsupportedModelError: If it holds weights only, or keeps them as ``.npz``.
    """
    path = Path(path)
    with opened(path) as file, decoding(path):
        return describe(path, file)


def describe(path: Path, file: OpenModel) -> ModelFile:
    """Return the structure of a model file that is already open."""
    what = "config.json" if file.format == "keras" else "model_config"
    config = parse_json(file.config, path, what)
    if file.format == "hdf5":
        legacy.name_after_file(config, file.weights)
    tree = build(config)
    if file.format == "keras":
        metadata = parse_json(file.metadata or b"{}", path, "metadata.json")
        version, optimizer = text(metadata.get("keras_version")), archive.OPTIMIZER
        weights = archive.locate(tree, file.index, file.weights, version)
        said: object = metadata.get(provenance.KEY)
        compiled: object = config.get("compile_config")
    else:
        weights = legacy.locate(tree, file.index, file.weights)
        attributes = file.weights.attrs
        version, optimizer = text(attributes.get("keras_version")), legacy.OPTIMIZER
        if version is None and legacy.ROOT in file.index.groups:
            version = text(file.weights[legacy.ROOT].attrs.get("keras_version"))
        said = text(attributes.get(provenance.KEY))
        training = text(attributes.get("training_config"))
        compiled = parse_json(training, path, "training_config") if training else None
    class_name, status = config.get("class_name"), path.stat()
    return ModelFile(
        path=path,
        format=file.format,
        keras_version=version,
        class_name=class_name if isinstance(class_name, str) else "?",
        input_shapes=_input_shapes(tree),
        parameters=_parameters(weights, file.format),
        size=status.st_size,
        optimizer_bytes=sum(array.stored for _, array in file.index.under(optimizer)),
        origin=provenance.unpack(said, path),
        layers=_layers(tree, weights),
        compile_config=compiled if isinstance(compiled, dict) and compiled else None,
        config=config,
        tree=tree,
        weights=weights,
        stamp=(status.st_size, status.st_mtime_ns),
    )


def _layers(tree: Container | None, weights: Weights) -> tuple[LayerInfo, ...]:
    """Describe every layer in config order."""
    return tuple(
        LayerInfo(
            name=item.name,
            path="/".join(item.path),
            class_name=item.class_name,
            parameters=_count(weights.of_layer.get(item.path, ()), weights.index),
            units=units(item.config),
        )
        for item in (tree.walk() if tree is not None else ())
    )


def _count(paths: tuple[str, ...], index: Index) -> int:
    """Return the number of weights in some arrays, seed generators left out."""
    return sum(
        index.arrays[path].size
        for path in paths
        if path in index.arrays and not _is_seed(path) and index.arrays[path].dtype != "object"
    )


def _is_seed(path: str) -> bool:
    """Return whether an array is the state of a random generator, which Keras does not count."""
    names = ("seed_generator", "random_generator")
    return any(part.startswith(names) for part in path.split("/"))


def _parameters(weights: Weights, kind: str) -> int:
    """Return the number of weights of the whole model."""
    if kind == "keras":
        paths = tuple(p for p in weights.index.arrays if p.split("/")[0] not in _NOT_WEIGHTS)
    else:
        outer = [p for layer, p in weights.of_layer.items() if len(layer) == 1]
        top = legacy.canonical("top_level_model_weights")
        own = (path for path, _ in weights.index.under(top))
        paths = tuple(dict.fromkeys([*(p for group in outer for p in group), *own]))
    return _count(paths, weights.index)


def _input_shapes(tree: Container | None) -> list[list[int | None]] | None:
    """Return the shape of each input of a model where the config states it."""
    if tree is None or not tree.inputs:
        return None
    shapes = []
    for ref in tree.inputs:
        item = tree.by_name[ref.layer]
        found = own_input_shape(item)
        if found is None and item.inner is not None:
            nested = _input_shapes(item.inner)
            found = nested[0] if nested else None
        # Layers other than inputs state their input's shape too; both are the model's.
        if found is None or (not tree.sequential and not is_input(item)):
            return None
        shapes.append(found)
    return shapes


def read_kernel(model: ModelFile, layer: Site) -> NDArray[Any]:
    """Return a Dense layer's kernel; of a pair, B C.

    Args:
        model: The file.
        layer: One of its Dense layers.

    Returns:
        (m, n) array in its stored type; bfloat16 as float32, and so the product of a pair that is
        stored in 16 bits. Not checked for NaN.

    Raises:
        ModelFileError: If the file cannot be read or is no longer the one described.
    """
    with opened(model.path, index=model.weights.index) as file, decoding(model.path):
        kernel = _read(model, file, layer.kernel)
        if layer.first is None:
            return kernel
        return product(_read(model, file, layer.first.kernel), kernel, _wide(layer))


def read_bias(model: ModelFile, layer: Site) -> NDArray[Any] | None:
    """Return a Dense layer's bias, None where it has none; of a pair, b1 C + b2.

    Args:
        model: The file.
        layer: One of its Dense layers.

    Returns:
        (n,) array in its stored type; bfloat16 as float32, and so what is folded in 16 bits.

    Raises:
        ModelFileError: If the file cannot be read or is no longer the one described.
    """
    if not layer.use_bias:
        return None
    with opened(model.path, index=model.weights.index) as file, decoding(model.path):
        bias = None if layer.bias is None else _read(model, file, layer.bias)
        if layer.first is None or layer.first.bias is None:
            return bias
        first, kernel = _read(model, file, layer.first.bias), _read(model, file, layer.kernel)
        return folded_bias(first, kernel, bias, _wide(layer))


def _wide(layer: Site) -> str:
    """Return the type in which a product is handed on."""
    return "float64" if layer.dtype == "float64" else "float32"


def _read(model: ModelFile, file: OpenModel, stored: StoredArray) -> NDArray[Any]:
    """Read one array, making sure that it is still what the description says."""
    check_unchanged(model)
    if stored.source not in file.weights:
        raise changed(model.path)
    values = stored_values(file, stored)
    if values.shape != stored.shape:
        raise changed(model.path)
    return values


def stored_values(
    file: OpenModel, stored: StoredArray, mapped_bytes: int | None = None
) -> NDArray[Any]:
    """Return an array; from so many bytes on, by default `MAPPED_BYTES`, it stays on disk where it can."""
    values = _map(file, stored, MAPPED_BYTES if mapped_bytes is None else mapped_bytes)
    return np.asarray(read_array(file.weights, stored)) if values is None else values


def _map(file: OpenModel, stored: StoredArray, mapped_bytes: int) -> NDArray[Any] | None:
    """Return a very large array without reading it, None where it must be read.

    The numerics pass over such a kernel in blocks of rows, so it need not fit into memory.
    """
    dataset = file.weights[stored.source]
    place = dataset.id.get_offset()
    plain = dataset.dtype.isnative and stored.dtype == dataset.dtype.name
    if stored.stored < mapped_bytes or place is None or not plain:
        return None
    return file.raw.mapped(place, dataset.dtype, stored.shape)


def check_unchanged(model: ModelFile) -> None:
    """Make sure that a file is still the one described.

    Raises:
        ModelFileError: With code ``changed`` if its size or time differs, or it is gone.
    """
    try:
        status = model.path.stat()
    except OSError as error:
        raise changed(model.path) from error
    if (status.st_size, status.st_mtime_ns) != model.stamp:
        raise changed(model.path)


def changed(path: Path) -> ModelFileError:
    """Return the error for a file that was replaced between two readings."""
    msg = f"{path} changed while it was read; run again when nothing else writes it."
    return ModelFileError(msg, code="changed")
