"""Every layer of a known kind where it stands: its shapes, its neighbours, or why it stays."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lrcompress.kinds import Place, is_wrapped, serialized
from lrcompress.kinds.elementwise import acts_on_each
from lrcompress.kinds.registry import any_kind_of
from lrcompress.kinds.terms import DROPOUTS, NORMALIZATIONS, is_built_in
from lrcompress.modelfile.end import tree_of
from lrcompress.modelfile.find import FLOATS, why_fixed
from lrcompress.modelfile.graph import Item
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.neighbours import giver, is_alone, is_called_once, takers
from lrcompress.modelfile.order import computed
from lrcompress.modelfile.shapes import Shapes, shapes_of
from lrcompress.modelfile.untrusted import decoding


@dataclass(frozen=True)
class Places:
    """The layers that a form can make smaller, as they are computed, and why others stay, by path."""

    known: dict[str, Place]
    refused: dict[str, str]


def find_places(model: ModelFile) -> Places:
    """Return every layer of a known kind, and why the other layers with weights are none."""
    known: dict[str, Place] = {}
    refused: dict[str, str] = {}
    with decoding(model.path):
        shapes = shapes_of(tree_of(model))
        for item in computed(tree_of(model)):
            path = "/".join(item.path)
            if item.inner is not None or not model.weights.arrays(item.path):
                continue
            why = why_not(model, item)
            if why is None:
                place = _placed(model, item, shapes)
                if place.kind is not None and place.kind.forms(place):
                    known[path] = place
                    continue
                why = "has no form that fits its weights, or is too small for one"
            refused[path] = why
    return Places(known, refused)


def why_not(model: ModelFile, item: Item) -> str | None:
    """Return why a layer with weights is not touched, as a sentence behind its name."""
    kind = any_kind_of(item.entry)
    if kind is None:
        return f"is of class {item.class_name}, of which no form is known"
    refusal = kind.refuse(serialized(item.entry))
    if refusal is not None:
        return refusal.why.partition(";")[0]
    return _why_stays(model, item)


def _why_stays(model: ModelFile, item: Item) -> str | None:
    """Return why the arrays of a layer of any kind are not changed."""
    fixed = why_fixed(tree_of(model), item)
    if fixed is not None:
        return fixed.why.partition(";")[0]
    wrong = next(
        (str(a.dtype) for a in model.weights.arrays(item.path) if a.dtype not in FLOATS), None
    )
    return None if wrong is None else f"stores its weights as {wrong}"


def _placed(model: ModelFile, item: Item, shapes: dict[str, Shapes], *, deep: bool = True) -> Place:
    """Return a layer at its place; `deep` with what is before and behind it."""
    path, layer = "/".join(item.path), serialized(item.entry, model.weights.arrays(item.path))
    inputs, output = shapes.get(path, (None, None))
    place = Place(path, any_kind_of(item.entry), layer, is_wrapped(item.entry), inputs, output)
    if not deep:
        return place
    after, before = takers(item), giver(item)
    behind = tuple(_behind(model, other, shapes) for other in after)
    between, last = _between(model, item, shapes)
    normal = None
    direct = item.container.users.get(item.name, [])
    if len(direct) == 1 and direct[0].class_name in NORMALIZATIONS and is_called_once(item):
        normal = _placed(model, direct[0], shapes, deep=False)
    return replace(
        place,
        shift=normal,
        after=behind,
        between=between,
        beyond=tuple(_behind(model, other, shapes) for other in takers(last)),
        before=None if before is None else _placed(model, before, shapes, deep=False),
    )


def _behind(model: ModelFile, item: Item, shapes: dict[str, Shapes]) -> Place:
    """Return a layer that takes in another one's output; of no kind where it must stay as it is."""
    place = _placed(model, item, shapes, deep=False)
    free = is_alone(item) and why_not(model, item) is None
    return place if free else replace(place, kind=None)


def _between(
    model: ModelFile, item: Item, shapes: dict[str, Shapes]
) -> tuple[tuple[Place, ...], Item]:
    """Return the layers in a row behind one that act on each feature by itself, and the last of them or itself."""
    found: list[Place] = []
    last = item
    while is_called_once(item) and is_alone(item):
        users = item.container.users.get(item.name, [])
        if len(users) != 1 or len(users[0].calls) != 1 or not is_built_in(users[0].entry):
            break
        item = users[0]
        if item.class_name in DROPOUTS:
            continue
        place = _placed(model, item, shapes, deep=False)
        if not acts_on_each(place) or _why_stays(model, item) is not None:
            break
        found.append(place)
        last = item
    return tuple(found), last
