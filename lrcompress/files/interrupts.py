"""Being ended from outside: every signal that asks for it is met as Control-C is."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

# SIGHUP, the terminal is gone, is unknown to Windows.
_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_HELD_BACK = (signal.SIGINT, *_ENDING)


class Ended(KeyboardInterrupt):
    """A signal asks to end: where code made from text is run, Python ends itself at plain KeyboardInterrupt."""


@contextlib.contextmanager
def ended_like_control_c() -> Iterator[None]:
    """Raise `Ended` at Control-C, SIGTERM and SIGHUP, unless it is ignored (`nohup`).

    A body that leaves with an exit status of failure leaves with 128 + the signal's number then, but
    for Control-C. After the body all are ignored: the exit status stays that of the work.
    """
    came: list[int] = []

    def end(number: int, frame: FrameType | None) -> NoReturn:
        if number != signal.SIGINT:
            came.append(number)
        raise Ended

    usual = (signal.SIG_DFL, signal.default_int_handler)
    mine = [number for number in _HELD_BACK if signal.getsignal(number) in usual]
    for number in mine:
        signal.signal(number, end)
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as leaving:
        code = leaving.code if isinstance(leaving, SystemExit) else 1
        raise SystemExit(128 + came[0] if came and code else code) from None
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Control-C, SIGTERM and SIGHUP back until the body, which is short, is through."""
    came: list[int] = []
    before = {}
    try:
        # Python runs handlers in the first thread only, and lets only that one set them.
        if threading.current_thread() is threading.main_thread():
            for number in _HELD_BACK:
                handler = signal.getsignal(number)
                if callable(handler):
                    before[number] = handler
                    signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
