"""What becomes of a model's layers, and what its new weights file holds, in terms of the old one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h5py
from numpy.typing import NDArray

from lrcompress.modelfile.graph import Path as LayerPath
from lrcompress.modelfile.hdf5 import Index


@dataclass(frozen=True, eq=False)
class NewArray:
    """An array to write: values in stored form, as from `hdf5.cast`, and ``"bfloat16"`` or NumPy's name."""

    values: NDArray[Any]
    dtype: str


@dataclass
class Changes:
    """A new architecture and its weights, in terms of the old ones; with sentences for the user.

    Attributes:
        firsts: Paths of new layers by the path of the layer they stand before and were split from.
        arrays: The arrays of each new layer by its path.
        gone: Paths of layers that are no more, their weights with them.
        values: New values by a layer's path and the number of the array there; None: the array is
            no more. Only a bias, the array of number 1, may be new.
    """

    config: dict[str, Any]
    firsts: dict[LayerPath, tuple[LayerPath, ...]] = field(default_factory=dict)
    arrays: dict[LayerPath, tuple[NewArray, ...]] = field(default_factory=dict)
    gone: set[LayerPath] = field(default_factory=set)
    values: dict[tuple[LayerPath, int], NewArray | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """How to make the new HDF5 file from the old one. All paths are canonical.

    Attributes:
        dropped: Groups to leave out with all below them.
        moves: New path by old path of a group; what is below moves along.
        groups: Groups to create beside the copied ones.
        arrays: Arrays that are new, or stand in for the copied one, by new path.
        attributes: Values by (new group path, attribute name); None removes an attribute.
        members: New content of an archive's members, by name; all others are copied.
    """

    dropped: set[str] = field(default_factory=set)
    moves: dict[str, str] = field(default_factory=dict)
    groups: set[str] = field(default_factory=set)
    arrays: dict[str, NewArray] = field(default_factory=dict)
    attributes: dict[tuple[str, str], Any] = field(default_factory=dict)
    members: dict[str, bytes] = field(default_factory=dict)

    def target(self, path: str) -> str | None:
        """Return where the object at `path` goes, None if it is left out."""
        parent, moved = path, None
        while parent:
            if parent in self.dropped:
                return None
            if moved is None and parent in self.moves:
                moved = self.moves[parent] + path[len(parent) :]
            parent = parent.rpartition("/")[0]
        return path if moved is None else moved

    def member(self, name: str) -> str:
        """Return the name of an archive's member: assets lie by the same paths as weights."""
        root, _, path = name.partition("/")
        return f"{root}/{self.target(path) or path}" if root == "assets" and path else name

    def targets(self, index: Index) -> tuple[dict[str, str], dict[str, str]]:
        """Return the new paths of all groups and of all copied arrays, each to its old path.

        Raises:
            ValueError: If two objects would go to the same place.
        """
        groups: dict[str, str] = {}
        arrays: dict[str, str] = {}
        for old, taken in [(i, groups) for i in index.groups] + [(i, arrays) for i in index.arrays]:
            new = self.target(old)
            if new is None or (taken is arrays and new in self.arrays):
                continue
            if new in groups or new in arrays:
                msg = f"{old} and another object would both become {new}"
                raise ValueError(msg)
            taken[new] = old
        return groups, arrays


def write_plan(
    plan: Plan, source: h5py.File, index: Index, target: h5py.File, go_on: Callable[[], None]
) -> None:
    """Fill an empty HDF5 file according to a plan, array by array.

    Every object is created in sorted order, so that equal input gives equal bytes. HDF5 copies an
    array as it is stored, packed or not, through a buffer of a megabyte. `go_on` is called before
    each array and raises what stops the writing.
    """
    groups, arrays = plan.targets(index)
    _copy_attributes(source, target, "", plan)
    for new in sorted({*groups, *plan.groups, *(path for path, _ in plan.attributes if path)}):
        group = target.require_group(new)
        if new in groups:
            _copy_attributes(source[index.groups[groups[new]]], group, new, plan)
    for new in sorted({*arrays, *plan.arrays}):
        go_on()
        parent, _, name = new.rpartition("/")
        group = target.require_group(parent) if parent else target
        if new in plan.arrays:
            _create(group, name, plan.arrays[new])
        else:
            source.copy(source[index.arrays[arrays[new]].source], group, name=name)
    for (path, name), value in sorted(plan.attributes.items(), key=lambda entry: entry[0]):
        if value is not None:
            (target[path] if path else target).attrs[name] = value


def _copy_attributes(source: h5py.Group, target: h5py.Group, path: str, plan: Plan) -> None:
    """Copy a group's attributes with their exact types, but for those the plan overrides."""
    for name in sorted(source.attrs):
        if (path, name) in plan.attributes:
            continue
        identity = source.attrs.get_id(name)
        value = source.attrs[name]
        if isinstance(value, h5py.Empty):
            target.attrs[name] = value
        else:
            target.attrs.create(name, value, shape=identity.shape, dtype=identity.dtype)


def _create(group: h5py.Group, name: str, array: NewArray) -> None:
    """Store an array as Keras does: contiguous, no time stamp, bfloat16 marked by an attribute."""
    dataset = group.create_dataset(name, data=array.values, track_times=False)
    if array.dtype == "bfloat16":
        dataset.attrs["dtype"] = "bfloat16"
