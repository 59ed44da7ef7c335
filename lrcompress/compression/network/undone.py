"""A network that is factorized already: what are factors of one layer are that layer first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lrcompress.compression.network.request import BudgetName, NetworkRequest, Observe
from lrcompress.errors import first_three, in_place_of
from lrcompress.kinds import Serialized
from lrcompress.modelfile import (
    SUFFIXES,
    ModelFile,
    find_chains,
    multiplications_of,
    open_model,
    write_merged,
)


def undone(
    model: ModelFile, request: NetworkRequest, observe: Observe | None, folder: Path
) -> tuple[ModelFile, NetworkRequest, tuple[str, ...]]:
    """Return a network in which the layers that are asked for are whole, what is then asked, and what to say of it.

    A share to save stays a share of what the model given has: the merged one has more.

    Args:
        model: The file.
        request: What is asked of it.
        observe: Runs model files on inputs, of which the first is what others are judged by.
        folder: For a merged copy.

    Raises:
        UnsupportedModelError: If the model lists no layers.
    """
    # Where the one is no larger than its parts, they are no factors of it but layers of their own.
    chains = [
        chain
        for chain in find_chains(model)
        if chain.is_meant(request.layers)
        and _weights(chain.whole) > sum(map(_weights, chain.parts))
    ]
    if not chains:
        return model, request, ()
    path = folder / f"merged{SUFFIXES[model.format][0]}"
    write_merged(model, chains, path)
    if observe is not None:
        observe(model)
    with in_place_of(path, model.path):
        whole = open_model(path)
    # Names of layers that went are those of the ones that they are now.
    words = dict.fromkeys(
        next((chain.path for chain in chains if chain.is_meant([word])), word)
        if word not in ("all", *(chain.family for chain in chains)) else word
        for word in request.layers
    )  # fmt: skip
    names = first_three([chain.path for chain in chains])
    said = f"Layers that were factorized already were merged first, and then made smaller again: {names}."
    return (
        whole,
        replace(request, layers=tuple(words), budget=_budget(model, whole, request)),
        (said,),
    )


def _weights(layer: Serialized) -> int:
    return sum(array.size for array in layer.arrays)


def _budget(
    model: ModelFile, whole: ModelFile, request: NetworkRequest
) -> tuple[BudgetName, float] | None:
    """Return a budget of the merged network that leaves what was asked for of the one given."""
    if request.budget is None or request.budget[0] not in ("reduction", "multiplications"):
        return request.budget
    name, value = request.budget
    now, more = (
        each.parameters if name == "reduction" else multiplications_of(each)[0] or 0
        for each in (model, whole)
    )
    return (name, 1 - (1 - value) * now / more) if now and more else request.budget
