"""The devices that share each batch, while a model is trained on several; starts no engine.

A step's gradient is that of the whole batch, so that the results are those of one device up to
rounding. For that every device's share must be equally large: batches grow to the next multiple
of the devices.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Team:
    """Devices that keep the same weights and compute a share of each batch.

    Attributes:
        devices: Their names, those of other processes included.
        index: Of this process; the first, 0, writes and prints.
        processes: How many take part, one a host as a rule.
    """

    devices: tuple[str, ...] = ("",)
    index: int = 0
    processes: int = 1

    def __str__(self) -> str:
        """Return how batches are shared."""
        over = f" in {self.processes} processes" if self.processes > 1 else ""
        return f"each batch shared by {len(self.devices)} devices{over}"

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.index == 0

    @property
    def share(self) -> tuple[int, int]:
        """Which part of each batch this process feeds, and of how many."""
        return self.index, self.processes

    def rounded(self, batch_size: int) -> int:
        """Return the next multiple of the devices."""
        return batch_size + -batch_size % len(self.devices)

    def evened(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return samples in order, filled up from its begin to a multiple of the devices."""
        return np.resize(order, self.rounded(len(order))) if len(order) else order

    @contextlib.contextmanager
    def folder(self, folder: Path) -> Iterator[Path]:
        """Yield where this process may write what belongs in a folder.

        The first process writes there. Each other one reads what was there and writes in a copy of
        its own, which is gone afterwards, so that all take the same way.
        """
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


_current = Team()


def current() -> Team:
    """Return the team at work; one of a single nameless device where nothing is shared."""
    return _current


@contextlib.contextmanager
def at_work(team: Team) -> Iterator[Team]:
    """Make a team the current one while the context lasts."""
    global _current
    before, _current = _current, team
    try:
        yield team
    finally:
        _current = before


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(Path(source).resolve())
