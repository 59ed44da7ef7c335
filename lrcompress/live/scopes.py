"""Layers of any name under TensorFlow, whose graphs take letters, digits and a few marks alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras

_ODD = re.compile(r"[^A-Za-z0-9_./>-]|^[^A-Za-z0-9.]")


def allow_names(model: Any) -> None:
    """Let TensorFlow run a model whose layers are called what its graphs do not take.

    Only the graph's own names of its parts change, which nothing reads: the layers keep theirs.
    """
    if keras.backend.backend() != "tensorflow":
        return
    if not any(_ODD.search(layer.name) for layer in (model, *model._flatten_layers())):
        return
    from keras.src.backend.tensorflow import core

    graph = core.tf.Graph
    if not hasattr(graph.name_scope, "takes_any"):
        graph.name_scope = _lenient(graph.name_scope)


def _lenient(name_scope: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def lenient(graph: Any, name: Any) -> Any:
        return name_scope(graph, _ODD.sub(".", name) if isinstance(name, str) else name)

    lenient.takes_any = True  # type: ignore[attr-defined]  # so that it is not done twice
    return lenient
