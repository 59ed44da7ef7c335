"""Whoever calls a verb says once who is told of its steps, and that Keras is about to start."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace

# Task, steps done, steps in all, the latest figures.
Progress = Callable[[str, int, int, dict[str, float]], None]
# A step of a job of several: its name, which it is, how many there are.
Stage = Callable[[str, int, int], None]


def _nothing(*told: object) -> None: ...


@dataclass(frozen=True)
class _Listener:
    progress: Progress = _nothing
    before_keras: Callable[[], None] = _nothing
    command: tuple[str, ...] = ()
    remark: Callable[[str], None] = _nothing
    stage: Stage = _nothing


_NOBODY = _Listener()
_LISTENER: ContextVar[_Listener] = ContextVar("listener", default=_NOBODY)


@contextlib.contextmanager
def listening(
    progress: Progress = _nothing,
    before_keras: Callable[[], None] = _nothing,
    command: Sequence[str] = (),
    remark: Callable[[str], None] = _nothing,
    stage: Stage = _nothing,
) -> Iterator[None]:
    """Listen to all that runs in a ``with`` block.

    Args:
        progress: Called at each step with the task's name, steps done, steps in all, and the latest
            figures by name.
        before_keras: Called before Keras is loaded, perhaps more than once.
        command: The command line, in words, that the run record is to name.
        remark: Called with what the user should know before the work is done.
        stage: Called where a step of `compress` begins, with its name, its number, and how many there are.
    """
    token = _LISTENER.set(_Listener(progress, before_keras, tuple(command), remark, stage))
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextlib.contextmanager
def showing(name: str) -> Iterator[None]:
    """Show the progress of all that runs in a ``with`` block on stderr, beside what else listens."""
    from lrcompress.events.line import Line

    shown = Line(name)
    token = _LISTENER.set(replace(_LISTENER.get(), progress=shown, stage=shown.step))
    try:
        yield
    finally:
        _LISTENER.reset(token)
        shown.close()


def progress(task: str, done: int, total: int, figures: dict[str, float] | None = None) -> None:
    """Tell of a step."""
    _LISTENER.get().progress(task, done, total, figures or {})


def stage(name: str, number: int, total: int) -> None:
    """Tell that a step of a job begins."""
    _LISTENER.get().stage(name, number, total)


def before_keras() -> None:
    """Tell that Keras is about to be loaded."""
    _LISTENER.get().before_keras()


def remark(text: str) -> None:
    """Say what the user should know before the work is done."""
    _LISTENER.get().remark(text)


def command() -> list[str]:
    """Return the command line that the run record is to name; empty from Python."""
    return list(_LISTENER.get().command)
