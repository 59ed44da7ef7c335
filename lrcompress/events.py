"""Whoever calls a verb says once who is told of its steps, and that Keras is about to start."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

# Task, steps done, steps in all, the latest figures.
Progress = Callable[[str, int, int, dict[str, float]], None]


def _silent(task: str, done: int, total: int, figures: dict[str, float]) -> None: ...


def _nothing() -> None: ...


def _unheard(text: str) -> None: ...


@dataclass(frozen=True)
class _Listener:
    progress: Progress = _silent
    before_keras: Callable[[], None] = _nothing
    command: tuple[str, ...] = ()
    remark: Callable[[str], None] = _unheard


_NOBODY = _Listener()
_LISTENER: ContextVar[_Listener] = ContextVar("listener", default=_NOBODY)


@contextlib.contextmanager
def listening(
    progress: Progress = _silent,
    before_keras: Callable[[], None] = _nothing,
    command: Sequence[str] = (),
    remark: Callable[[str], None] = _unheard,
) -> Iterator[None]:
    """Listen to all that runs in a ``with`` block.

    Args:
        progress: Called at each step with the task's name, steps done, steps in all, and the latest
            figures by name.
        before_keras: Called before Keras is loaded, perhaps more than once.
        command: The command line, in words, that the run record is to name.
        remark: Called with what the user should know before the work is done.
    """
    token = _LISTENER.set(_Listener(progress, before_keras, tuple(command), remark))
    try:
        yield
    finally:
        _LISTENER.reset(token)


def progress(task: str, done: int, total: int, figures: dict[str, float] | None = None) -> None:
    """Tell of a step."""
    _LISTENER.get().progress(task, done, total, figures or {})


def before_keras() -> None:
    """Tell that Keras is about to be loaded."""
    _LISTENER.get().before_keras()


def remark(text: str) -> None:
    """Say what the user should know before the work is done."""
    _LISTENER.get().remark(text)


def command() -> list[str]:
    """Return the command line that the run record is to name; empty from Python."""
    return list(_LISTENER.get().command)
