"""The groups in which a `.keras` archive keeps each layer's weights.

Their paths are made of class names and counters, never of the layer's name:
``layers/functional_1/layers/dense_2/vars/0`` is the third Dense, in Keras' order, of the second
nested functional model. One more Dense renumbers every later one of its container.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lrcompress.kinds.terms import is_input
from lrcompress.modelfile.graph import Container, Item
from lrcompress.modelfile.graph import Path as LayerPath
from lrcompress.modelfile.order import layer_order

# Keras up to 2.14 named the groups of layers after an internal attribute.
PREFIXES = ("layers", "_layer_checkpoint_dependencies")
# Keras that listed layers with weights twice, and so gave each of them two numbers.
DOUBLING = ("2.12.", "2.13.")

# Says of a layer, given with its group, whether it has weights.
Weighted = Callable[[LayerPath, str], bool]


@dataclass(frozen=True)
class Numbering:
    """How one version of Keras names and counts the groups of layers.

    Attributes:
        prefix: The name of the groups that hold layers.
        doubled: Whether layers with weights take two numbers, the second one unused.
    """

    prefix: str = PREFIXES[0]
    doubled: bool = False

    def groups(self, tree: Container, weighted: Weighted) -> dict[LayerPath, str]:
        """Return the group of every layer of a model, nested ones included.

        Args:
            tree: The architecture.
            weighted: Asked about each layer in turn.
        """
        found: dict[LayerPath, str] = {}
        self._fill(tree, self.prefix, weighted, found, set())
        return found

    def _fill(
        self,
        container: Container,
        where: str,
        weighted: Weighted,
        found: dict[LayerPath, str],
        visited: set[int],
    ) -> None:
        """Name the groups of one container, each nested one as soon as it is met."""
        used: dict[str, int] = {}
        for item in _stored_order(container):
            name = snake_case(item.class_name)
            number = used.setdefault(name, 0)
            group = f"{where}/{name}_{number}" if number else f"{where}/{name}"
            used[name] += 2 if self.doubled and weighted(item.path, group) else 1
            # An object met before is stored at its first place only.
            identity = item.entry.get("shared_object_id")
            if isinstance(identity, int):
                if identity in visited:
                    continue
                visited.add(identity)
            found[item.path] = group
            if item.inner is not None:
                self._fill(item.inner, f"{group}/{self.prefix}", weighted, found, visited)


def _stored_order(container: Container) -> list[Item]:
    """Return the layers that have a group, in Keras' order."""
    order = [item for item in layer_order(container) if not item.is_operation]
    if container.sequential and order and is_input(order[0]):
        return order[1:]
    return order


def snake_case(class_name: str) -> str:
    """Return a class name as Keras spells it in paths: Conv2DTranspose -> conv2d_transpose."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
