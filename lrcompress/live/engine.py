"""The engine behind Keras: its device, versions and compile options, and how a model is compiled."""

from __future__ import annotations

import contextlib
import platform
import re
import threading
from collections.abc import Callable, Iterator
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
    """Free what Keras keeps of the models so far.

    Nothing is freed while several devices share the batches: Keras would forget that too, and so
    would TensorFlow, whose strategy belongs to the graph that is thrown away.
    """
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


@contextlib.contextmanager
def nothing_drawn() -> Iterator[None]:
    """Let what this thread builds begin at zero: its weights come from a file or from another layer.

    The random numbers of a head of a million classes take seconds, and 2 GB that TensorFlow keeps.
    """
    here = threading.get_ident()

    def zeros(draw: Any) -> Any:
        def start(self: Any, shape: Any, dtype: Any = None, **others: Any) -> Any:
            if threading.get_ident() != here:
                return draw(self, shape, dtype, **others)
            return keras.ops.zeros(shape, dtype=dtype)

        return start

    kept = {kind: kind.__call__ for kind in _DRAWING}
    try:
        for kind, draw in kept.items():
            kind.__call__ = zeros(draw)
        yield
    finally:
        for kind, draw in kept.items():
            kind.__call__ = draw


def compile_without_slots(model: Any, compiled: dict[str, Any] | None) -> None:
    """Give a model the optimizer, loss and metrics of a `get_compile_config`; None leaves it not compiled.

    Not by `compile_from_config`, which would also build the optimizer's slots: they would be
    zeros, and triple the file.
    """
    try:
        settings = keras.saving.deserialize_keras_object(compiled) if compiled else None
    except Exception:  # functions and classes of a program, which `compile_like` knows
        settings = None
    if settings:
        model.compile(**settings)
    else:
        # Keras would otherwise store whatever loss it was trained with, which need not be stock.
        model.compiled = False


def compile_anew(model: Any, compiled: dict[str, Any]) -> None:
    """Compile a model by the settings of its file, or raise what Keras does of those that it does not know."""
    if compiled:
        model.compile(**keras.saving.deserialize_keras_object(compiled))


def drop_slots(model: Any) -> None:
    """Give back what the optimizer of a model keeps for its weights, once or twice their size."""
    if isinstance(getattr(model, "optimizer", None), keras.optimizers.Optimizer):
        model.optimizer = _without_state(model.optimizer)


def compile_like(model: Any, like: Any) -> None:
    """Compile a model as another one is in this process, with the same functions and classes."""
    if not like.compiled:
        model.compiled = False
        return
    # An archive would spell functions by names that only the caller's program can read.
    settings = dict(like._compile_config.config) | {"optimizer": like.optimizer}
    model.compile(**keras.tree.map_structure(_without_state, settings))


def _without_state(setting: Any) -> Any:
    """Return a new optimizer or metric of the same settings; anything else as it is."""
    if isinstance(setting, keras.Metric):
        return type(setting).from_config(setting.get_config())
    if isinstance(setting, keras.optimizers.Optimizer):
        config = setting.get_config()
        rate = setting._learning_rate
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            config["learning_rate"] = rate
        return type(setting).from_config(config)
    return setting


def compile_with_known(model: Any, compiled: dict[str, Any]) -> list[str]:
    """Compile a model with the loss and optimizer of its file that Keras knows, and return what it does not.

    Nothing needs the metrics.
    """
    unknown: list[str] = []
    optimizer = compiled.get("optimizer") or compiled.get("optimizer_config")
    loss = _known(compiled.get("loss"), keras.losses.get, unknown)
    optimizer = _known(optimizer, keras.optimizers.get, unknown)
    for key in ("metrics", "weighted_metrics"):
        _known(compiled.get(key), _metric, unknown)
    weights = compiled.get("loss_weights")
    if loss is not None or optimizer is not None:
        model.compile(optimizer=optimizer, loss=loss, loss_weights=weights)
    return list(dict.fromkeys(unknown))


def _known(saved: Any, get: Callable[[Any], Any], unknown: list[str]) -> Any:
    """Return what Keras makes of a setting, None in the place of what it does not know."""
    if isinstance(saved, list):
        return [_known(one, get, unknown) for one in saved]
    if isinstance(saved, dict) and "class_name" not in saved:
        return {name: _known(one, get, unknown) for name, one in saved.items()}
    try:
        return get(saved)
    except Exception as error:  # a stranger's settings fail in any way
        named = re.search(r"(?:class|function) '([^']+)'", str(error))
        config = saved.get("config") if isinstance(saved, dict) else saved
        name = config if isinstance(config, str) else saved["class_name"]
        unknown.append(named[1] if named else str(name).strip("_"))
        return None


def _metric(saved: Any) -> Any:
    # These are made for the outputs' shapes as the model compiles.
    return saved if saved in ("accuracy", "acc", "crossentropy", "ce") else keras.metrics.get(saved)
