"""The flat list in which an HDF5 file keeps all weights inside a nested model.

All trainable weights stand first in it, all frozen ones after them, each part in Keras' order of
layers; Keras loads them by position.
"""

from __future__ import annotations

from lrcompress.errors import UnsupportedModelError
from lrcompress.modelfile.graph import Container, Item
from lrcompress.modelfile.graph import Path as LayerPath
from lrcompress.modelfile.model import ModelFile
from lrcompress.modelfile.order import layer_order

# Layers without frozen weights of their own, unless they are frozen as a whole.
_ALL_TRAINABLE = (
    "Dense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "DepthwiseConv2D",
    "SeparableConv2D", "Embedding", "LayerNormalization", "PReLU", "LSTM", "GRU", "SimpleRNN",
)  # fmt: skip


class FlatOrder:
    """The layers inside one nested model in the order in which its weights are to be listed.

    Args:
        model: The old file.
        tree: The new architecture.
        outer: Name of the nested model.
    """

    def __init__(self, model: ModelFile, tree: Container, outer: str) -> None:
        """Work the order out once for all new layers."""
        self._model = model
        self._order = _flat(tree.by_name[outer])
        self._places = {item.path: place for place, item in enumerate(self._order)}

    def follower(self, old: LayerPath, first: LayerPath) -> LayerPath:
        """Return the layer before whose first weight the kernel of a new layer stands.

        The new layer is frozen where the split one is, so that is the next layer in the same part:
        mostly the split layer itself, but the graph may put others between the two.

        Args:
            old: Path of the layer that was split.
            first: Path of the new layer.

        Raises:
            UnsupportedModelError: With code ``nested_order`` if that is not certain.
        """
        start, end = self._places[first] + 1, self._places[old]
        frozen = _is_frozen(self._order[end])
        for item in self._order[start:end]:
            if not self._model.weights.of_layer.get(item.path):
                continue
            if _is_frozen(item) == frozen and (frozen or _starts_trainable(item)):
                return item.path
            if frozen and item.class_name not in _ALL_TRAINABLE:
                msg = (
                    f"Layer {item.name} in nested model {first[0]} of {self._model.path} may mix "
                    f"frozen and trainable weights, so the place next to {old[-1]} is not certain; "
                    "save the model as .keras, which keeps layers apart, and factorize that."
                )
                raise UnsupportedModelError(msg, code="nested_order")
        return old


def check_order(model: ModelFile, tree: Container, outer: str) -> None:
    """Refuse a change that makes Keras order the untouched layers of a nested model anew.

    A layer more or less on one branch moves all before it against those of another branch.

    Args:
        model: The old file.
        tree: The new architecture.
        outer: Name of the nested model, or of any outer layer.

    Raises:
        UnsupportedModelError: With code ``nested_order``.
    """
    if model.tree is None:
        return
    before, after = (
        [
            item.path
            for outermost in container.items
            if outermost.name == outer
            for item in _flat(outermost)
            if model.weights.of_layer.get(item.path)
        ]
        for container in (model.tree, tree)
    )
    kept = set(before) & set(after)
    if [path for path in before if path in kept] != [path for path in after if path in kept]:
        msg = (
            f"With a layer more or less, Keras would order the layers inside nested model {outer} "
            f"of {model.path} otherwise than their weights are saved; expected the same order: "
            "save the model as .keras, which keeps layers apart, and use that."
        )
        raise UnsupportedModelError(msg, code="nested_order")


def _flat(outer: Item) -> list[Item]:
    """Return the layers inside a nested model in the order its weights are listed."""
    if outer.inner is None:
        return [outer]
    return [leaf for item in layer_order(outer.inner) for leaf in _flat(item)]


def _is_frozen(item: Item) -> bool:
    """Return whether a layer is frozen; freezing a model freezes each of its layers in the file."""
    return item.config.get("trainable") is False


def _starts_trainable(item: Item) -> bool:
    """Return whether an unfrozen layer's first weight is trainable, as all but a few have it."""
    if item.class_name == "Normalization":
        return False
    moving = item.class_name.startswith("BatchNormalization")
    return not moving or any(item.config.get(key, True) for key in ("scale", "center"))
