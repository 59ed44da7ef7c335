"""Ranks from what the user asked for: a rule and its value.

A rule says which ranks of one layer, and of several together, meet a value. A new one is a class in
a file of its own and one entry in `RULES`; `lrcompress.factorize(model, NAME=value)` goes by it then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lrcompress.compression.drop import DROPS, MaxDrop, MaxRise
from lrcompress.compression.layer import Factorized, LayerTask
from lrcompress.compression.request import Request, check_layer
from lrcompress.compression.shares import Energy, Reduction
from lrcompress.errors import RankError
from lrcompress.records.results import RankChoice

if TYPE_CHECKING:
    from lrcompress.compression.trial import Counted
    from lrcompress.lowrank import Curve, Ranks

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
    def ours(self) -> bool:
        """Whether the value may give way."""
        return self.default and not self.force

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
    """Return the one rule given, or the default by what data count a drop in.

    Raises:
        RankError: If several are given, or one is out of its range or lacks its data.
    """
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


def factorize_layer(task: LayerTask, request: Request) -> Factorized:
    """Choose a rank for one layer and factorize its kernel."""
    return task.factorized(choose_rank(task, pick(request, task.counts)))
