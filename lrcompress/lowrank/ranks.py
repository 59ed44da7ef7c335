"""Counts and rules for the rank r of A (m, n) ~ B (m, r) C (r, n)."""

from __future__ import annotations

import math

import numpy as np

from lrcompress.errors import RankError
from lrcompress.lowrank.matrix import Floats

# Of a grid: each rank is about this share of the one before.
GRID_RATIO = 0.8


def parameters(m: int, n: int, rank: int | None = None) -> int:
    """Return the entries of the kernel, ``m n``, or of its factors, ``r (m + n)``; no bias.

    >>> parameters(512, 100), parameters(512, 100, rank=40)
    (51200, 24480)
    """
    return m * n if rank is None else rank * (m + n)


def break_even_rank(m: int, n: int) -> int:
    """Return the largest r with ``r (m + n) < m n``; 0 if no rank saves anything.

    >>> break_even_rank(512, 100)
    83
    """
    return (m * n - 1) // (m + n)


def largest_useful_rank(m: int, n: int, split: int | None = None) -> int:
    """Return the largest rank that saves anything, 0 if none; `split` as for `check_rank`."""
    return break_even_rank(m, n) if split is None else split - 1


def check_rank(rank: int, m: int, n: int, *, split: int | None = None, force: bool = False) -> None:
    """Refuse a rank that the kernel does not have, or that would enlarge the layer."""
    most = largest_useful_rank(m, n, split)
    if not 1 <= rank <= min(m, n):
        saves = f" (up to {most} saves parameters)" if most else ""
        bounds = f"between 1 and {min(m, n)}{saves} for a kernel of shape ({m}, {n})"
        msg = f"`rank` must be {bounds}. Received: rank={rank}."
        raise RankError(msg, code="rank_out_of_range")
    if force or rank <= most:
        return
    if split is not None:
        msg = (
            f"The layer is two factors of rank {split} already; rank {rank} would not make it smaller: "
            f"use a rank below {split}, or `lrcompress merge` to make it one layer again."
        )
        raise RankError(msg, code="rank_saves_nothing")
    if most == 0:
        raise _nothing_to_gain(m, n)
    msg = (
        f"Rank {rank} would need {rank * (m + n):,} parameters for the {m * n:,} of a kernel of shape "
        f"({m}, {n}); use a rank of at most {most}, the break-even rank, or pass --force."
    )
    raise RankError(msg, code="rank_saves_nothing")


def _nothing_to_gain(m: int, n: int) -> RankError:
    msg = (
        f"No rank makes a kernel of shape ({m}, {n}) smaller: even rank 1 needs {m + n} parameters "
        f"for {m * n}; there is nothing to gain in this layer (name another with --layer)."
    )
    return RankError(msg, code="nothing_to_gain")


def rank_grid(most: int) -> list[int]:
    """Return falling ranks from `most` to 1, each about four fifths of the one before."""
    ranks = [most]
    while ranks[-1] > 1:
        ranks.append(min(ranks[-1] - 1, round(ranks[-1] * GRID_RATIO)))
    return ranks


def spread_ranks(most: int, count: int) -> list[int]:
    """Return at most so many rising ranks from 1 to `most`, evenly in ratio.

    >>> spread_ranks(100, 5)
    [1, 3, 10, 32, 100]
    """
    return sorted({round(float(most) ** (k / (count - 1))) for k in range(count)})


def energy(singular_values: Floats) -> Floats:
    """Return the cumulative share ``sum_{i<=r} sigma_i^2 / sum sigma_i^2`` for r = 1, 2, ...; (k,)."""
    sigma = np.asarray(singular_values, np.float64)
    largest = sigma.max(initial=0.0)
    if largest == 0:
        # A matrix of zeros is kept whole by any rank.
        return np.ones_like(sigma)
    # Relative to the largest, whose square may not fit a float64.
    squares = np.square(sigma / largest)
    return np.asarray(np.minimum(np.cumsum(squares) / squares.sum(), 1.0))


def rank_for_share(shares: Floats, share: float) -> int:
    """Return the smallest r with ``shares[r - 1] >= share``; the shares rise to 1."""
    if not 0 < share <= 1:
        msg = f"`energy` must be above 0 and at most 1, for example 0.95. Received: {share}."
        raise RankError(msg, code="bad_rule")
    # 1e-12: the last cumulative share may round to just below the 1.0 that was asked for.
    return int(np.argmax(shares >= share - 1e-12)) + 1


def rank_for_reduction(m: int, n: int, share: float, split: int | None = None) -> int:
    """Return the largest r that saves at least `share` of the kernel: ``1 - r (m+n)/(m n) >= share``.

    Where it is stored as two factors of rank `split`, of these: ``1 - r / split >= share``.
    """
    if not 0 < share <= 1:
        msg = f"`reduction` must be above 0 and at most 1, for example 0.4. Received: {share}."
        raise RankError(msg, code="bad_rule")
    largest, stored = largest_useful_rank(m, n, split), parameters(m, n, split)
    if largest == 0:
        raise _nothing_to_gain(m, n)
    # 1e-9: a share computed from a rank should give that rank back.
    rank = min(math.floor((1 - share) * stored / (m + n) + 1e-9), largest)
    if rank < 1:
        most = 1 - (m + n) / stored
        msg = (
            f"No rank saves {100 * share:g} % of a kernel of shape ({m}, {n}): rank 1 saves "
            f"{100 * most:.1f} %; ask for less."
        )
        raise RankError(msg, code="reduction_unreachable")
    return rank
