"""One rank from what the user asked for: a rank, an energy, a reduction or a largest drop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lrcompress.errors import RankError
from lrcompress.lowrank import (
    largest_useful_rank,
    parameters,
    rank_for_reduction,
    rank_for_share,
    rank_grid,
)
from lrcompress.records.results import RankChoice

Rule = Literal["rank", "energy", "reduction", "max_drop"]
DEFAULT_ENERGY = 0.95
DEFAULT_MAX_DROP = 0.5
# Ranks that are tried at a time between two of the grid.
BETWEEN = 6


def pick_rule(
    rank: int | None,
    energy_share: float | None,
    reduction: float | None,
    max_drop: float | None,
    *,
    has_data: bool,
) -> tuple[Rule, float, bool]:
    """Return the one rule given, or the default: (rule, value, is default).

    Raises:
        RankError: If several are given, or one is out of its range.
    """
    values: dict[Rule, float | None] = {
        "rank": rank, "energy": energy_share, "reduction": reduction, "max_drop": max_drop,
    }  # fmt: skip
    given = [(rule, value) for rule, value in values.items() if value is not None]
    if len(given) > 1:
        names = ", ".join(rule for rule, _ in given)
        msg = f"Received {names}; expected one of rank, energy, reduction, max_drop."
        raise RankError(msg, code="several_rules")
    if not given:
        return (
            ("max_drop", DEFAULT_MAX_DROP, True) if has_data else ("energy", DEFAULT_ENERGY, True)
        )
    rule, value = given[0]
    if rule == "rank" and (isinstance(value, bool) or not float(value).is_integer()):
        msg = f"`rank` must be a whole number, 1 or more. Received: rank={value!r}."
        raise RankError(msg, code="bad_rule")
    if rule in ("energy", "reduction") and not 0 < value <= 1:
        msg = f"{rule} must be a share above 0 and at most 1, for example 0.95. Received: {value}."
        raise RankError(msg, code="bad_rule")
    if rule == "max_drop" and not (value >= 0 and np.isfinite(value)):
        msg = f"max_drop must be percentage points, 0 or more. Received: {value}."
        raise RankError(msg, code="bad_rule")
    if rule == "max_drop" and not has_data:
        msg = "max_drop needs data to measure the error on; give --dataset, or --rank, --energy or --reduction."
        raise RankError(msg, code="needs_data")
    return rule, value, False


def choose_rank(
    rule: Rule,
    value: float,
    shape: tuple[int, int],
    energies: Callable[[], NDArray[np.float64]],
    drops: Callable[[Sequence[int]], dict[int, float]] | None,
    *,
    split: int | None = None,
    default: bool = False,
    judged: str = "on held-out data",
) -> RankChoice:
    """Apply a rule to a kernel.

    Args:
        rule: One of the four.
        value: What was asked.
        shape: The kernel's (m, n).
        energies: Share of energy kept by each rank, of the matrix that will be truncated; called
            only where needed.
        drops: What each of some ranks loses against the original, in points, see `judging`.
        split: Rank at which it is stored as two factors already, None where it is one kernel.
        default: Whether the user left the choice to us.
        judged: How drops are judged, in words.

    Raises:
        RankError: If no rank satisfies the rule.
    """
    m, n = shape
    if rule == "rank":
        rank = int(value)
        return RankChoice(rank, rule, rank, default, {}, f"rank {rank}, as asked")
    if rule == "energy":
        shares = energies()
        rank = rank_for_share(shares, value)
        found = {
            r: float(shares[r - 1]) for r in (rank - 1, rank, rank + 1) if 1 <= r <= len(shares)
        }
        text = f"the smallest rank that keeps {100 * value:g} % of the energy"
    elif rule == "reduction":
        rank, stored = rank_for_reduction(m, n, value, split), parameters(m, n, split)
        found = {r: 1 - r * (m + n) / stored for r in (rank - 1, rank, rank + 1) if r >= 1}
        text = f"the largest rank that saves at least {100 * value:g} % of the layer"
    else:
        rank, found = _smallest_within(value, largest_useful_rank(m, n, split), drops, judged)
        text = f"the smallest rank that loses at most {in_points(value)} {judged}"
    unit = " pt" if rule == "max_drop" else " %"
    scale = 1.0 if rule == "max_drop" else 100.0
    sides = ", ".join(f"rank {r}: {scale * share:.2f}{unit}" for r, share in sorted(found.items()))
    why = " (the default: say --rank to choose yourself)" if default else ""
    return RankChoice(rank, rule, value, default, found, f"rank {rank}, {text} ({sides}){why}")


def in_points(value: float) -> str:
    """Return percentage points in words: 1 point, 0.5 points."""
    return f"{value:g} point{'' if value == 1 else 's'}"


def capped(
    choice: RankChoice, most: int, energies: Callable[[], NDArray[np.float64]]
) -> RankChoice:
    """Return a choice of ours that saves something: at most the largest rank that does.

    Args:
        choice: By a share of the energy.
        most: The largest rank that saves anything.
        energies: As for `choose_rank`.
    """
    if choice.rule != "energy" or choice.rank <= most:
        return choice
    share = float(energies()[most - 1])
    text = (
        f"rank {most}, the largest that saves anything: it keeps {100 * share:.2f} % of the energy, and "
        f"{100 * choice.asked:g} % would take rank {choice.rank} (the default: say --rank to choose yourself)"
    )
    return replace(choice, rank=most, found={**choice.found, most: share}, message=text)


def _smallest_within(
    allowed: float,
    most: int,
    drops: Callable[[Sequence[int]], dict[int, float]] | None,
    judged: str,
) -> tuple[int, dict[int, float]]:
    """Return the smallest rank from which on every measured drop is allowed.

    First over ranks in even ratios, which methods that go down the ranks give in one pass, then
    over those between the last that is allowed and the first that is not.
    """
    if drops is None:
        msg = "max_drop needs data to measure the error on; give --dataset."
        raise RankError(msg, code="needs_data")
    if most < 1:
        msg = "No rank makes this layer smaller, so none can be chosen by max_drop."
        raise RankError(msg, code="nothing_to_gain")
    found = dict(drops(rank_grid(most)))
    if found[most] > allowed:
        msg = (
            f"Even rank {most}, the largest that saves anything, loses {found[most]:.2f} points "
            f"{judged}; {allowed:g} were allowed: raise --max-drop, or give --rank and fine-tune."
        )
        raise RankError(msg, code="max_drop_unreachable")
    while True:
        falling = sorted(found, reverse=True)
        refused = next((i for i, r in enumerate(falling) if found[r] > allowed), len(falling))
        rank = falling[refused - 1]
        below = falling[refused] if refused < len(falling) else 0
        if rank - below <= 1:
            return rank, {r: found[r] for r in (rank - 1, rank, rank + 1) if r in found}
        step = max((rank - below) // BETWEEN, 1)
        found |= drops(list(range(rank - step, below, -step)))
