"""Prove that a written file is what was meant, by reading it again from the disk."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lrcompress.errors import VerificationError
from lrcompress.modelfile.container import WEIGHTS, OpenModel
from lrcompress.modelfile.hdf5 import Index, scan
from lrcompress.modelfile.plan import Plan

_CHUNK_BYTES = 16 * 2**20


def verify_weights(old: OpenModel, index: Index, new: OpenModel, plan: Plan, path: Path) -> None:
    """Check that the new weights are the planned ones and all others are untouched.

    Args:
        old: The input, open.
        index: All its objects.
        new: The output, open.
        plan: What was to be written.
        path: The output, for messages.

    Raises:
        VerificationError: If a group, array or attribute is missing, extra or different.
    """
    found = scan(new.weights, path)
    groups, arrays = plan.targets(index)
    _same_set(set(arrays) | set(plan.arrays), set(found.arrays), "array", path)
    parents = {p for leaf in (*arrays, *plan.arrays, *groups, *plan.groups) for p in _above(leaf)}
    _same_set(set(groups) | plan.groups | parents, set(found.groups), "group", path)
    for new_path, old_path in arrays.items():
        before = old.weights[index.arrays[old_path].source]
        if digest(before) != digest(new.weights[new_path]):
            raise _failed(path, f"array {new_path} differs from {old_path} of the input")
    for new_path, array in plan.arrays.items():
        written = np.asarray(new.weights[new_path][()])
        same = written.dtype == array.values.dtype and written.shape == array.values.shape
        if not same or written.tobytes() != array.values.tobytes():
            raise _failed(path, f"array {new_path} is not the one given")
    for new_path, old_path in {"": "", **groups}.items():
        source = old.weights[index.groups[old_path]] if old_path else old.weights
        target = new.weights[new_path] if new_path else new.weights
        _same_attributes(source, target, new_path, plan, path)


def verify_archive(old: zipfile.ZipFile, new: zipfile.ZipFile, plan: Plan, path: Path) -> None:
    """Check that an archive's other members, assets for example, are untouched.

    Raises:
        VerificationError: If one is missing, extra or different.
    """
    old_members = {plan.member(i.filename): i for i in old.infolist() if not i.is_dir()}
    new_members = {i.filename: i for i in new.infolist()}
    _same_set(set(old_members), set(new_members), "member", path)
    for name, info in old_members.items():
        if name not in (WEIGHTS, *plan.members):
            after = new_members[name]
            if (info.CRC, info.file_size) != (after.CRC, after.file_size):
                raise _failed(path, f"member {name} differs from the input's")
    for name, content in plan.members.items():
        if new.read(name) != content:
            raise _failed(path, f"member {name} is not the one given")


def digest(dataset: h5py.Dataset) -> bytes:
    """Return a hash of an array's type, shape, attributes and values, read piece by piece."""
    state = hashlib.sha256(f"{dataset.dtype.str} {dataset.shape}".encode())
    for name in sorted(dataset.attrs):
        state.update(f"{name}={_value(dataset.attrs[name])}".encode("utf-8", "replace"))
    if dataset.dtype.kind == "O":
        for value in np.ravel(dataset[()]).tolist():
            state.update(repr(value).encode())
    elif not dataset.shape:
        state.update(np.asarray(dataset[()]).tobytes())
    else:
        row = max(int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize, 1)
        step = max(_CHUNK_BYTES // row, 1)
        for start in range(0, dataset.shape[0], step):
            state.update(np.ascontiguousarray(dataset[start : start + step]).tobytes())
    return state.digest()


def _value(attribute: object) -> str:
    """Return an attribute's value in comparable form."""
    if isinstance(attribute, np.ndarray):
        return f"{attribute.dtype.kind} {attribute.shape} {attribute.tolist()!r}"
    return repr(attribute)


def _same_attributes(
    source: h5py.Group, target: h5py.Group, group: str, plan: Plan, path: Path
) -> None:
    """Check one group's attributes: the planned ones, and all others as they were."""
    expected = {n: source.attrs[n] for n in source.attrs if (group, n) not in plan.attributes}
    planned = {n: v for (g, n), v in plan.attributes.items() if g == group and v is not None}
    for name, value in (expected | planned).items():
        if name not in target.attrs or not _equal(value, target.attrs[name]):
            raise _failed(path, f"attribute {name} of group {group or '/'} is not as expected")
    _same_set(set(expected | planned), set(target.attrs), f"attribute of {group or '/'}", path)


def _equal(expected: Any, found: Any) -> bool:  # noqa: ANN401 - whatever h5py gives
    """Compare attributes, text as text: h5py gives back bytes or str by the stored type."""
    if isinstance(expected, h5py.Empty) or isinstance(found, h5py.Empty):
        return bool(type(expected) is type(found))
    return bool(np.asarray(expected).tolist() == np.asarray(found).tolist()) or (
        repr(np.asarray(expected).tolist()) == repr(np.asarray(found).tolist())
    )


def _above(path: str) -> list[str]:
    """Return all groups above a path."""
    parts = path.split("/")
    return ["/".join(parts[:n]) for n in range(1, len(parts))]


def _same_set(expected: set[str], found: set[str], what: str, path: Path) -> None:
    """Check that nothing is missing and nothing is extra."""
    if expected != found:
        name = min(expected ^ found)
        raise _failed(path, f"{what} {name} is {'missing' if name in expected else 'extra'}")


def _failed(path: Path, what: str) -> VerificationError:
    """Return the error of a failed check."""
    msg = f"{path} was not written: {what}; nothing was changed, please report this."
    return VerificationError(msg)
