"""Write a changed copy of a model file: the same bytes every time, read back, and put in place."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import h5py

from lrcompress.errors import LRCompressError, UnsupportedModelError, VerificationError
from lrcompress.files import check_output, replacing, sha256_meanwhile
from lrcompress.modelfile.container import CONFIG, METADATA, WEIGHTS, OpenModel, check_sum, opened
from lrcompress.modelfile.graph import Container, build
from lrcompress.modelfile.hdf5.arrays import Index, equal, holds, parents, same_array
from lrcompress.modelfile.hdf5.space import WriteWindow
from lrcompress.modelfile.model import ModelFile, Written
from lrcompress.modelfile.read import changed, check_unchanged, describe
from lrcompress.modelfile.rewrite.plan import Changes, Plan, plan_texts, plan_weights, write_plan
from lrcompress.modelfile.untrusted import SUFFIXES, decoding

# The first date a zip archive can hold: a real one would make two runs differ.
EPOCH = (1980, 1, 1, 0, 0, 0)
# Past 2 GiB a member needs a longer header, which stands in front of it before its size is known.
_LARGE_BYTES = 2**30
_PIECE_BYTES = 2**20
# Puts something into a new file; what it is given beside is to be called now and then, and raises where writing failed.
Fill = Callable[[h5py.File, Callable[[], None]], None]


def check_place(model: ModelFile, output: Path, *, overwrite: bool) -> Path:
    """Return the output, refusing before any work one that cannot be and a model that cannot be edited."""
    output = Path(output)
    check_output(output, inputs=(model.path,), overwrite=overwrite)
    if model.weights.problem is not None:
        msg = (
            f"The weights in {model.path} do not follow its architecture ({model.weights.problem});"
            " expected them in Keras' order: load the model in its own Keras and save it again."
        )
        raise UnsupportedModelError(msg, code="config")
    return output


def rewrite(model: ModelFile, changes: Changes, output: Path, *, overwrite: bool) -> Written:
    """Write a changed copy of a model file, read it back and put it in place."""
    with opened(model.path, index=model.weights.index) as source:
        check_unchanged(model)
        with decoding(model.path):
            tree = build(changes.config)
            if tree is None:
                raise changed(model.path)
            plan = plan_weights(model, tree, source.weights, changes)
            plan_texts(plan, model, source, changes.config)
        with replacing(output, overwrite=overwrite, like=model.path) as temporary:
            write_model(source, model.weights.index, plan, temporary, model.path)
            with sha256_meanwhile(temporary) as digest:
                written = read_back(source, model, plan, temporary, output, changes.config, tree)
                _check_shapes(written, changes, output)
                sha256 = digest()
    return Written(
        path=output,
        size=written.size,
        sha256=sha256,
        optimizer_bytes=model.optimizer_bytes,
        optimizer_bytes_after=written.optimizer_bytes,
        parameters=written.parameters,
        parameters_of={layer.path: layer.parameters for layer in written.layers},
        first_names=changes.first_names,
        warnings=(*changes.warnings, *_about_suffix(model, output)),
    )


def _check_shapes(written: ModelFile, changes: Changes, output: Path) -> None:
    """Compare the shapes of new arrays, found by the new architecture, with those meant."""
    meant = {(path, n): a for path, arrays in changes.arrays.items() for n, a in enumerate(arrays)}
    for (path, number), array in (meant | changes.values).items():
        there = [found.shape for found in written.weights.arrays(path)[number : number + 1]]
        if there != ([] if array is None else [array.values.shape]):
            raise _unlike(output)


def _about_suffix(model: ModelFile, output: Path) -> list[str]:
    """Return a sentence if Keras would take the output, by its suffix, for something else."""
    fitting = SUFFIXES[model.format]
    if output.suffix.lower() in fitting:
        return []
    kind = "HDF5" if model.format == "hdf5" else "a .keras archive"
    return [
        f"{output.name} is {kind}, but Keras goes by the suffix: name it {fitting[0]} to load it."
    ]


def write_model(source: OpenModel, index: Index, plan: Plan, path: Path, original: Path) -> None:
    """Write the new file over the empty one at `path`; `original` is the old one's name."""
    fill = partial(write_plan, plan, source.weights, index)
    if source.archive is None:
        with path.open("r+b", buffering=0) as file:
            write_hdf5(file, original, fill)
        return
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for info in sorted(source.archive.infolist(), key=_member_order):
            if info.is_dir():
                continue
            entry, size = zipfile.ZipInfo(plan.member(info.filename), EPOCH), info.file_size
            entry.external_attr = 0o644 << 16
            if info.filename == WEIGHTS:
                size += sum(array.values.nbytes for array in plan.arrays.values())
            with archive.open(entry, "w", force_zip64=size > _LARGE_BYTES) as member:
                if info.filename == WEIGHTS:
                    # HDF5 writes in no order, and a zip archive in one: so beside it first.
                    with tempfile.TemporaryFile(dir=path.parent, buffering=0) as weights:
                        write_hdf5(weights, original, fill)
                        weights.seek(0)
                        shutil.copyfileobj(weights, member, _PIECE_BYTES)
                elif info.filename in plan.members:
                    member.write(plan.members[info.filename])
                else:
                    for piece in _pieces(source.archive, info, original):
                        member.write(piece)


def write_hdf5(file: io.FileIO, original: Path, fill: Fill) -> None:
    """Write an HDF5 file with what `fill` puts into it of an old one."""
    window = WriteWindow(file)

    def write() -> None:
        # Whatever fails in here is the old file's doing: the window never does.
        with decoding(original), h5py.File(window, "w") as target:
            _keep_structures(target)
            fill(target, window.check)

    # Python raises Control-C in the first thread only: in a second one HDF5, whose calls of the
    # window would pass it on, is out of its reach.
    with ThreadPoolExecutor(1) as second:
        try:
            second.submit(write).result()
        except BaseException as error:
            window.fail(error)
    window.check()


def _keep_structures(file: h5py.File) -> None:
    """Let HDF5 write its structures at the end only: after a failed write it would read what is not there."""
    settings = file.id.get_mdc_config()
    settings.evictions_enabled = False
    # The sizes it would grow to and shrink to must stand still when nothing leaves.
    settings.incr_mode = settings.flash_incr_mode = settings.decr_mode = 0
    file.id.set_mdc_config(settings)


def _pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Iterator[bytes]:
    """Yield a member of the old file piece by piece; its checksum is checked on the way."""
    with decoding(path), archive.open(info) as member:
        while piece := member.read(_PIECE_BYTES):
            yield piece


def _member_order(info: zipfile.ZipInfo) -> tuple[int, str]:
    """Sort members as Keras writes them: metadata, config, weights, then assets by name."""
    known = (METADATA, CONFIG, WEIGHTS)
    place = known.index(info.filename) if info.filename in known else len(known)
    return place, info.filename


def read_back(
    old: OpenModel,
    model: ModelFile,
    plan: Plan,
    path: Path,
    output: Path,
    config: dict[str, Any],
    tree: Container | None = None,
) -> ModelFile:
    """Open the file at `path` that is to be `output`, and compare every byte with what was meant."""
    try:
        with opened(path) as new, decoding(path):
            written = describe(path, new, None if tree is None else (config, tree))
            _verify_weights(old, model.weights.index, new, plan, output)
            if old.archive is not None and new.archive is not None:
                _verify_archive(old.archive, new.archive, plan, output)
            check_sum(new, path)
    except LRCompressError as error:
        # Nothing that is read twice needs to be the same twice if someone else writes it.
        check_unchanged(model)
        if isinstance(error, VerificationError):
            raise
        msg = f"{output} was not written: it does not read back ({error}); please report this."
        raise VerificationError(msg) from error
    check_unchanged(model)
    with decoding(model.path):
        check_sum(old, model.path)
    if written.config != config or written.weights.problem is not None:
        raise _unlike(output)
    return written


def _unlike(path: Path) -> VerificationError:
    msg = f"{path} was not written: its architecture does not read back; please report this."
    return VerificationError(msg)


def _verify_weights(old: OpenModel, index: Index, new: OpenModel, plan: Plan, path: Path) -> None:
    """Check that the new weights are the planned ones and all others are untouched."""
    groups, arrays = plan.targets(index)
    _same_set(set(arrays) | set(plan.arrays), set(new.index.arrays), "array", path)
    above = {p for leaf in (*arrays, *plan.arrays, *groups, *plan.groups) for p in parents(leaf)}
    _same_set(set(groups) | plan.groups | above, set(new.index.groups), "group", path)
    for new_path, old_path in arrays.items():
        before, after = old.weights[index.arrays[old_path].source], new.weights[new_path]
        if not same_array(before, old.raw, after, new.raw):
            raise _failed(path, f"array {new_path} differs from {old_path} of the input")
    for new_path, array in plan.arrays.items():
        if not holds(new.weights[new_path], new.raw, array.values):
            raise _failed(path, f"array {new_path} is not the one given")
    planned: dict[str, dict[str, Any]] = {}
    for (group, name), value in plan.attributes.items():
        planned.setdefault(group, {})[name] = value
    for new_path, old_path in {"": "", **groups}.items():
        source = old.weights[index.groups[old_path]] if old_path else old.weights
        target = new.weights[new_path] if new_path else new.weights
        _same_attributes(source, target, new_path, planned.get(new_path, {}), path)


def _verify_archive(old: zipfile.ZipFile, new: zipfile.ZipFile, plan: Plan, path: Path) -> None:
    """Check that an archive's other members, assets for example, are untouched."""
    old_members = {plan.member(i.filename): i for i in old.infolist() if not i.is_dir()}
    new_members = {i.filename: i for i in new.infolist()}
    _same_set(set(old_members), set(new_members), "member", path)
    for name, info in old_members.items():
        if name not in (WEIGHTS, *plan.members):
            after = new_members[name]
            if (info.CRC, info.file_size) != (after.CRC, after.file_size):
                raise _failed(path, f"member {name} differs from the input's")
            with new.open(after) as member:  # which compares the content with its checksum
                while member.read(2**20):
                    pass
    for name, content in plan.members.items():
        if new.read(name) != content:
            raise _failed(path, f"member {name} is not the one given")


def _same_attributes(
    source: h5py.Group, target: h5py.Group, group: str, planned: dict[str, Any], path: Path
) -> None:
    """Check one group's attributes: the planned ones, and all others as they were."""
    expected = {name: source.attrs[name] for name in source.attrs if name not in planned}
    expected |= {name: value for name, value in planned.items() if value is not None}
    for name, value in expected.items():
        if name not in target.attrs or not equal(value, target.attrs[name]):
            raise _failed(path, f"attribute {name} of group {group or '/'} is not as expected")
    _same_set(set(expected), set(target.attrs), f"attribute of {group or '/'}", path)


def _same_set(expected: set[str], found: set[str], what: str, path: Path) -> None:
    if expected != found:
        name = min(expected ^ found)
        raise _failed(path, f"{what} {name} is {'missing' if name in expected else 'extra'}")


def _failed(path: Path, what: str) -> VerificationError:
    msg = f"{path} was not written: {what}; nothing was changed, please report this."
    return VerificationError(msg)
