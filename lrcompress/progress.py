"""How a caller follows a long verb: plain calls, which the command line turns into a bar."""

from __future__ import annotations

from collections.abc import Callable

# Task, steps done, steps in all, the latest figures.
Progress = Callable[[str, int, int, dict[str, float]], None]


def silent(task: str, done: int, total: int, figures: dict[str, float]) -> None:
    """Follow nothing."""


def nothing() -> None:
    """Do nothing before Keras starts."""
