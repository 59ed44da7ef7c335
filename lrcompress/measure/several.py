"""What a changed model decides of several labels that may all hold, and what is wrong of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrcompress.measure.drop import Judged, has_rare


class LabelTally:
    """What is decided of several labels, a block at a time, by the chances that they hold."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._right, self._of, self._any = 0.0, 0.0, False
        self._top, self._rows = 0.0, 0.0
        # Of each label without it and with it, (2, n): what there is, and what is decided so.
        self._masses: NDArray[np.float64] | float = 0.0
        self._kept: NDArray[np.float64] | float = 0.0

    def add(
        self,
        decided: NDArray[np.bool_],
        chances: NDArray[np.float64],
        weights: NDArray[Any] | None,
        likeliest: NDArray[np.int64] | None = None,
    ) -> None:
        """Count which labels were decided to hold, (k, n), and which one of many is the likeliest, (k,)."""
        wide = np.ones((len(decided), 1)) if weights is None else weights[:, None]
        right = np.where(decided, chances, 1 - chances) * wide
        self._right += float(right.sum())
        self._of += float(wide.sum()) * decided.shape[1]
        self._any |= bool(decided.any())
        if likeliest is not None:
            own = np.take_along_axis(chances, likeliest[:, None], axis=-1)
            self._top += float((own * wide).sum())
            self._rows += float(wide.sum())
            return
        self._masses = self._masses + np.stack(
            [((1 - chances) * wide).sum(axis=0), (chances * wide).sum(axis=0)]
        )
        self._kept = self._kept + np.stack(
            [(right * ~decided).sum(axis=0), (right * decided).sum(axis=0)]
        )

    def judged(self) -> Judged:
        """Return what is wrong of all of it."""
        error = 100 * (1 - self._right / self._of)
        if self._rows:
            return Judged(error, 100 * (1 - self._top / self._rows), self._any)
        masses, kept = np.asarray(self._masses), np.asarray(self._kept)
        both = (masses > 0).all(axis=0)
        balanced = None
        if any(has_rare(masses[:, label]) for label in np.flatnonzero(both)):
            balanced = 100 * (1 - float((kept[:, both] / masses[:, both]).mean()))
        return Judged(error, balanced, self._any)


def judge_labels(
    decided: NDArray[np.bool_], chances: NDArray[np.float64], weights: NDArray[Any] | None = None
) -> Judged:
    """Judge which of several labels were decided to hold, (k, n), by the chances that they do."""
    tally = LabelTally()
    tally.add(decided, chances, weights)
    return tally.judged()
