"""Ranks by the largest drop: how many percentage points may be lost on held-out data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrcompress.compression.layer import LayerTask
from lrcompress.compression.request import largest_useful
from lrcompress.compression.trial import Matrices
from lrcompress.errors import RankError
from lrcompress.events import progress
from lrcompress.lowrank import rank_grid

if TYPE_CHECKING:
    from lrcompress.compression.choose import Asked, Found, Joint
    from lrcompress.lowrank import Allocations, Curve

# Ranks that are tried at a time between two of the grid.
BETWEEN = 6


class MaxDrop:
    """The smallest ranks that lose at most some points."""

    name, by_errors = "max_drop", True

    def check(self, value: float) -> None:
        """Refuse what is no number of points."""
        if not (value >= 0 and math.isfinite(value)):
            msg = f"max_drop must be percentage points, 0 or more. Received: {value}."
            raise RankError(msg, code="bad_rule")

    def alone(self, task: LayerTask, asked: Asked) -> Found:
        """Return the smallest rank from which on every measured drop is allowed.

        First over ranks in even ratios, which methods that go down the ranks give in one pass, then
        over those between the last that is allowed and the first that is not.
        """
        value, most = asked.value, largest_useful(task.layer)
        if most < 1:
            msg = "No rank makes this layer smaller, so none can be chosen by max_drop."
            raise RankError(msg, code="nothing_to_gain")
        found = dict(task.drops(rank_grid(most)))
        if found[most] > value:
            msg = (
                f"Even rank {most}, the largest that saves anything, loses {found[most]:.2f} points "
                f"{task.judged}; {value:g} were allowed: raise --max-drop, or give --rank and fine-tune."
            )
            raise RankError(msg, code="max_drop_unreachable")
        while True:
            falling = sorted(found, reverse=True)
            refused = next((i for i, r in enumerate(falling) if found[r] > value), len(falling))
            rank = falling[refused - 1]
            below = falling[refused] if refused < len(falling) else 0
            if rank - below <= 1:
                break
            step = max((rank - below) // BETWEEN, 1)
            found |= task.drops(list(range(rank - step, below, -step)))
        near = {r: found[r] for r in (rank - 1, rank, rank + 1) if r in found}
        beside = ", ".join(f"rank {r}: {lost:.2f} pt" for r, lost in sorted(near.items()))
        text = f"the smallest rank that loses at most {_points(value)} {task.judged} ({beside})"
        return rank, near, text

    def together(self, tasks: Sequence[LayerTask], curves: Sequence[Curve], asked: Asked) -> Joint:
        """Bisect along the allocations for the smallest network whose drop is allowed."""
        value, grids = asked.value, [rank_grid(curve.most) for curve in curves]
        from lrcompress.lowrank import allocations

        path = _rounded(allocations(curves), grids)
        low, high = -1, len(path) - 1  # the last leaves every layer whole, which loses nothing
        while high - low > 1:
            middle = (low + high) // 2
            matrices: Matrices = {
                # All of a grid at once: a method that goes down the ranks passes through them.
                task.layer: task.at_ranks(grid if task.goes_down else [rank])[rank]
                for task, rank, grid in zip(tasks, path[middle], grids, strict=True)
                if rank is not None
            }
            lost = tasks[0].trial(matrices, "trying all together").drop or 0.0
            progress(
                "looking for the smallest within the drop", len(path) - (high - low), len(path)
            )
            low, high = (low, middle) if lost <= value else (middle, high)
        judged = tasks[0].judged
        if all(rank is None for rank in path[high]):
            msg = (
                f"No ranks of these {len(tasks)} layers lose at most {_points(value)} "
                f"{judged}; raise --max-drop, or give --reduction and fine-tune."
            )
            raise RankError(msg, code="max_drop_unreachable")
        return path[high], f"to lose at most {_points(value)} {judged}"


def _points(value: float) -> str:
    return f"{value:g} point{'' if value == 1 else 's'}"


def _rounded(path: Allocations, grids: Sequence[Sequence[int]]) -> Allocations:
    """Return allocations with ranks rounded up to those of a grid, each once."""
    current: list[int | None] = [1] * path.layers
    changes = []
    for layer, rank in path.changes:
        rounded = None if rank is None else min(r for r in grids[layer] if r >= rank)
        if rounded != current[layer]:
            current[layer] = rounded
            changes.append((layer, rounded))
    from lrcompress.lowrank import Allocations

    return Allocations(path.layers, changes)
