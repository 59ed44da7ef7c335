"""Dense layers that are already split: two in a row, with nothing between, are one matrix.

The first has r units, no activation, and feeds the second alone, so that both together compute
x (B C) + b: what lrcompress writes, and what others build by hand.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from lrcompress.errors import UnsupportedModelError
from lrcompress.kinds.endings import activation_name
from lrcompress.kinds.terms import dense_entry
from lrcompress.modelfile.describing import dense_arrays
from lrcompress.modelfile.graph import Container, Item, Ref
from lrcompress.modelfile.model import ModelFile, Site
from lrcompress.modelfile.untrusted import as_dict


def find_pairs(model: ModelFile) -> dict[Item, Item]:
    """Return the first layer of each pair by its second.

    Of three or more such layers in a row the last two are a pair, then the two before them, and so
    on: no layer is in two pairs.

    Args:
        model: The file.
    """
    if model.tree is None:
        return {}
    inner = [item.inner for item in model.tree.walk() if item.inner is not None]
    found: dict[Item, Item] = {}
    for container in (model.tree, *inner):
        before = _before(model, container)
        firsts = set(before.values())
        for last in before:
            second = last if last not in firsts else None
            while second is not None and second in before:
                found[second] = before[second]
                second = before.get(before[second])
    return found


def as_pair(first: Site, second: Site) -> Site:
    """Return the description of a matrix that two layers make up.

    Args:
        first: The layer of kernel B (m, r), by itself.
        second: The layer of kernel C (r, n), by itself.

    Returns:
        A description under the second layer's name with kernel shape (m, n).
    """
    return dataclasses.replace(
        second,
        kernel_shape=(first.kernel_shape[0], second.kernel_shape[1]),
        use_bias=first.use_bias or second.use_bias,
        per_step=first.per_step or second.per_step,
        first=first,
    )


def _before(model: ModelFile, container: Container) -> dict[Item, Item]:
    """Return the layer that may be the first by each that may be the second of a pair."""
    uses = Counter(ref for item in container.items for call in item.calls for ref in call)
    uses.update(container.outputs)
    found = {}
    for item in container.items:
        first = _feeder(item)
        if first is None or uses[Ref(first.name, 0, 0)] != 1:
            continue
        if _is_linear(first) and _fit(model, first, item):
            found[item] = first
    return found


def _feeder(item: Item) -> Item | None:
    """Return the Dense of the same class that alone feeds a Dense, each being called once."""
    if dense_entry(item) is None or len(item.calls) != 1 or len(item.calls[0]) != 1:
        return None
    ref = item.calls[0][0]
    first = item.container.by_name.get(ref.layer)
    if first is None or first is item or ref != Ref(first.name, 0, 0):
        return None
    same = dense_entry(first) is not None and first.class_name == item.class_name
    called_once = len(first.calls) == 1 and len(first.calls[0]) <= 1
    return first if same and called_once else None


def _is_linear(item: Item) -> bool:
    """Return whether a Dense does nothing to what its kernel and bias give."""
    config = as_dict(as_dict(dense_entry(item)).get("config"))
    return activation_name(config.get("activation")) == "linear"


def _fit(model: ModelFile, first: Item, second: Item) -> bool:
    """Return whether two layers are usable and their kernels (m, r) and (r, n), r <= min(m, n).

    A wider first layer is no factor of low rank: its designer only left out an activation.
    """
    try:
        (b, _), (c, _) = dense_arrays(model, first), dense_arrays(model, second)
    except UnsupportedModelError:
        return False
    (m, rank), (inputs, n) = b.shape, c.shape
    return rank == inputs and rank <= min(m, n) and b.dtype == c.dtype
