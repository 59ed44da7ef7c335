"""A callback of `fit` that watches which ranks the layers of a network would allow."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from lrcompress.errors import UnsupportedModelError, did_you_mean, first_three
from lrcompress.kinds import LinearKind, Serialized, serialized
from lrcompress.kinds.registry import any_kind_of
from lrcompress.lowrank import break_even_rank, energy, rank_for_share, singular_values


class LowRankCallback(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Show, while a model trains, at which rank each layer keeps a share of its energy.

    After an epoch ``rank/<layer>`` is in its logs, the smallest r whose singular values hold that share of the
    squares of all, and ``lowrank_share``, which part of the watched layers' weights is left where each has the
    rank that it allows, if that saves anything. Put it before loggers such as `CSVLogger`. Matrices are those that
    `factorize` with ``layers="all"`` splits: of a convolution (window x inputs, outputs), of a recurrent layer its
    input kernel. What a rank costs on data, `sweep` measures.

    ``watch = LowRankCallback()`` goes to ``fit(..., callbacks=[watch])``; then ``watch.history[-1]["ranks"]`` has the
    ranks after the last epoch.

    Attributes:
        history: One entry for each epoch that was looked at: ``epoch``, from 0; ``ranks`` by path of the layer;
            and ``lowrank_share``.
        shapes: (m, n) of each layer that is watched, by path.
    """

    def __init__(
        self, energy: float = 0.95, *, layers: list[str] | None = None, every: int = 1
    ) -> None:
        """Watch some layers.

        Args:
            energy: The share to keep, above 0 and at most 1.
            layers: Names, or paths ``outer/name`` in nested models; default all of a kind that has a matrix.
            every: Look after every so many epochs.

        Raises:
            RankError: If there is no such share.
        """
        super().__init__()
        rank_for_share(np.ones(1), energy)
        self._energy, self._wanted, self._every = energy, layers, max(1, every)
        self._watched: dict[str, tuple[Any, LinearKind]] = {}
        self.history: list[dict[str, Any]] = []
        self.shapes: dict[str, tuple[int, int]] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Find the layers."""
        found = dict(_matrices(self.model))
        if self._wanted is not None:
            by_name = {path.rsplit("/", 1)[-1]: path for path in found} | {p: p for p in found}
            missing = [name for name in self._wanted if name not in by_name]
            if missing:
                msg = (
                    f"{self.model.name} has no layer {missing[0]!r} with a matrix to watch; expected some of "
                    f"{first_three(list(found))}.{did_you_mean(missing[0], by_name)}"
                )
                raise UnsupportedModelError(msg, code="no_such_layer")
            found = {by_name[name]: found[by_name[name]] for name in self._wanted}
        if not found:
            msg = f"{self.model.name} has no layer with a matrix to watch; expected Dense, Conv2D, LSTM or the like."
            raise UnsupportedModelError(msg, code="no_dense")
        self._watched = found
        self.history.clear()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add ranks to the logs and the history."""
        if (epoch + 1) % self._every:
            return
        ranks: dict[str, int] = {}
        before = after = 0
        for path, (layer, kind) in self._watched.items():
            kernel = _kernel(layer, kind)
            m, n = self.shapes[path] = (int(kernel.shape[0]), int(kernel.shape[1]))
            rank = rank_for_share(energy(singular_values(kernel)), self._energy)
            ranks[path] = rank
            before += m * n
            after += rank * (m + n) if rank <= break_even_rank(m, n) else m * n
        share = after / before
        self.history.append({"epoch": epoch, "ranks": ranks, "lowrank_share": share})
        if logs is not None:
            logs.update({f"rank/{path}": rank for path, rank in ranks.items()})
            logs["lowrank_share"] = share


def _matrices(model: Any, outer: str = "") -> Any:
    """Yield path, and layer with its kind, of all that have one matrix."""
    for layer in model.layers:
        path = f"{outer}{layer.name}"
        if getattr(layer, "layers", None):
            yield from _matrices(layer, f"{path}/")
            continue
        entry = keras.saving.serialize_keras_object(layer)
        kind: Any = any_kind_of(entry) if isinstance(entry, dict) else None
        if kind is None or not hasattr(kind, "kernel") or not layer.weights:
            continue
        if kind.refuse(_serialized(layer, entry)) is None:
            kernel = _kernel(layer, kind)
            if kernel.ndim == 2 and math.prod(kernel.shape):
                yield path, (layer, kind)


def _serialized(layer: Any, entry: dict[str, Any] | None = None) -> Serialized:
    arrays = tuple(np.asarray(keras.ops.convert_to_numpy(weight)) for weight in layer.weights)
    return serialized(entry or keras.saving.serialize_keras_object(layer), arrays)


def _kernel(layer: Any, kind: LinearKind) -> Any:
    own = _serialized(layer)
    return np.asarray(kind.kernel(own, own.arrays), np.float32)
