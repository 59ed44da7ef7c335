"""Training on several devices or machines, by the engines' own means.

JAX, one host or several: `keras.distribution.DataParallel`. TensorFlow, one host:
`tf.distribute.MirroredStrategy`, the one thing here that Keras has no name for. TensorFlow's
strategy for several hosts does not work with Keras 3 (it fails on its PerReplica values), and Keras'
PyTorch backend has none.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np

from lrcompress.data.arrays import Arrays, count, take
from lrcompress.errors import TrainingError, one_line
from lrcompress.live import engine as backend
from lrcompress.live import processes
from lrcompress.live.team import Team, at_work, current

_JAX = (
    "set KERAS_BACKEND=jax and, on each host, KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and "
    "_PROCESS_ID (docs/devices.md)"
)


# The others can be met once.
_joined = False


def join(choice: str) -> None:
    """Meet the other processes, if the environment names any; before anything is computed.

    Args:
        choice: One of `processes.CHOICES`; none leaves this process alone.

    Raises:
        TrainingError: If `choice` is another word, the engine cannot share work with others, or
            they cannot be met.
    """
    global _joined
    if choice not in processes.CHOICES:
        msg = f"Received distribute={choice!r}; expected {', '.join(processes.CHOICES)}."
        raise TrainingError(msg, code="distribute")
    if choice == "none":
        return
    engine = keras.backend.backend()
    _, number = processes.read_processes()
    workers = processes.tensorflow_workers() if engine == "tensorflow" else 0
    if max(number, workers) > 1 and engine != "jax":
        msg = (
            f"{max(number, workers)} processes are set up, and Keras cannot train on several under "
            f"{engine}; {_JAX}, or pass --distribute none."
        )
        raise TrainingError(msg, code="hosts_need_jax")
    if number > 1 and not _joined:
        try:
            keras.distribution.initialize()
        except (RuntimeError, ValueError) as error:
            # A program that has met the others itself is welcome to.
            if keras.distribution.DataParallel(auto_shard_dataset=False).num_processes != number:
                reason = one_line(error)
                msg = (
                    f"The other processes could not be met ({reason}); check the addresses and that "
                    f"all {number} have been started."
                )
                raise TrainingError(msg, code="processes") from error
        _joined = True


@contextlib.contextmanager
def over(choice: str) -> Iterator[Team]:
    """Load, build and train models in this context to have each batch shared by the devices.

    Args:
        choice: ``auto`` shares where this host has several accelerators, or the environment names
            several processes; ``data`` also among CPU devices; ``none`` never does.

    Yields:
        The devices.

    Raises:
        TrainingError: If the engine cannot do what is asked.
    """
    team = team_for(choice)
    scope: AbstractContextManager[Any] = contextlib.nullcontext()
    if len(team.devices) > 1:
        scope = _jax(team) if keras.backend.backend() == "jax" else _tensorflow(team)
    with scope, at_work(team):
        yield team


def team_for(choice: str) -> Team:
    """Return the devices that `over` would have share each batch.

    Raises:
        TrainingError: As `over`.
    """
    join(choice)
    devices = _devices(choice)
    return Team(tuple(devices), *processes.read_processes()) if len(devices) > 1 else Team()


def _devices(choice: str) -> list[str]:
    """Return the devices to share batches among; fewer than two if there is nothing to share."""
    engine = keras.backend.backend()
    if choice == "none":
        return []
    if engine not in ("jax", "tensorflow"):
        if choice == "data":
            msg = (
                f"Keras has no data parallelism under {engine}; set KERAS_BACKEND to jax or "
                "tensorflow, or pass --distribute none."
            )
            raise TrainingError(msg, code="engine_cannot_distribute")
        return []
    wanted = choice == "data" or backend.has_accelerator() or processes.read_processes()[1] > 1
    return backend.devices() if wanted else []


def _jax(team: Team) -> AbstractContextManager[Any]:
    # Each process is fed its own share of a batch, see `train.feed` and `predict`.
    extra = {"auto_shard_dataset": False} if team.processes > 1 else {}
    scope: AbstractContextManager[Any] = keras.distribution.DataParallel(**extra).scope()
    return scope


def _tensorflow(team: Team) -> AbstractContextManager[Any]:
    import tensorflow as tf

    names = [name.upper() for name in team.devices]
    scope: AbstractContextManager[Any] = tf.distribute.MirroredStrategy(names).scope()
    return scope


def predict(model: Any, x: Arrays, batch_size: int) -> Any:
    """Return the model's outputs on `x` as `model.predict` does, from all devices of the team.

    Args:
        model: A Keras model.
        x: Inputs; one batch where there is one device.
        batch_size: Samples that all devices together run at once.
    """
    team = current()
    if len(team.devices) == 1:
        # `predict` would set up a pipeline each time, which takes longer than a small model.
        return model.predict_on_batch(x)
    if keras.backend.backend() == "tensorflow":
        return model.predict(x, batch_size=batch_size, verbose=0)
    samples = count(x)
    batch = team.rounded(min(batch_size, samples))
    order = np.resize(np.arange(samples), samples + -samples % batch)
    each = batch // team.processes
    own = order.reshape(-1, team.processes, each)[:, team.index].reshape(-1)
    found = _gathering(model, team).predict(take(x, own), batch_size=each, verbose=0)
    return keras.tree.map_structure(lambda output: output[:samples], found)


_gathered: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _gathering(model: Any, team: Team) -> Any:
    """Return a model with the same layers whose outputs every process gets whole."""
    if team.processes == 1:
        return model
    if model not in _gathered:
        outputs = [_Gather()(output) for output in model.outputs]
        _gathered[model] = keras.Model(model.inputs, outputs)
    return _gathered[model]


class _Gather(keras.layers.Layer):  # type: ignore[misc]  # keras ships no types
    """Puts the whole of a batch on every device."""

    def call(self, x: Any) -> Any:
        """Return `x`, each device's share of it sent to all."""
        mesh = keras.distribution.distribution().device_mesh
        whole = keras.distribution.TensorLayout([None] * len(x.shape), mesh)
        return keras.distribution.distribute_tensor(x, whole)
