"""What becomes of a model's layers and weights, said before either format is thought of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lrcompress.modelfile.graph import Path as LayerPath
from lrcompress.modelfile.rewrite.plan import NewArray


@dataclass
class Changes:
    """A new architecture and its weights, in terms of the old ones.

    Attributes:
        config: The new architecture.
        firsts: Path of each new first layer by the path of the layer it was split from.
        kernels: Its kernel, by its own path.
        gone: Paths of layers that are no more, their weights with them.
        values: New values by a layer's path and the number of the array there: 0 for the kernel,
            1 for the bias. None: the array is no more. Only a bias may be new.
        warnings: Sentences for the user.
    """

    config: dict[str, Any]
    firsts: dict[LayerPath, LayerPath] = field(default_factory=dict)
    kernels: dict[LayerPath, NewArray] = field(default_factory=dict)
    gone: set[LayerPath] = field(default_factory=set)
    values: dict[tuple[LayerPath, int], NewArray | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
