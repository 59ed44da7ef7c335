"""Devices that share each batch, on one host or several, by the engines' own means.

JAX, one host or several: `keras.distribution.DataParallel`. TensorFlow, one host:
`tf.distribute.MirroredStrategy`, the one thing here that Keras has no name for. TensorFlow's
strategy for several hosts does not work with Keras 3 (it fails on its PerReplica values), and Keras'
PyTorch backend has none.

A step's gradient is that of the whole batch, so that the results are those of one device up to
rounding. For that every device's share must be equally large: batches grow to the next multiple
of the devices.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrcompress.data.arrays import Arrays, count, take
from lrcompress.errors import TrainingError, one_line
from lrcompress.live import environment

_JAX = (
    "set KERAS_BACKEND=jax and, on each host, KERAS_DISTRIBUTION_JOB_ADDRESSES, _NUM_PROCESSES and "
    "_PROCESS_ID (docs/devices.md)"
)


@dataclass(frozen=True)
class Replicas:
    """Devices that keep the same weights and compute a share of each batch."""

    devices: tuple[str, ...] = ("",)  # their names, those of other processes included
    index: int = 0  # of this process; the first writes and prints
    processes: int = 1  # one a host as a rule

    def __str__(self) -> str:
        """Return how batches are shared."""
        over = f" in {self.processes} processes" if self.processes > 1 else ""
        return f"each batch shared by {len(self.devices)} devices{over}"

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.index == 0

    def rounded(self, batch_size: int) -> int:
        """Return the next multiple of the devices."""
        return batch_size + -batch_size % len(self.devices)

    def evened(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return samples in order, filled up from its begin to a multiple of the devices."""
        return np.resize(order, self.rounded(len(order))) if len(order) else order

    @contextlib.contextmanager
    def folder(self, folder: Path) -> Iterator[Path]:
        """Yield where this process may write what belongs in a folder: all but the first in a copy of their own."""
        if self.writes:
            yield folder
            return
        with tempfile.TemporaryDirectory(prefix="lrcompress-") as scratch:
            own = Path(scratch) / folder.name
            if folder.is_dir():
                # Files are replaced, never written into: a link will do.
                unlocked = shutil.ignore_patterns("*.lock")
                shutil.copytree(folder, own, copy_function=_link, ignore=unlocked)
            yield own


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(Path(source).resolve())


_current = Replicas()
# The other processes can be met once.
_joined = False


def replicas() -> Replicas:
    """Return the devices at work; a single nameless one where nothing is shared."""
    return _current


def available() -> list[str]:
    """Return the names of the devices that can compute, accelerators only if there are any."""
    try:
        return [str(device).lower() for device in keras.distribution.list_devices()]
    except (NotImplementedError, AttributeError, ValueError):
        # The PyTorch backend of older Keras cannot list its devices.
        return ["cpu:0"]


def has_accelerator() -> bool:
    """Return whether Keras sees a GPU or TPU."""
    return any(not device.startswith("cpu") for device in available())


@contextlib.contextmanager
def over(choice: str) -> Iterator[Replicas]:
    """Load, build and train models in this context to have each batch shared by the devices."""
    global _current
    found = replicas_for(choice)
    before = _current
    with _scope(found) if len(found.devices) > 1 else contextlib.nullcontext():
        _current = found
        try:
            yield found
        finally:
            _current = before


def replicas_for(choice: str) -> Replicas:
    """Return the devices that `over` would have share each batch; meets the other processes."""
    join(choice)
    found = _sharing(choice)
    return Replicas(tuple(found), *environment.read_processes()) if len(found) > 1 else Replicas()


def join(choice: str) -> None:
    """Meet the other processes, if the environment names any; before anything is computed."""
    global _joined
    if choice not in environment.CHOICES:
        msg = f"Received distribute={choice!r}; expected {', '.join(environment.CHOICES)}."
        raise TrainingError(msg, code="distribute")
    if choice == "none":
        return
    engine = keras.backend.backend()
    _, number = environment.read_processes()
    workers = environment.tensorflow_workers() if engine == "tensorflow" else 0
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
                msg = (
                    f"The other processes could not be met ({one_line(error)}); check the addresses and that "
                    f"all {number} have been started."
                )
                raise TrainingError(msg, code="processes") from error
        _joined = True


def _sharing(choice: str) -> list[str]:
    """Return the devices to share batches among; fewer than two if there is nothing to share."""
    engine = keras.backend.backend()
    if engine not in ("jax", "tensorflow"):
        if choice == "data":
            msg = (
                f"Keras has no data parallelism under {engine}; set KERAS_BACKEND to jax or "
                "tensorflow, or pass --distribute none."
            )
            raise TrainingError(msg, code="engine_cannot_distribute")
        return []
    # "data" also among CPU devices, "auto" where there are several accelerators or processes.
    wanted = choice == "data" or (
        choice == "auto" and (has_accelerator() or environment.read_processes()[1] > 1)
    )
    return available() if wanted else []


def _scope(found: Replicas) -> Any:
    """Return the context in which the engine shares batches."""
    if keras.backend.backend() == "jax":
        # Each process is fed its own share of a batch, see `train.feed` and `predict`.
        extra = {"auto_shard_dataset": False} if found.processes > 1 else {}
        return keras.distribution.DataParallel(**extra).scope()
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([name.upper() for name in found.devices]).scope()


def predict(model: Any, x: Arrays, batch_size: int) -> Any:
    """Return the model's outputs on `x`, from all devices at work together; one batch where there is one."""
    found = replicas()
    if len(found.devices) == 1:
        # `predict` would set up a pipeline each time, which takes longer than a small model.
        return model.predict_on_batch(x)
    if keras.backend.backend() == "tensorflow":
        return model.predict(x, batch_size=batch_size, verbose=0)
    samples = count(x)
    batch = found.rounded(min(batch_size, samples))
    order = np.resize(np.arange(samples), samples + -samples % batch)
    each = batch // found.processes
    own = order.reshape(-1, found.processes, each)[:, found.index].reshape(-1)
    whole = model if found.processes == 1 else _gathering(model)
    outputs = whole.predict(take(x, own), batch_size=each, verbose=0)
    return keras.tree.map_structure(lambda output: output[:samples], outputs)


_gathered: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _gathering(model: Any) -> Any:
    """Return a model with the same layers whose outputs every process gets whole."""
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
