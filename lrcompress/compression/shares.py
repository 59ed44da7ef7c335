"""Ranks by a share: of the energy that is kept, or of the parameters that are saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrcompress.compression.layer import LayerTask
from lrcompress.compression.request import largest_useful
from lrcompress.errors import RankError
from lrcompress.lowrank import (
    parameters,
    rank_for_reduction,
    rank_for_share,
)

if TYPE_CHECKING:
    from lrcompress.compression.choose import Asked, Found, Joint
    from lrcompress.lowrank import Curve


class _Share:
    name: str
    by_errors = False

    def check(self, value: float) -> None:
        """Refuse what is no share in (0, 1]."""
        if not 0 < value <= 1:
            msg = f"{self.name} must be a share above 0 and at most 1, for example 0.95. Received: {value}."
            raise RankError(msg, code="bad_rule")


class Energy(_Share):
    """The smallest ranks that keep a share of the squared singular values."""

    name = "energy"

    def alone(self, task: LayerTask, asked: Asked) -> Found:
        """Return the smallest rank that keeps the share; of ours at most the largest that saves."""
        value, shares, most = asked.value, task.energies(), largest_useful(task.layer)
        rank = rank_for_share(shares, value)
        near = (r for r in (rank - 1, rank, rank + 1) if 1 <= r <= len(shares))
        found = {r: float(shares[r - 1]) for r in near}
        if asked.ours and rank > most:
            share = float(shares[most - 1])
            text = (
                f"the largest that saves anything: it keeps {100 * share:.2f} % of the energy, and "
                f"{100 * value:g} % would take rank {rank}"
            )
            return most, {**found, most: share}, text
        text = f"the smallest rank that keeps {100 * value:g} % of the energy"
        return rank, found, f"{text} ({_beside(found)})"

    def together(self, tasks: Sequence[LayerTask], curves: Sequence[Curve], asked: Asked) -> Joint:
        """Return the first allocation that keeps the share, averaged over the layers."""
        value, kept = asked.value, [task.energies() for task in tasks]
        from lrcompress.lowrank import allocations

        path = allocations(curves)
        below = path.last_below(
            len(tasks) * (value - 1e-12),
            lambda layer, rank: 1.0 if rank is None else float(kept[layer][rank - 1]),
        )
        ranks = path[below + 1]
        if not asked.default or any(rank is not None for rank in ranks):
            return ranks, f"to keep {100 * value:g} % of their energy on average"
        text = f"to keep the most energy that still saves something ({100 * value:g} % would save nothing)"
        return tuple(curve.most for curve in curves), text


class Reduction(_Share):
    """The largest ranks that save a share of what is stored."""

    name = "reduction"

    def alone(self, task: LayerTask, asked: Asked) -> Found:
        """Return the largest rank that saves the share."""
        (m, n), split, value = task.layer.kernel_shape, task.layer.rank, asked.value
        rank, stored = rank_for_reduction(m, n, value, split), parameters(m, n, split)
        found = {r: 1 - r * (m + n) / stored for r in (rank - 1, rank, rank + 1) if r >= 1}
        text = f"the largest rank that saves at least {100 * value:g} % of the layer"
        return rank, found, f"{text} ({_beside(found)})"

    def together(self, tasks: Sequence[LayerTask], curves: Sequence[Curve], asked: Asked) -> Joint:
        """Return the best ranks that save the share of all kernels together."""
        value, whole = asked.value, sum(curve.price(None) for curve in curves)
        from lrcompress.lowrank import within_budget

        ranks = within_budget(curves, int((1 - value) * whole + 1e-6))
        if ranks is None:
            most = 1 - sum(curve.price(1) for curve in curves) / whole
            msg = (
                f"No ranks save {100 * value:g} % of these {len(tasks)} layers: rank 1 in each saves "
                f"{100 * most:.1f} %; ask for less."
            )
            raise RankError(msg, code="reduction_unreachable")
        return ranks, f"to save {100 * value:g} % of them"


def _beside(found: dict[int, float]) -> str:
    return ", ".join(f"rank {r}: {100 * share:.2f} %" for r, share in sorted(found.items()))
