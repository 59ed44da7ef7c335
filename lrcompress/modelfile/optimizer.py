"""The optimizer state of a `.keras` archive: slots of untouched variables move to new places.

One Dense more or less is one trained variable more or less, and Keras loads slots by place, all or
none. Each slot therefore goes to the place of its variable in the new model; new kernels get slots
that start anew. Where the owner of any slot is not certain, the whole state is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrcompress.modelfile import archive
from lrcompress.modelfile.changes import Changes
from lrcompress.modelfile.hdf5 import Index, cast
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.plan import NewArray, Plan
from lrcompress.modelfile.slots import INNER, Layout, layout
from lrcompress.modelfile.topology import Path as LayerPath
from lrcompress.modelfile.trainable import UncertainError, is_float, trained_arrays

Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Variable:
    """One trained variable of the new model.

    Attributes:
        old: Number of the variable in the old model that it is, or that it stands in for.
        shape: Its shape where it is new, else None.
    """

    old: int
    shape: Shape | None = None


def plan_optimizer(
    plan: Plan,
    model: ModelFile,
    order: list[LayerPath],
    changes: Changes,
) -> list[str]:
    """Add to a plan what becomes of the optimizer state.

    Args:
        plan: Completed in place.
        model: The old archive.
        order: Layers of the new model that have groups, in Keras' order.
        changes: What becomes of the layers.

    Returns:
        A sentence for the user if the state is left out.
    """
    index = model.weights.index
    if not any(index.under(archive.OPTIMIZER)):
        plan.dropped.add(archive.OPTIMIZER)
        return []
    try:
        found = _layout(model)
        count = _count(index, found)
        if count:
            trained = trained_arrays(model)
            _check(index, found, trained, count)
            _move(plan, index, found, count, _new(model, order, trained, changes))
    except UncertainError as reason:
        plan.dropped.add(archive.OPTIMIZER)
        return [f"The optimizer's state is left out, because {reason}: training starts it anew."]
    return []


def _layout(model: ModelFile) -> Layout:
    """Return the layout of the stored state, all of whose arrays it accounts for."""
    index, compiled = model.weights.index, model.compile_config or {}
    wrapped = any(index.under(INNER))
    found = layout(compiled.get("optimizer"), model.keras_version, wrapped=wrapped)
    for path, _ in index.under(archive.OPTIMIZER):
        if path.rpartition("/")[0] not in found.scalars:
            msg = f"{path} is not known to optimizer {found.name}"
            raise UncertainError(msg)
    return found


def _count(index: Index, found: Layout) -> int:
    """Return the number of variables that the stored slots belong to, 0 where there are none."""
    counts = set()
    for group, scalars in found.scalars.items():
        names = {path.rpartition("/")[2] for path, _ in index.under(group)}
        slots = len(names) - scalars
        whole = not slots or (slots > 0 and found.slots_each and not slots % found.slots_each)
        if not whole or names != {str(number) for number in range(len(names))}:
            raise _odd(found, f"{len(names)} arrays")
        if any(index.arrays[f"{group}/{number}"].shape for number in range(scalars)):
            raise _odd(found, "an array in the place of a scalar")
        counts.add(slots // found.slots_each if slots else 0)
    if len(counts) > 1:
        raise _odd(found, "two lists of different length")
    return counts.pop()


def _check(
    index: Index, found: Layout, trained: dict[LayerPath, tuple[str, ...]], count: int
) -> None:
    """Refuse slots that do not fit the trained variables one by one."""
    owners = [array for arrays in trained.values() for array in arrays]
    if count != len(owners):
        msg = f"it belongs to {count} variables, not to the {len(owners)} that seem to be trained"
        raise UncertainError(msg)
    for group in found.scalars:
        for _, slots in found.slots(group, count):
            if not all(is_float(index, slot) for slot in slots):
                raise _odd(found, "slots that are no floats")
            first = 0
            for arrays in trained.values():
                own = slots[first : first + len(arrays)]
                if _shapes(index, own, arrays) != _shapes(index, arrays, arrays):
                    raise _odd(found, "slots of other shapes than the trained variables'")
                first += len(arrays)


def _shapes(index: Index, paths: Sequence[str], owners: tuple[str, ...]) -> list[Shape]:
    """Return the shapes of some arrays, sorted where the order within the layer is its own."""
    shapes = [index.arrays[path].shape for path in paths]
    return shapes if len({path.rpartition("/")[0] for path in owners}) == 1 else sorted(shapes)


def _new(
    model: ModelFile,
    order: list[LayerPath],
    trained: dict[LayerPath, tuple[str, ...]],
    changes: Changes,
) -> list[_Variable]:
    """Return the trained variables of the new model in Keras' order."""
    weights = model.weights
    numbers: dict[str, int] = {}
    for arrays in trained.values():
        for array in arrays:
            numbers[array] = len(numbers)
    split_from = {first: old for old, first in changes.firsts.items()}
    if {path for path in order if path not in split_from} != set(weights.groups) - changes.gone:
        msg = "a shared layer changes its place"
        raise UncertainError(msg)
    found: list[_Variable] = []
    values_of: dict[LayerPath, dict[int, NewArray | None]] = {}
    for (layer, number), values in changes.values.items():
        values_of.setdefault(layer, {})[number] = values
    for path in order:
        if path in split_from:
            kernel = weights.of_layer[split_from[path]][0]
            if kernel in numbers:
                found.append(_Variable(numbers[kernel], changes.kernels[path].values.shape))
            continue
        own, arrays = weights.of_layer[path], trained.get(path, ())
        new = values_of.get(path, {})
        for array in arrays:
            # A bias with other values is the same variable; a kernel of other factors is not.
            number = own.index(array)
            values = new.get(number)
            if number not in new or (number > 0 and values is not None):
                found.append(_Variable(numbers[array]))
            elif values is not None:
                found.append(_Variable(numbers[array], values.values.shape))
        bias = new.get(len(own))
        if bias is not None and arrays:
            found.append(_Variable(numbers[arrays[0]], bias.values.shape))
    return found


def _move(
    plan: Plan,
    index: Index,
    found: Layout,
    count: int,
    variables: list[_Variable],
) -> None:
    """Move the slots that stay, drop all others, make those of the new variables."""
    staying = {variable.old for variable in variables if variable.shape is None}
    for group in found.scalars:
        before, after = found.slots(group, count), found.slots(group, len(variables))
        for (initial, old), (_, new) in zip(before, after, strict=True):
            plan.dropped.update(s for number, s in enumerate(old) if number not in staying)
            for variable, place in zip(variables, new, strict=True):
                slot = old[variable.old]
                if variable.shape is None:
                    plan.moves[slot] = place
                    continue
                dtype = index.arrays[slot].dtype
                plan.arrays[place] = NewArray(cast(np.full(variable.shape, initial), dtype), dtype)


def _odd(found: Layout, what: str) -> UncertainError:
    """Return the refusal of a state that does not fit its optimizer or its model."""
    return UncertainError(f"the file holds {what} for optimizer {found.name}")
