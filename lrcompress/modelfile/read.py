"""Read the structure of a model file once, and the arrays of its sites."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import ModelFileError
from lrcompress.kinds import folded, product
from lrcompress.kinds.terms import own_input_shape, units
from lrcompress.modelfile import legacy, order
from lrcompress.modelfile.container import OpenModel, opened
from lrcompress.modelfile.graph import Container, build
from lrcompress.modelfile.hdf5.arrays import Index, StoredArray, read_array, text
from lrcompress.modelfile.model import LayerInfo, ModelFile, Site, Weights, is_seed
from lrcompress.modelfile.untrusted import decoding, parse_json
from lrcompress.records import provenance

# What an archive stores beside the model itself.
_NOT_WEIGHTS = ("optimizer", "metrics", "_metrics", "_loss_tracker", "_compile_metrics")
# From here on a kernel stays on disk while it is worked on.
MAPPED_BYTES = 2**28
# Numbers looked at in one go, for what is not finite.
_PIECE = 2**22
# Trained weights hardly compress: what claims more is not read, so that the file bounds the work.
_MOST_TIMES = 4
_WIDTHS = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


def open_model(path: Path) -> ModelFile:
    """Read the structure of a whole-model Keras file; no array is read, no handle stays open."""
    path = Path(path)
    with opened(path) as file, decoding(path):
        return describe(path, file)


def describe(
    path: Path, file: OpenModel, meant: tuple[dict[str, Any], Container] | None = None
) -> ModelFile:
    """Return the structure of an open model file, with the tree that is `meant` where that is its architecture."""
    what = "config.json" if file.format == "keras" else "model_config"
    config = parse_json(file.config, path, what)
    if file.format == "hdf5":
        legacy.name_after_file(config, file.weights)
    tree = meant[1] if meant is not None and meant[0] == config else build(config)
    if file.format == "keras":
        metadata = parse_json(file.metadata or b"{}", path, "metadata.json")
        version, optimizer = text(metadata.get("keras_version")), order.OPTIMIZER
        weights = order.locate(tree, file.index, file.weights, version)
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
        layers=tuple(
            LayerInfo(
                name=item.name,
                path="/".join(item.path),
                class_name=item.class_name,
                parameters=_count(weights.of_layer.get(item.path, ()), weights.index),
                units=units(item.config),
            )
            for item in (tree.walk() if tree is not None else ())
        ),
        compile_config=compiled if isinstance(compiled, dict) and compiled else None,
        config=config,
        tree=tree,
        weights=weights,
        stamp=(status.st_size, status.st_mtime_ns),
    )


def _count(paths: tuple[str, ...], index: Index) -> int:
    """Return the number of weights in some arrays, seed generators left out."""
    return sum(
        index.arrays[path].size
        for path in paths
        if path in index.arrays and not is_seed(path) and index.arrays[path].dtype != "object"
    )


def _parameters(weights: Weights, kind: str) -> int:
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
        found = own_input_shape(item.entry)
        if found is None and item.inner is not None:
            nested = _input_shapes(item.inner)
            found = nested[0] if nested else None
        # Layers other than inputs state their input's shape too; both are the model's.
        if found is None or (not tree.sequential and not item.is_input):
            return None
        shapes.append(found)
    return shapes


def read_kernel(model: ModelFile, site: Site) -> NDArray[Any]:
    """Return the matrix A (m, n) of a site, of two layers B C, in its stored type; 16 bits become float32 in B C."""
    with opened(model.path, index=model.weights.index) as file, decoding(model.path):
        parts = [
            site.kind.matrix(p.view, _Values(model, file, p.serialized.arrays)) for p in site.layers
        ]
        if site.rank is None:
            return parts[0]
        left, right = parts
        return product(left, right, _wide(site))


def read_arrays(model: ModelFile, path: str) -> tuple[NDArray[Any], ...]:
    """Return the values of a layer's arrays in Keras' order, in their stored type, bfloat16 as float32."""
    weights, where = model.weights, tuple(path.split("/"))
    if where not in weights.of_layer:  # a name may have a slash
        where = next((p for p in weights.of_layer if "/".join(p) == path), where)
    stored = weights.arrays(where)
    with opened(model.path, index=model.weights.index) as file, decoding(model.path):
        return tuple(_Values(model, file, stored))


def read_bias(model: ModelFile, site: Site, dtype: str | None = None) -> NDArray[Any] | None:
    """Return the bias (n,) of a site as `read_kernel` does A, None without one; of two layers b1 C + b2."""
    if not site.use_bias:
        return None
    kind = site.kind
    with opened(model.path, index=model.weights.index) as file, decoding(model.path):
        values = [_Values(model, file, layer.serialized.arrays) for layer in site.layers]
        biases = [kind.bias(p.view, v) for p, v in zip(site.layers, values, strict=True)]
        if len(biases) == 1 or biases[0] is None:
            return biases[-1]
        right = kind.matrix(site.layers[-1].view, values[-1])
        return folded(biases[0], right, biases[-1], dtype or _wide(site))


def _wide(site: Site) -> str:
    """Return the type in which a product is handed on."""
    return "float64" if site.dtype == "float64" else "float32"


class _Values(Sequence[NDArray[Any]]):
    """The arrays of a layer, each read when it is asked for, if the file is still what was described."""

    def __init__(self, model: ModelFile, file: OpenModel, stored: Sequence[StoredArray]) -> None:
        self._model, self._file, self._stored = model, file, stored

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, number: Any) -> Any:  # noqa: ANN401  # as Sequence has it
        stored = self._stored[number]
        check_unchanged(self._model)
        if stored.source not in self._file.weights:
            raise changed(self._model.path)
        values = stored_values(self._file, stored)
        if values.shape != stored.shape:
            raise changed(self._model.path)
        return values


def not_finite(model: ModelFile) -> dict[str, int]:
    """Return how many numbers of each layer are NaN or infinity, by its path; others are left out."""
    check_unchanged(model)
    arrays = model.weights.index.arrays
    found = {}
    with opened(model.path, index=model.weights.index) as file, decoding(model.path):
        for path, names in model.weights.of_layer.items():
            wrong = sum(_wrong_in(file, arrays[name]) for name in names if name in arrays)
            if wrong:
                found["/".join(path)] = wrong
    return found


def _wrong_in(file: OpenModel, stored: StoredArray) -> int:
    width = _WIDTHS.get(stored.dtype)
    if width is None or stored.size * width > _MOST_TIMES * stored.stored:
        return 0
    wrong, values = 0, None
    for start in range(0, stored.size, _PIECE):
        if values is None or isinstance(values, np.memmap):
            # Mapped anew for each piece: what was looked at need not stay in memory.
            values = stored_values(file, stored, _PIECE)
        wrong += _wrong(values.reshape(-1)[start : start + _PIECE])
    return wrong


def _wrong(values: NDArray[Any]) -> int:
    if values.dtype == np.float16:
        # Told by the exponent's bits: NumPy computes with halves one by one.
        return int(((values.view(np.uint16) & 0x7C00) == 0x7C00).sum())
    return int((~np.isfinite(values)).sum())


def stored_values(
    file: OpenModel, stored: StoredArray, mapped_bytes: int | None = None
) -> NDArray[Any]:
    """Return an array; from so many bytes on, by default `MAPPED_BYTES`, it stays on disk where it can."""
    dataset = file.weights[stored.source]
    place, least = dataset.id.get_offset(), MAPPED_BYTES if mapped_bytes is None else mapped_bytes
    plain = dataset.dtype.isnative and stored.dtype == dataset.dtype.name
    if stored.stored < least or place is None or not plain:
        return read_array(file.weights, stored)
    return file.raw.mapped(place, dataset.dtype, stored.shape)


def check_unchanged(model: ModelFile) -> None:
    """Refuse a file whose size or time is no longer the one described, or that is gone."""
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
