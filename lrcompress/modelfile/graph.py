"""The architecture as a tree of containers and layers, whatever Keras wrote the config.

Sequential models are given references between layers too, so every walk over a model is written once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from lrcompress.kinds import PER_STEP, HeadKind, kind_of
from lrcompress.kinds.terms import as_dict, as_list, output_dimensions, own_input_shape

LayerPath = tuple[str, ...]

# Model classes of all Keras versions, and where the class may come from. A custom class whose
# config has the functional keys is one too: that is how `Model(inputs, outputs)` subclasses save.
_SEQUENTIAL = "Sequential"
_FUNCTIONAL = ("Functional", "Model")
# Where Keras 3 keeps its functions, which are layers of functional models too.
OPERATIONS = ("keras.src.ops", "keras.ops")


class Ref(NamedTuple):
    """One tensor: output `tensor` of the call number `node` of the layer `layer`."""

    layer: str
    node: int
    tensor: int


@dataclass(eq=False)
class Item:
    """One layer of a container; `entry` is its JSON object, `calls` its inputs at each call."""

    name: str
    class_name: str
    entry: dict[str, Any]
    config: dict[str, Any]
    path: LayerPath
    container: Container
    calls: list[list[Ref]] = field(default_factory=list)
    inner: Container | None = None

    @property
    def is_named(self) -> bool:
        """Whether the file names the layer; else `name` is made up from its place."""
        return _stated_name(self.entry) is not None

    @property
    def is_input(self) -> bool:
        """Whether it is an input of its model."""
        return self.class_name == "InputLayer"

    @cached_property
    def kind(self) -> HeadKind | None:
        """The kind of the layer, or of the one that it applies at each step."""
        return kind_of(self.entry)

    @property
    def is_operation(self) -> bool:
        """Whether it is a bare function of `keras.ops`: no layer, no place among the weights."""
        return str(self.entry.get("module")).startswith(OPERATIONS)


@dataclass(eq=False)
class Container:
    """A Sequential or functional model; what is asked of it for every layer is worked out once."""

    sequential: bool
    entry: dict[str, Any]
    path: LayerPath
    items: list[Item] = field(default_factory=list)
    inputs: list[Ref] = field(default_factory=list)
    outputs: list[Ref] = field(default_factory=list)
    by_name: dict[str, Item] = field(default_factory=dict)
    # Filled as they are asked for: Keras' order, and the dimensions of each layer's input.
    order: dict[Item, None] | None = None
    input_dimensions: dict[Item, int | None] = field(default_factory=dict)

    @property
    def layer_entries(self) -> list[Any]:
        """The JSON array of layers itself; Keras up to 2.2.2 wrote a bare list as the config."""
        config = self.entry.get("config")
        layers = config.get("layers") if isinstance(config, dict) else config
        return layers if isinstance(layers, list) else []

    def walk(self) -> Iterator[Item]:
        """Yield every layer, those of nested models right after the nested model itself."""
        for item in self.items:
            yield item
            if item.inner is not None:
                yield from item.inner.walk()

    @cached_property
    def paths(self) -> Counter[LayerPath]:
        """How many layers, those of nested models included, have each path."""
        return Counter(item.path for item in self.walk())

    @cached_property
    def identities(self) -> Counter[int]:
        """In how many places each object stands that Keras shares among several."""
        found = (item.entry.get("shared_object_id") for item in self.walk())
        return Counter(identity for identity in found if isinstance(identity, int))

    @cached_property
    def owners(self) -> dict[Container, Item]:
        """The layer that each nested model is."""
        return {item.inner: item for item in self.walk() if item.inner is not None}

    @cached_property
    def output_counts(self) -> Counter[str]:
        """How many outputs of the model each layer gives."""
        return Counter(ref.layer for ref in self.outputs)

    @cached_property
    def uses(self) -> Counter[Ref]:
        """How often each tensor is taken in, or is an output."""
        calls = (ref for item in self.items for call in item.calls for ref in call)
        return Counter([*calls, *self.outputs])

    @cached_property
    def users(self) -> dict[str, list[Item]]:
        """The layers that take in each layer's output, once for each call that does."""
        users: dict[str, list[Item]] = {}
        for item in self.items:
            for call in item.calls:
                for name in dict.fromkeys(ref.layer for ref in call):
                    users.setdefault(name, []).append(item)
        return users


def container_kind(entry: dict[str, Any]) -> str | None:
    """Return ``"sequential"``, ``"functional"`` or None for a serialized layer or model."""
    class_name, config = entry.get("class_name"), entry.get("config")
    if class_name == _SEQUENTIAL:
        layers = config.get("layers") if isinstance(config, dict) else config
        return "sequential" if isinstance(layers, list) else None
    if isinstance(config, dict) and isinstance(config.get("layers"), list):
        has_ends = "input_layers" in config and "output_layers" in config
        if has_ends or class_name in _FUNCTIONAL:
            return "functional"
    return None


def build(entry: dict[str, Any], path: LayerPath = ()) -> Container | None:
    """Return the tree of a serialized model, or None where it lists no layers (a subclass)."""
    kind = container_kind(entry)
    if kind is None:
        return None
    container = Container(kind == "sequential", entry, path)
    for position, raw in enumerate(container.layer_entries):
        item = _item(as_dict(raw), position, container)
        container.items.append(item)
        container.by_name.setdefault(item.name, item)
    if container.sequential:
        _link_sequential(container)
    else:
        _link_functional(container)
    return container


def _item(entry: dict[str, Any], position: int, container: Container) -> Item:
    config = as_dict(entry.get("config"))
    name = _stated_name(entry) or f"layer {position + 1}"
    class_name = entry.get("class_name")
    path = (*container.path, name)
    item = Item(
        name, class_name if isinstance(class_name, str) else "?", entry, config, path, container
    )
    item.inner = build(entry, path)
    return item


def _stated_name(entry: dict[str, Any]) -> str | None:
    """Return a layer's name; a nested bare-list Sequential of Keras 2.0 states none."""
    for name in (entry.get("name"), as_dict(entry.get("config")).get("name")):
        if isinstance(name, str) and name:
            return name
    return None


def _link_sequential(container: Container) -> None:
    refs = [Ref(item.name, 0, 0) for item in container.items]
    for number, item in enumerate(container.items):
        item.calls = [refs[max(number - 1, 0) : number]]
    container.inputs, container.outputs = refs[:1], refs[-1:]


def _link_functional(container: Container) -> None:
    known = container.by_name
    for item in container.items:
        nodes = as_list(item.entry.get("inbound_nodes"))
        item.calls = [list(tensors(node, known)) for node in nodes] or [[]]
    config = as_dict(container.entry.get("config"))
    container.inputs = list(tensors(config.get("input_layers"), known))
    container.outputs = list(tensors(config.get("output_layers"), known))
    _shift_nested_calls(container)


def _shift_nested_calls(container: Container) -> None:
    """Make call numbers of nested models start at 0.

    A nested model has one call before its first use, its own creation. Keras 2 counts it in every
    reference; Keras 3, told by its notation of calls, in a model's outputs only, and there only
    where the nested model is functional.
    """
    nodes = [n for i in container.items for n in as_list(i.entry.get("inbound_nodes"))]
    modern = any(isinstance(node, dict) for node in nodes)
    used = [ref for item in container.items for call in item.calls for ref in call]
    first = first_calls(container.outputs if modern else [*used, *container.outputs])
    nested = {item.name: item.inner for item in container.items if item.inner is not None}
    shifts = {name: first.get(name, 0) for name in nested}
    if modern:
        shifts = {n: 0 if nested[n].sequential else min(1, shift) for n, shift in shifts.items()}
    else:
        for item in container.items:
            item.calls = [_shifted(call, shifts) for call in item.calls]
    container.outputs = _shifted(container.outputs, shifts)


def first_calls(refs: Iterable[Ref]) -> dict[str, int]:
    """Return the lowest call number by which each layer is referred to."""
    first: dict[str, int] = {}
    for ref in refs:
        first[ref.layer] = min(ref.node, first.get(ref.layer, ref.node))
    return first


def _shifted(refs: list[Ref], shifts: dict[str, int]) -> list[Ref]:
    """Return `refs` with the call numbers of some layers lowered."""
    return [
        Ref(r.layer, max(r.node - shifts[r.layer], 0), r.tensor) if r.layer in shifts else r
        for r in refs
    ]


def unused_name(name: str, taken: Collection[str]) -> str:
    """Return a name for a new layer: this one, with a number behind it where it is taken."""
    number, candidate = 2, name
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def is_leaf(value: object, known: dict[str, Item]) -> bool:
    """Return whether a JSON value is ``[layer, node, tensor]``, perhaps with keyword arguments."""
    return (
        isinstance(value, list)
        and len(value) in (3, 4)
        and isinstance(value[0], str)
        and value[0] in known
        and all(isinstance(n, int) and not isinstance(n, bool) for n in value[1:3])
    )


def written(value: object, known: dict[str, Item]) -> Iterator[Any]:
    """Yield the tensors in a call as JSON has them, in Keras' order: dictionaries go by sorted key."""
    if is_leaf(value, known) or is_leaf(_history(value), known):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value if isinstance(value, list) else [value[key] for key in sorted(value)]:
            yield from written(part, known)


def _history(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return the reference in a tensor in Keras 3's notation."""
    return as_dict(as_dict(value).get("config")).get("keras_history")


def tensors(value: object, known: dict[str, Item]) -> Iterator[Ref]:
    """Yield the tensors in a call, or in a model's inputs and outputs, in Keras' own order."""
    for tensor in written(value, known):
        leaf = _history(tensor) or tensor
        yield Ref(*leaf[:3])
        # What Keras 2 notes behind a tensor: the keyword arguments of its call.
        yield from tensors(leaf[3:], known)


def input_dimensions(item: Item) -> int | None:
    """Return the dimensions of a layer's input, batch included, as the nearest layer before it tells."""
    stated = own_input_shape(item.entry)
    if stated is not None:
        return len(stated)
    known = item.container.input_dimensions
    passed: list[Item] = []
    current: Item | None = item
    while current is not None and current not in known:
        # None for now, which also ends a cycle.
        known[current] = None
        passed.append(current)
        first = current.calls[0] if current.calls else []
        before = item.container.by_name.get(first[0].layer) if first else None
        found = _output_dimensions(before) if before else None
        if found is not None:
            break
        current = before
    else:
        found = known[current] if current is not None else None
    known.update(dict.fromkeys(passed, found))
    return found


def _output_dimensions(item: Item) -> int | None:
    """Return the dimensions of a layer's output where it alone tells."""
    if item.class_name in PER_STEP:
        return 3
    return output_dimensions(item.class_name, item.entry, keeps=item.inner is None)
