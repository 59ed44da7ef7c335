"""What a layer is to give behind layers that were changed, and the kernel that gives most of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.kinds import Arrays, Batch, LinearKind, Place
from lrcompress.lowrank import Correction, RowMoments, imitating_kernel

Values = dict[str, tuple[NDArray[Any], ...]]


class Goal:
    """The responses of a layer of the original network, for the same layer of one that was changed before it."""

    # The layer with the kernel that is nearest to them in the mean square.
    arrays: Values

    def __init__(
        self, then: tuple[Place, Arrays, list[Batch]], now: tuple[Place, Values, list[Batch]],
        start: Arrays, seen: object, kept: NDArray[Any] | None, *, before_softmax: bool,
    ) -> None:  # fmt: skip
        """Regress what it gave `then`, by the layer, the arrays and what went through it, on what flows into it `now`.

        The kernel of `start` is corrected, by moments of the rows where they were seen, for the original's outputs that
        are `kept`.
        """
        (source, first, old), (place, own, new) = then, now
        kind: LinearKind = place.kind  # type: ignore[assignment]
        self._place, self._kind, self._own, self._before_softmax = place, kind, own, before_softmax
        whole = kind.kernel(source.layer, first[place.path])
        constant = _constant_of(source, first, whole.shape[1])
        self._outputs = whole.shape[1]
        if kept is not None:
            whole, constant = whole[:, kept], constant[kept]
        kernel, narrow = kind.kernel(place.layer, start[place.path]), whole.astype(np.float32)
        self._constant = constant
        self._responses = np.concatenate([kind.rows(source, batch) @ narrow for batch in old])
        rows = [kind.rows(place, batch) for batch in new]
        fits = sum(map(len, rows)) == len(self._responses)
        # Both see the same positions and have the same outputs.
        self.fits = fits and kernel.shape[1] == whole.shape[1]
        if not self.fits:
            return
        lost = _lost_beside(kind, source, old, new)
        if lost is not None and lost.shape == self._responses.shape:
            self._responses += lost
        self._knee = self._knee_of(old, new, kept)
        self._correction = Correction(kernel, rows, seen if isinstance(seen, RowMoments) else None)
        self._aim(self._responses)

    def relaxed(self, small: Arrays) -> bool:
        """Ask for less than all, and return whether the arrays are others now.

        Where a ReLU stops a response of the original, any that it stops is as good: what the smaller layer gives.
        """
        if self._knee is None:
            return False
        kernel = self._kind.kernel(self._place.layer, small[self._place.path])
        given = self._correction.given(kernel, self._mean)
        sign, at = self._knee
        stopped = sign * (self._responses - at) <= 0
        self._aim(
            np.where(stopped, at + sign * np.minimum(sign * (given - at), 0), self._responses)
        )
        return True

    def _aim(self, responses: NDArray[Any]) -> None:
        """Correct the kernel for responses without the constant."""
        self._mean = responses.mean(axis=0)
        kernel, constant = self._correction(responses)
        constant = constant + self._constant
        if self._before_softmax:
            rows = np.concatenate(self._correction.rows)
            kernel, constant = imitating_kernel(
                (kernel, constant), rows, responses + self._constant
            )
        # Beside the constant that is there now.
        constant = constant - _constant_of(self._place, self._own, len(constant))
        self.arrays = dict(self._kind.with_kernel(self._place, self._own, kernel, constant))

    def _knee_of(
        self, old: list[Batch], new: list[Batch], kept: NDArray[Any] | None
    ) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return the sign with which a ReLU takes in the responses now, and the value from which on it passes them."""
        if old[0].knee is None:
            return None
        sign, at = old[0].knee
        if len(sign) != self._outputs:
            return None  # the last axis of the output is not that of the responses
        if kept is not None:
            sign, at = sign[kept], at[kept]
        own = self._own[self._place.path]
        if len(own) > 1 and own[-1].shape == self._constant.shape:
            at = at - self._constant
        beside = [self._kind.beside(self._place, batch) for batch in new]
        known = [part for part in beside if part is not None]
        at = np.broadcast_to(at - np.concatenate(known) if known else at, self._responses.shape)
        return sign.astype(np.float32), at.astype(np.float32)


def _constant_of(place: Place, arrays: Arrays, outputs: int) -> NDArray[Any]:
    """Return the constant that is added to a layer's responses: its bias, or what a normalization takes from them."""
    own = arrays[place.path][-1]
    if len(arrays[place.path]) > 1 and own.shape == (outputs,):
        return own.astype(np.float64)
    mean = arrays[place.shift.path][-2] if place.shift is not None else None
    taken = mean is not None and mean.shape == (outputs,)
    return -mean.astype(np.float64) if mean is not None and taken else np.zeros(outputs)


def _lost_beside(
    kind: LinearKind, place: Place, old: list[Batch], new: list[Batch]
) -> NDArray[Any] | None:
    """Return what has been lost of that which is added to the responses, so that these can make up for it."""
    pairs = [
        (kind.beside(place, before), kind.beside(place, after))
        for before, after in zip(old, new, strict=True)
    ]
    known = [then - now for then, now in pairs if then is not None and now is not None]
    return np.concatenate(known) if len(known) == len(pairs) else None
