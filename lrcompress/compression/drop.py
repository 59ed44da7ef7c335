"""Ranks by the largest drop: how many percentage points may be lost on held-out data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from lrcompress.compression.layer import LayerTask
from lrcompress.compression.request import largest_useful
from lrcompress.errors import RankError
from lrcompress.events import progress
from lrcompress.lowrank import rank_grid

if TYPE_CHECKING:
    from lrcompress.compression.choose import Asked, Found, Joint
    from lrcompress.compression.trial import Counted, Matrices, Outcome
    from lrcompress.lowrank import Allocations, Curve

# Ranks that are tried at a time between two of the grid.
BETWEEN = 6
# Where the user says nothing, by what a drop is counted in.
DropName = Literal["max_drop", "max_perplexity_rise"]
DROPS: dict[Counted, tuple[DropName, float]] = {
    "points": ("max_drop", 0.5),
    "perplexity": ("max_perplexity_rise", 1.0),
}


def drop_rule(value: float | str) -> tuple[DropName, float]:
    """Return the rule and the number of a largest drop: of points, or with a percent sign of perplexity.

    >>> drop_rule(0.5), drop_rule("1%")
    (('max_drop', 0.5), ('max_perplexity_rise', 1.0))
    """
    number, percent, rest = str(value).partition("%")
    name: DropName = "max_perplexity_rise" if percent else "max_drop"
    try:
        if rest.strip() or isinstance(value, bool):
            raise ValueError
        found = float(number)
    except ValueError as error:
        msg = f"max_drop must be points of error (0.5), or percent of perplexity ('1%'). Received: {value!r}."
        raise RankError(msg, code="bad_rule") from error
    return name, found


class MaxDrop:
    """The smallest ranks that lose at most some points."""

    name, by_errors = "max_drop", True
    # The unit of what is lost, behind a figure and in words.
    unit, of = " pt", "percentage points"

    def check(self, value: float) -> None:
        """Refuse what cannot be lost."""
        if not (value >= 0 and math.isfinite(value)):
            msg = f"max_drop must be {self.of}, 0 or more. Received: {value}."
            raise RankError(msg, code="bad_rule")

    def lost(self, outcome: Outcome) -> float:
        """Return what was lost."""
        return outcome.drop or 0.0

    def words(self, value: float) -> str:
        """Return an allowance in words."""
        return f"{value:g} point{'' if value == 1 else 's'}"

    def _found(self, task: LayerTask, ranks: Sequence[int]) -> dict[int, float]:
        return {rank: self.lost(found) for rank, found in task.outcomes(ranks).items()}

    def alone(self, task: LayerTask, asked: Asked) -> Found:
        """Return the smallest rank from which on every measured drop is allowed."""
        # First ranks in even ratios, which methods that go down the ranks give in one pass, then those
        # between the last that is allowed and the first that is not.
        value, most = asked.value, largest_useful(task.layer)
        if most < 1:
            msg = "No rank makes this layer smaller, so none can be chosen by max_drop."
            raise RankError(msg, code="nothing_to_gain")
        found = self._found(task, rank_grid(most))
        if found[most] > value:
            msg = (
                f"Even rank {most}, the largest that saves anything, loses {found[most]:.2f}{self.unit} "
                f"{task.judged}; {self.words(value)} may be lost: raise --max-drop, or give --rank and fine-tune."
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
            found |= self._found(task, list(range(rank - step, below, -step)))
        near = {r: found[r] for r in (rank - 1, rank, rank + 1) if r in found}
        beside = ", ".join(f"rank {r}: {lost:.2f}{self.unit}" for r, lost in sorted(near.items()))
        text = f"the smallest rank that loses at most {self.words(value)} {task.judged} ({beside})"
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
            lost = self.lost(tasks[0].trial(matrices, "trying all together"))
            progress(
                "looking for the smallest within the drop", len(path) - (high - low), len(path)
            )
            low, high = (low, middle) if lost <= value else (middle, high)
        judged = tasks[0].judged
        if all(rank is None for rank in path[high]):
            msg = (
                f"No ranks of these {len(tasks)} layers lose at most {self.words(value)} "
                f"{judged}; raise --max-drop, or give --reduction and fine-tune."
            )
            raise RankError(msg, code="max_drop_unreachable")
        return path[high], f"to lose at most {self.words(value)} {judged}"


class MaxRise(MaxDrop):
    """The smallest ranks at which perplexity rises by at most some percent."""

    name = "max_perplexity_rise"
    unit, of = " %", "percent of perplexity"

    def lost(self, outcome: Outcome) -> float:
        """Return by how many percent it rose."""
        return outcome.rise or 0.0

    def words(self, value: float) -> str:
        """Return an allowance in words."""
        return f"{value:g} % of perplexity"


def _rounded(path: Allocations, grids: Sequence[Sequence[int]]) -> Allocations:
    """Return allocations with ranks rounded up to those of a grid, each once."""
    current: list[int | None] = [1] * path.layers
    changes = []
    for layer, rank in path.changes:
        rounded = None if rank is None else min(r for r in grids[layer] if r >= rank)
        if rounded != current[layer]:
            current[layer] = rounded
            changes.append((layer, rounded))
    return replace(path, changes=changes)
