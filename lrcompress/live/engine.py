"""The engine behind Keras: its device, versions and compile options."""

from __future__ import annotations

import contextlib
import platform
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import keras
import numpy as np

from lrcompress.live.devices import available, has_accelerator, replicas, replicas_for
from lrcompress.lowrank import core_count as core_count

# What TensorFlow's graphs do not take in a name.
_ODD = re.compile(r"[^A-Za-z0-9_./>-]|^[^A-Za-z0-9.]")
# What fills weights with random numbers.
_DRAWING = (
    keras.initializers.Orthogonal,
    keras.initializers.RandomNormal,
    keras.initializers.RandomUniform,
    keras.initializers.TruncatedNormal,
    keras.initializers.VarianceScaling,
)


def forget_models() -> None:
    """Free what Keras keeps of the models so far."""
    # Not while several devices share the batches: Keras would forget that too, and so would
    # TensorFlow, whose strategy belongs to the graph that is thrown away.
    if len(replicas().devices) == 1:
        keras.backend.clear_session()


def describe_device(choice: str | None = None) -> str:
    """Return what computes: ``gpu:0 (jax)``, or ``gpu:0, gpu:1 (tensorflow), each batch shared by 2 devices``."""
    name = keras.backend.backend()
    sharing = replicas() if choice is None else replicas_for(choice)
    if len(sharing.devices) > 1:
        return f"{', '.join(sharing.devices)} ({name}), {sharing}"
    # One of several computes where nothing is shared.
    first = available()[0]
    return f"cpu, {platform.machine()} ({name})" if first.startswith("cpu") else f"{first} ({name})"


def jit_compile() -> bool | str:
    """Return Keras' `jit_compile`: XLA on the CPU slows small convolutions 3.5 times under TensorFlow."""
    return "auto" if has_accelerator() or keras.backend.backend() != "tensorflow" else False


def versions() -> dict[str, str]:
    """Return the versions that decide the numbers."""
    backend = keras.backend.backend()
    try:
        number = version(backend)
    except PackageNotFoundError:  # built by hand, or named otherwise (tensorflow-cpu)
        number = "unknown"
    return {
        "keras": keras.__version__,
        "backend": f"{backend} {number}",
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def allow_names(model: Any) -> None:
    """Let TensorFlow run a model whose layers are called what its graphs do not take."""
    if keras.backend.backend() != "tensorflow":
        return
    if not any(_ODD.search(layer.name) for layer in (model, *model._flatten_layers())):
        return
    from keras.src.backend.tensorflow import core

    name_scope = core.tf.Graph.name_scope

    def lenient(graph: Any, name: Any) -> Any:
        # Only the graph's own names of its parts change, which nothing reads: the layers keep theirs.
        return name_scope(graph, _ODD.sub(".", name) if isinstance(name, str) else name)

    if not hasattr(name_scope, "takes_any"):
        lenient.takes_any = True  # type: ignore[attr-defined]  # so that it is not done twice
        core.tf.Graph.name_scope = lenient


@contextlib.contextmanager
def temporarily(things: Sequence[Any], name: str, value: Callable[[Any], Any]) -> Iterator[None]:
    """Give an attribute of some things, such as layers, other values, and their own again after."""
    kept = [getattr(thing, name) for thing in things]
    try:
        for thing in things:
            setattr(thing, name, value(thing))
        yield
    finally:
        for thing, own in zip(things, kept, strict=True):
            setattr(thing, name, own)


@contextlib.contextmanager
def nothing_drawn() -> Iterator[None]:
    """Let what this thread builds begin at zero: its weights come from a file or from another layer."""
    # The random numbers of a head of a million classes take seconds, and 2 GB that TensorFlow keeps.
    here = threading.get_ident()

    def zeros(draw: Any) -> Any:
        def start(self: Any, shape: Any, dtype: Any = None, **others: Any) -> Any:
            if threading.get_ident() != here:
                return draw(self, shape, dtype, **others)
            return keras.ops.zeros(shape, dtype=dtype)

        return start

    with temporarily(_DRAWING, "__call__", lambda kind: zeros(kind.__call__)):
        yield
