"""Write a new model file in which Dense layers are each replaced by two."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrcompress.atomic import check_output, replacing
from lrcompress.errors import (
    LRCompressError,
    RankError,
    UnsupportedModelError,
    VerificationError,
)
from lrcompress.modelfile.container import OpenModel, opened
from lrcompress.modelfile.decoding import decoding
from lrcompress.modelfile.factors import stored_factors
from lrcompress.modelfile.finding import find_head
from lrcompress.modelfile.model import ModelFile, Replacement, Written
from lrcompress.modelfile.plan import NewArray, Plan
from lrcompress.modelfile.planning import plan_config, plan_weights
from lrcompress.modelfile.reading import changed, describe
from lrcompress.modelfile.splitting import remarks, split, unused_name
from lrcompress.modelfile.topology import Path as LayerPath
from lrcompress.modelfile.topology import build
from lrcompress.modelfile.verify import read_back
from lrcompress.modelfile.writing import write_model

_SUFFIXES = {"hdf5": (".h5", ".hdf5"), "keras": (".keras",)}


@dataclass(frozen=True)
class _NewModel:
    """A new architecture: its config, the new layers by the old ones, and remarks."""

    config: dict[str, Any]
    firsts: dict[LayerPath, LayerPath]
    warnings: list[str]


def write_replaced(
    model: ModelFile, replacements: Sequence[Replacement], output: Path, *, overwrite: bool = False
) -> Written:
    """Write a copy of a model file in which each given Dense layer is two.

    Layer `name` with kernel (m, n) becomes `name_lowrank` (r units, no bias, linear) followed by
    `name` with kernel (r, n) and everything else as it was. All other weights are copied bit by
    bit; optimizer state, which no longer fits, is left out. The file is read back and compared
    before it takes its place. Equal input gives equal bytes.

    Args:
        model: The file to start from; it is not touched.
        replacements: What to replace; each layer once.
        output: Where to write. The format is that of `model`.
        overwrite: Whether an existing `output` may be replaced.

    Returns:
        What was written.

    Raises:
        RankError: If factors do not fit a layer's kernel or each other.
        KernelError: If a factor is not finite, or no longer is in the stored type.
        OutputError: If the output cannot be written.
        ModelFileError: If the input cannot be read or has changed since `model` was read.
        UnsupportedModelError: If a layer is not one of the file, or its place is not certain.
        VerificationError: If the written file is not what was meant; it is then not put in place.
    """
    output = Path(output)
    check_output(output, inputs=(model.path,), overwrite=overwrite)
    arrays = [stored_factors(model, replacement) for replacement in replacements]
    if model.weights.problem is not None:
        msg = (
            f"The weights in {model.path} do not follow its architecture ({model.weights.problem});"
            " expected them in Keras' order: load the model in its own Keras and save it again."
        )
        raise UnsupportedModelError(msg, code="config")
    with opened(model.path, known=True) as source:
        with decoding(model.path):
            now = describe(model.path, source)
            if (now.stamp, now.config) != (model.stamp, model.config):
                raise changed(model.path)
            new = _edit(model, replacements)
            plan, warnings = _plan(model, new, source, replacements, arrays)
        with replacing(output) as temporary:
            write_model(source, model.weights.index, plan, temporary, model.path)
            written = read_back(source, model, plan, temporary, output)
            _check(model, written, new, output)
    return Written(
        path=output,
        size=written.size,
        optimizer_bytes=model.optimizer_bytes,
        parameters=written.parameters,
        first_names={"/".join(old): first[-1] for old, first in new.firsts.items()},
        warnings=(*new.warnings, *warnings, *_about_suffix(model, output)),
    )


def _edit(model: ModelFile, replacements: Sequence[Replacement]) -> _NewModel:
    """Return the new architecture."""
    config = copy.deepcopy(model.config)
    tree = build(config)
    if tree is None:
        raise changed(model.path)
    items = {item.path: item for item in tree.walk()}
    taken: set[str] = set()
    firsts: dict[LayerPath, LayerPath] = {}
    warnings: list[str] = []
    for replacement in replacements:
        if find_head(model, replacement.layer.path) != replacement.layer:
            msg = (
                f"Layer {replacement.layer.path} was not read from {model.path}; "
                "expected one that find_head or dense_layers gave for it."
            )
            raise UnsupportedModelError(msg, code="no_such_layer")
        item = next(i for i in items.values() if "/".join(i.path) == replacement.layer.path)
        if item.path in firsts:
            msg = f"Layer {replacement.layer.path} is to be replaced twice; expected once."
            raise RankError(msg)
        name = unused_name(tree, item.name, taken)
        warnings += remarks(item)
        split(item, name, int(np.shape(replacement.first)[1]))
        firsts[item.path] = (*item.path[:-1], name)
    return _NewModel(config, firsts, warnings)


def _plan(
    model: ModelFile,
    new: _NewModel,
    source: OpenModel,
    replacements: Sequence[Replacement],
    arrays: list[dict[str, NewArray]],
) -> tuple[Plan, list[str]]:
    """Plan the new weights file."""
    tree = build(new.config)
    if tree is None:
        raise changed(model.path)
    kernels: dict[LayerPath, NewArray] = {}
    kept: dict[tuple[LayerPath, int], NewArray] = {}
    paths = {"/".join(old): old for old in new.firsts}
    for replacement, given in zip(replacements, arrays, strict=True):
        old = paths[replacement.layer.path]
        kernels[new.firsts[old]] = given["first"]
        kept[old, 0] = given["second"]
        if "bias" in given:
            kept[old, 1] = given["bias"]
    plan, warnings = plan_weights(model, tree, source.weights, new.firsts, kernels, kept)
    plan_config(plan, model.format, new.config)
    return plan, warnings


def _check(model: ModelFile, written: ModelFile, new: _NewModel, output: Path) -> None:
    """Compare the architecture that was read back with the one meant."""
    msg = f"{output} was not written: its architecture does not read back; please report this."
    if written.config != new.config or written.weights.problem != model.weights.problem:
        raise VerificationError(msg)
    try:
        for old, first in new.firsts.items():
            find_head(written, "/".join(first))
            find_head(written, "/".join(old))
    except LRCompressError as error:
        raise VerificationError(msg) from error


def _about_suffix(model: ModelFile, output: Path) -> list[str]:
    """Return a sentence if Keras would take the output, by its suffix, for something else."""
    fitting = _SUFFIXES[model.format]
    if output.suffix.lower() in fitting:
        return []
    kind = "HDF5" if model.format == "hdf5" else "a .keras archive"
    return [
        f"{output.name} is {kind}, but Keras goes by the suffix: name it {fitting[0]} to load it."
    ]
