"""The shapes of what flows through a model, from its JSON alone."""

from __future__ import annotations

from lrcompress.kinds import Serialized
from lrcompress.kinds.shapes import Shape, agreed, multiplications, output_shape, states_shape
from lrcompress.kinds.terms import is_built_in, own_input_shape, shape
from lrcompress.modelfile.graph import Container, Item, Ref, written
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.order import call_order, resolve

# Of each input of a layer, and of its output; None where the file does not tell.
Shapes = tuple[tuple[Shape, ...] | None, Shape | None]
_Given = tuple[Shape | None, ...]
_Tensor = tuple[Item, int, int]
# Calls of one nested model with inputs of different shapes that are followed.
_MOST_CALLS = 8


def shapes_of(tree: Container) -> dict[str, Shapes]:
    """Return what is known of the inputs and the output of each layer, by path; what all its calls agree in."""
    walk = _Walk()
    walk.through(tree, ())
    return {
        "/".join(path): (_all_known(inputs), output)
        for path, (inputs, output) in walk.found.items()
    }


def multiplications_of(model: ModelFile) -> tuple[int | None, list[str]]:
    """Return the multiplications by kernels of one sample, and the classes of layers that leave them unknown."""
    total, unknown = 0, set[str]()
    tree = model.tree
    if tree is None:
        return 0, []
    shapes = shapes_of(tree)
    for item in tree.walk():
        inputs, output = shapes.get("/".join(item.path), (None, None))
        if item.inner is not None or "/".join(item.path) not in shapes:
            continue
        layer = Serialized(item.class_name, item.config, model.weights.arrays(item.path))
        found = 0 if all(len(array.shape) < 2 for array in layer.arrays) else None
        if inputs is not None and output is not None and is_built_in(item.entry):
            found = multiplications(layer, inputs, output)
        if found is None:
            unknown.add(item.class_name)
        else:
            total += found * _uses(tree, item)
    return (None if unknown else total), sorted(unknown)


def _uses(tree: Container, item: Item) -> int:
    """Return how often a layer is called, in all calls of the models that it stands in."""
    outer = tree.owners.get(item.container)
    return max(len(item.calls), 1) * (1 if outer is None else _uses(tree, outer))


def _all_known(inputs: _Given) -> tuple[Shape, ...] | None:
    known = tuple(one for one in inputs if one is not None)
    return known if known and len(known) == len(inputs) else None


class _Walk:
    """Follows shapes from the inputs of models to their outputs."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, ...], tuple[_Given, Shape | None]] = {}
        self._outputs: dict[Container, dict[_Given, _Given]] = {}

    def through(self, container: Container, given: _Given) -> _Given:
        """Return the shapes of a model's outputs for those of its inputs, and note those within."""
        known = self._outputs.setdefault(container, {})
        if given not in known:
            unknown, full = (None,) * len(container.outputs), len(known) >= _MOST_CALLS
            known[given] = unknown if full else self._pass(container, given)
        return known[given]

    def _pass(self, container: Container, given: _Given) -> _Given:
        stated = _stated(container)
        entering = {ref.layer: one for ref, one in zip(container.inputs, given, strict=False)}
        tensors: dict[_Tensor, Shape | None] = {}

        def flowing(refs: list[Ref]) -> _Given:
            return tuple(
                tensors.get((*resolve(container, ref), ref.tensor), stated.get(ref)) for ref in refs
            )

        for item, node in call_order(container):
            refs = item.calls[node] if node < len(item.calls) else []
            inputs = flowing(refs) if refs else (entering.get(item.name),)
            if len(inputs) == 1:
                inputs = (agreed(inputs[0], _own(item)),)
            self._call(item, node, inputs, stated, tensors)
        return flowing(container.outputs)

    def _call(
        self, item: Item, node: int, inputs: _Given, stated: dict[Ref, Shape],
        tensors: dict[_Tensor, Shape | None],
    ) -> None:  # fmt: skip
        """Note the shapes of the tensors that one call of a layer gives."""
        if item.inner is not None:
            outputs = self.through(item.inner, inputs)
        else:
            states = states_shape(item.entry)
            first = None if item.is_operation else output_shape(item.entry, inputs)
            outputs = tuple(
                agreed(one, stated.get(Ref(item.name, node, tensor)))
                for tensor, one in enumerate((first, states, states))
            )
        for tensor, one in enumerate(outputs):
            tensors[item, node, tensor] = one
        output = outputs[0] if outputs else None
        if item.path in self.found:
            before, out = self.found[item.path]
            pairs = zip(before, inputs, strict=False)
            inputs = tuple(agreed(a, b, strict=True) for a, b in pairs)
            output = agreed(out, output, strict=True)
        self.found[item.path] = (inputs, output)


def _own(item: Item) -> Shape | None:
    """Return the shape of its input that a layer's own JSON states."""
    found = own_input_shape(item.entry)
    if found is None:
        found = shape(item.config.get("build_input_shape"))
    return None if found is None else tuple(found[1:])


def _stated(container: Container) -> dict[Ref, Shape]:
    """Return the shapes that Keras 3 writes beside the tensors that layers take in."""
    if container.sequential:
        return {}
    return {
        Ref(*tensor["config"]["keras_history"][:3]): tuple(dims[1:])
        for item in container.items
        for tensor in written(item.entry.get("inbound_nodes"), container.by_name)
        if isinstance(tensor, dict) and (dims := shape(tensor["config"].get("shape"))) is not None
    }
