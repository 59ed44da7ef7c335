"""Progress: one line that is drawn over on a terminal, and elsewhere a line every ten seconds."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator

from lrcompress.cli import console
from lrcompress.events.line import WIDEST, State

# Between two lines where nobody watches, and between two looks at the line where somebody does.
LOG_SECONDS, DRAW_SECONDS = 10.0, 0.25
# What takes less is over before a line about it is read.
QUIET_SECONDS = 1.0


class Bar:
    """Tells what a command does while it works."""

    def __init__(self, name: str) -> None:
        """Begin; a thread of its own tells, so that long steps without a word are told of too."""
        self._state, self._begun = State(name, time.monotonic()), time.monotonic()
        self._live = sys.stderr.isatty() and not console.is_dumb()
        # A second descriptor: native code is kept quiet by closing stderr for a while. None where it has none.
        self._out: int | None = None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._out = os.dup(sys.stderr.fileno())
        self._lock, self._over, self._drawn = threading.RLock(), threading.Event(), 0
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        console.above_progress = self._hidden
        self._thread.start()

    def __call__(self, task: str, done: int, total: int, figures: dict[str, float]) -> None:
        """Report `done` of `total` steps of `task`."""
        with self._lock:
            self._state.tell(task, done, total, figures, time.monotonic())

    def step(self, name: str, number: int, total: int) -> None:
        """Report that a step of the job begins."""
        with self._lock:
            told = self._state.step(name, number, total)
        if not self._live:
            self._write(f"{told} ...\n")

    @contextlib.contextmanager
    def _hidden(self) -> Iterator[None]:
        """Take the line away while a message is printed in its place."""
        with self._lock:
            self._erase()
            yield

    def _run(self) -> None:
        while not self._over.wait(DRAW_SECONDS if self._live else LOG_SECONDS):
            with self._lock:
                now = time.monotonic()
                if not self._live:
                    self._write(f"{self._state.line(now)}\n")
                elif now - self._begun >= QUIET_SECONDS:
                    width = min(shutil.get_terminal_size().columns - 1, WIDEST - 1)
                    line = self._state.line(now, width)
                    self._write(f"\r{line.ljust(self._drawn)}")
                    self._drawn = len(line)

    def _erase(self) -> None:
        if self._drawn:
            self._write(f"\r{' ' * self._drawn}\r")
            self._drawn = 0

    def _write(self, text: str) -> None:
        if self._out is None:
            return
        with contextlib.suppress(OSError):
            os.write(self._out, text.encode(sys.stderr.encoding or "utf-8", "replace"))

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._over.set()
        console.above_progress = contextlib.nullcontext
        self._thread.join()
        self._erase()
        if self._out is not None:
            os.close(self._out)
            self._out = None
