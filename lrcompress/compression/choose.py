"""Ranks from what the user asked for: a rule and its value.

A new rule is a class in a file of its own and an entry in `RULES`, for `lrcompress.factorize(model, NAME=value)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lrcompress.compression.drop import DROPS, MaxDrop, MaxRise
from lrcompress.compression.layer import Factorized, LayerTask
from lrcompress.compression.request import Request, check_layer, largest_useful
from lrcompress.errors import RankError
from lrcompress.events import progress
from lrcompress.lowrank import parameters, rank_for_reduction, rank_for_share
from lrcompress.records.results import RankChoice

if TYPE_CHECKING:
    from lrcompress.compression.trial import Counted
    from lrcompress.lowrank import Curve, Ranks

# Ranks at which a layer is tried in the network: its curve between them is a line.
TRIED = 8
# The rank of a layer, what is found there and beside it, and both in words; and the rank of each
# layer, None where it stays whole, and what was asked in words.
Found = tuple[int, dict[int, float], str]
Joint = tuple["Ranks", str]


class Rule(Protocol):
    """A way to come from a value to ranks.

    Attributes:
        name: What users call it.
        by_errors: Whether errors on held-out data decide.
    """

    name: str
    by_errors: bool

    def check(self, value: float) -> None:
        """Refuse a value that is out of range."""

    def alone(self, task: LayerTask, asked: Asked) -> Found:
        """Return the rank of one layer; a value of ours may give way so that something is saved."""

    def together(self, tasks: Sequence[LayerTask], curves: Sequence[Curve], asked: Asked) -> Joint:
        """Return the ranks of several layers."""


class Rank:
    """A rank as it is given."""

    name, by_errors = "rank", False

    def check(self, value: float) -> None:
        """Refuse what is no whole number."""
        if isinstance(value, bool) or not float(value).is_integer():
            msg = f"`rank` must be a whole number, 1 or more. Received: rank={value!r}."
            raise RankError(msg, code="bad_rule")

    def alone(self, _: LayerTask, asked: Asked) -> Found:
        """Return it."""
        return asked.least, {}, "as asked"

    def together(self, tasks: Sequence[LayerTask], _: Sequence[Curve], asked: Asked) -> Joint:
        """Return it for each layer."""
        return (asked.least,) * len(tasks), "as asked"


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
        if asked.default and not asked.force and rank > most:
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


RULES: dict[str, Rule] = {
    rule.name: rule for rule in (Rank(), Energy(), Reduction(), MaxDrop(), MaxRise())
}
# Where the user names none: by what data count a drop in, and without.
DEFAULTS: dict[Counted | None, tuple[str, float]] = {
    "points": DROPS["points"], "perplexity": DROPS["perplexity"], None: ("energy", 0.95),
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A rule, its value, whether both are the default, and whether a rank may save nothing."""

    rule: Rule
    value: float
    default: bool = False
    force: bool = False

    @property
    def least(self) -> int:
        """The lowest rank that it can come to: what fails at that is refused before any arithmetic."""
        return int(self.value) if isinstance(self.rule, Rank) else 1

    def choice(self, rank: int, found: dict[int, float], text: str) -> RankChoice:
        """Return a rank as the choice by this rule."""
        why = " (the default: say --rank to choose yourself)" if self.default else ""
        name = self.rule.name
        return RankChoice(rank, name, self.value, self.default, found, f"rank {rank}, {text}{why}")


def pick(request: Request, counts: Counted | None) -> Asked:
    """Return the one rule given, or the default by what data count a drop in."""
    given = list(request.rules.items())
    if len(given) > 1:
        names = ", ".join(name for name, _ in given)
        msg = f"Received {names}; expected one of {', '.join(RULES)}."
        raise RankError(msg, code="several_rules")
    name, value = given[0] if given else DEFAULTS[counts]
    rule = RULES[name]
    rule.check(value)
    if rule.by_errors and counts is None:
        *others, last = (f"--{rule.name}" for rule in RULES.values() if not rule.by_errors)
        others_or = f"{', '.join(others)} or {last}"
        msg = f"{name} needs data to measure the error on; give --dataset, or {others_or}."
        raise RankError(msg, code="needs_data")
    if isinstance(rule, Rank):
        value = int(value)
    return Asked(rule, value, default=not given, force=request.force)


def choose_rank(task: LayerTask, asked: Asked) -> RankChoice:
    """Return the rank of one layer by a rule."""
    check_layer(task.layer, asked.least, force=asked.force)
    found = asked.rule.alone(task, asked)
    check_layer(task.layer, found[0], force=asked.force)
    return asked.choice(*found)


def factorize_several(
    tasks: Sequence[LayerTask], request: Request
) -> tuple[list[Factorized], list[str]]:
    """Choose ranks for several layers under one rule and factorize their kernels; with remarks on those left whole."""
    from lrcompress.lowrank import total_price

    asked = pick(request, tasks[0].counts)
    if isinstance(asked.rule, Rank):
        return _at_one_rank(tasks, asked, every_dense=request.every_dense)
    for task in tasks:
        check_layer(task.layer, 1)
    curves = [_curve(task) for task in tasks]
    ranks, text = asked.rule.together(tasks, curves, asked)
    saved = 1 - total_price(curves, ranks) / sum(curve.price(None) for curve in curves)
    told = f"chosen jointly for {len(tasks)} layers {text} ({100 * saved:.1f} % saved)"
    found, remarks = [], []
    for task, rank in zip(tasks, ranks, strict=True):
        if rank is None:
            remarks.append(
                f"Layer {task.layer.path} stays whole: shrinking it would cost more accuracy per parameter."
            )
        else:
            found.append(task.factorized(asked.choice(rank, {}, told)))
    if not found:
        msg = (
            f"No ranks of these {len(tasks)} layers save anything if they are {text}; ask for less."
        )
        raise RankError(msg, code="nothing_to_gain")
    return found, remarks


def _at_one_rank(
    tasks: Sequence[LayerTask], asked: Asked, *, every_dense: bool
) -> tuple[list[Factorized], list[str]]:
    """Factorize every layer at the same rank, those that were not named only where it saves."""
    rank, found, remarks = asked.least, [], []
    for task in tasks:
        layer = task.layer
        if every_dense and not asked.force and rank > largest_useful(layer):
            remarks.append(
                f"Layer {layer.path} stays whole: rank {rank} would not make it smaller."
            )
            continue
        check_layer(layer, rank, force=asked.force)
        found.append(task.factorized(asked.choice(rank, {}, "as asked")))
    if not found:
        msg = f"Rank {rank} makes no Dense layer of this model smaller; ask for a lower rank."
        raise RankError(msg, code="rank_saves_nothing")
    return found, remarks


def _curve(task: LayerTask) -> Curve:
    """Return a layer's error by rank: with data of the whole network with it alone factorized, else of its kernel.

    Both add up, nearly, over layers.
    """
    from lrcompress.lowrank import METHODS, Curve, spread_ranks

    layer = task.layer
    most = largest_useful(layer)
    if task.calibration is None or task.calibration.trial is None:
        shares = task.energies()
        errors = {r: float(1 - shares[r - 1]) for r in range(1, most + 1)}
        return Curve(layer.kernel_shape, errors, split=layer.rank)
    # The closed form stands for a method that improves on it, which falls in the same way.
    closed_form = METHODS[task.method].closed_form or task.method
    found = task.at_ranks(spread_ranks(most, TRIED), closed_form)
    errors = {}
    for done, (rank, factors) in enumerate(sorted(found.items()), 1):
        outcome = task.trial({layer: factors}, f"{layer.name}, rank {rank}")
        # More rank cannot be worse but for noise.
        errors[rank] = min([outcome.output_error, *errors.values()])
        progress(f"trying {layer.name} alone", done, len(found))
    return Curve(layer.kernel_shape, errors, split=layer.rank)
