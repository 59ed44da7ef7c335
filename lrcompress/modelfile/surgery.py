"""Write a new model file in which Dense layers are each replaced by two."""

from __future__ import annotations

import contextlib
import copy
import errno
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from lrcompress.atomic import check_output, replacing
from lrcompress.errors import (
    KernelError,
    LRCompressError,
    ModelFileError,
    RankError,
    UnsupportedModelError,
    VerificationError,
)
from lrcompress.modelfile.container import CONFIG, METADATA, WEIGHTS, OpenModel, opened
from lrcompress.modelfile.decoding import decoding, dump_json
from lrcompress.modelfile.finding import find_head
from lrcompress.modelfile.hdf5 import cast
from lrcompress.modelfile.model import ModelFile, Replacement, Written
from lrcompress.modelfile.plan import NewArray, Plan, write_plan
from lrcompress.modelfile.planning import plan_weights
from lrcompress.modelfile.reading import changed, describe, open_model
from lrcompress.modelfile.splitting import remarks, split, unused_name
from lrcompress.modelfile.topology import Path as LayerPath
from lrcompress.modelfile.topology import build
from lrcompress.modelfile.verify import verify_archive, verify_weights

# The first date a zip archive can hold: a real one would make two runs differ.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
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
    arrays = [_stored(model, replacement) for replacement in replacements]
    if model.weights.problem is not None:
        msg = (
            f"The weights in {model.path} do not follow its architecture ({model.weights.problem});"
            " expected them in Keras' order: load the model in its own Keras and save it again."
        )
        raise UnsupportedModelError(msg, code="config")
    with opened(model.path) as source:
        with decoding(model.path):
            if describe(model.path, source).config != model.config:
                raise changed(model.path)
            new = _edit(model, replacements)
            plan, warnings = _plan(model, new, source, replacements, arrays)
        with replacing(output) as temporary:
            with _copying(model.path):
                _write(source, model, new, plan, temporary)
            written = _check(source, model, new, plan, temporary, output)
    return Written(
        path=output,
        size=written.size,
        optimizer_bytes=model.optimizer_bytes,
        parameters=written.parameters,
        first_names={"/".join(old): first[-1] for old, first in new.firsts.items()},
        warnings=(*new.warnings, *warnings, *_about_suffix(model, output)),
    )


@contextlib.contextmanager
def _copying(path: Path) -> Iterator[None]:
    """Tell a full disk, which `replacing` reports, from an input that cannot be read."""
    try:
        with decoding(path):
            yield
    except ModelFileError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and (cause.errno in _DISK_FULL or "No space" in str(cause)):
            raise cause from None
        raise


def _stored(model: ModelFile, replacement: Replacement) -> dict[str, NewArray]:
    """Check one replacement against its layer; return its arrays in the stored type."""
    layer = replacement.layer
    m, n = layer.kernel_shape
    first, second = np.asarray(replacement.first), np.asarray(replacement.second)
    rank = first.shape[1] if first.ndim == 2 else 0
    if first.shape != (m, rank) or second.shape != (rank, n) or rank < 1:
        msg = (
            f"Factors of shapes {first.shape} and {second.shape} do not fit the kernel {(m, n)} "
            f"of layer {layer.path}; expected ({m}, r) and (r, {n}) with r >= 1."
        )
        raise RankError(msg)
    given = {"first": first, "second": second}
    if replacement.bias is not None:
        given["bias"] = np.asarray(replacement.bias)
        if not layer.use_bias or given["bias"].shape != (n,):
            wanted = f"one of shape ({n},)" if layer.use_bias else "none, the layer has no bias"
            msg = f"Bias of shape {given['bias'].shape} for layer {layer.path}; expected {wanted}."
            raise RankError(msg)
    stored: dict[str, NewArray] = {}
    for name, values in given.items():
        kept = cast(values, layer.dtype)
        finite = np.isfinite(values).all() and (
            layer.dtype == "bfloat16" or np.isfinite(kept).all()
        )
        if not finite:
            msg = (
                f"The {name} array for layer {layer.path} of {model.path} holds NaN or infinity, "
                f"or overflows {layer.dtype}; expected finite values."
            )
            raise KernelError(msg)
        stored[name] = NewArray(kept, layer.dtype)
    return stored


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
    if model.format == "hdf5":
        # Variable length, because fixed-length attributes end at 64 kB; ASCII, which JSON text is,
        # because Keras up to 2.3 cannot read it as UTF-8.
        plan.attributes["", "model_config"] = np.array(
            dump_json(new.config), dtype=h5py.string_dtype("ascii")
        )
    return plan, warnings


def _write(source: OpenModel, model: ModelFile, new: _NewModel, plan: Plan, path: Path) -> None:
    """Write the new file to `path`, which exists and is empty."""
    index = model.weights.index
    if source.archive is None:
        with h5py.File(path, "w") as target:
            write_plan(plan, source.weights, index, target)
        return
    # The weights pass through a nameless file next to the output, so that memory never holds
    # them all and an interruption leaves nothing behind.
    with (
        tempfile.TemporaryFile(dir=path.parent) as weights,
        zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive,
    ):
        with h5py.File(weights, "w") as target:
            write_plan(plan, source.weights, index, target)
        weights.seek(0)
        for info in sorted(source.archive.infolist(), key=_member_order):
            if info.is_dir():
                continue
            entry = zipfile.ZipInfo(info.filename, _EPOCH)
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=info.file_size > 2**31) as member:
                if info.filename == CONFIG:
                    member.write(dump_json(new.config).encode())
                elif info.filename == WEIGHTS:
                    shutil.copyfileobj(weights, member, 2**20)
                else:
                    _copy_member(source.archive, info, member)


def _copy_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: IO[bytes]) -> None:
    """Copy a member piece by piece; its checksum is checked on the way."""
    with archive.open(info) as member:
        shutil.copyfileobj(member, target, 2**20)


def _member_order(info: zipfile.ZipInfo) -> tuple[int, str]:
    """Sort members as Keras writes them: metadata, config, weights, then assets by name."""
    known = (METADATA, CONFIG, WEIGHTS)
    place = known.index(info.filename) if info.filename in known else len(known)
    return place, info.filename


def _check(
    source: OpenModel, model: ModelFile, new: _NewModel, plan: Plan, path: Path, output: Path
) -> ModelFile:
    """Read the written file and compare it with what was meant."""
    try:
        written = open_model(path)
        with opened(path) as target, decoding(path):
            verify_weights(source, model.weights.index, target, plan, output)
            if source.archive is not None and target.archive is not None:
                verify_archive(source.archive, target.archive, output)
        for old, first in new.firsts.items():
            find_head(written, "/".join(first))
            find_head(written, "/".join(old))
    except VerificationError:
        raise
    except LRCompressError as error:
        msg = f"{output} was not written: it does not read back ({error}); please report this."
        raise VerificationError(msg) from error
    if written.config != new.config or written.weights.problem != model.weights.problem:
        msg = f"{output} was not written: its architecture does not read back; please report this."
        raise VerificationError(msg)
    return written


def _about_suffix(model: ModelFile, output: Path) -> list[str]:
    """Return a sentence if Keras would take the output, by its suffix, for something else."""
    fitting = _SUFFIXES[model.format]
    if output.suffix.lower() in fitting:
        return []
    kind = "HDF5" if model.format == "hdf5" else "a .keras archive"
    return [
        f"{output.name} is {kind}, but Keras goes by the suffix: name it {fitting[0]} to load it."
    ]
