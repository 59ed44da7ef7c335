"""The shapes of what flows through a model, from its JSON alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrcompress.kinds.terms import as_dict, own_input_shape

if TYPE_CHECKING:
    from lrcompress.modelfile.model import ModelFile

# Without the batch axis; None where an axis is free.
Shape = tuple[int | None, ...]
# Of each input of a layer, and of its output; None where the file does not tell.
Shapes = tuple[tuple[Shape, ...] | None, Shape | None]


def shapes_of(model: ModelFile) -> dict[str, Shapes]:
    """Return what is known of the inputs and the output of each layer, by path."""
    found: dict[str, Shapes] = {}
    for item in model.tree.walk() if model.tree is not None else ():
        stated = own_input_shape(as_dict(item.entry))
        found["/".join(item.path)] = ((tuple(stated[1:]),) if stated else None, None)
    return found
