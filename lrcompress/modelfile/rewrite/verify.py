"""Prove that a written file is what was meant, by reading it again from the disk."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import h5py

from lrcompress.errors import LRCompressError, VerificationError
from lrcompress.modelfile.container import WEIGHTS, OpenModel, check_sum, opened
from lrcompress.modelfile.graph import Container
from lrcompress.modelfile.hdf5 import Index, equal, holds, parents, same_array
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.read import check_unchanged, describe
from lrcompress.modelfile.rewrite.plan import Plan
from lrcompress.modelfile.untrusted import decoding


def read_back(
    old: OpenModel,
    model: ModelFile,
    plan: Plan,
    path: Path,
    output: Path,
    meant: tuple[dict[str, Any], Container] | None = None,
) -> ModelFile:
    """Open the file at `path` that is to be `output`, and compare every byte with what was meant."""
    try:
        with opened(path) as new, decoding(path):
            written = describe(path, new, meant)
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
    return written


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
