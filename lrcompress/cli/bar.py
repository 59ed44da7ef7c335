"""The progress bar: on a terminal; elsewhere a line a task."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

from lrcompress.cli.console import is_dumb, tell, terminal
from lrcompress.errors import printable

# Between two lines on the same task, where nobody watches a bar.
LOG_SECONDS = 15.0
# Columns from which on progress has a bar.
WIDE = 80


class Bar:
    """A progress bar that serves one task after another; silent where nobody watches."""

    def __init__(self, *, quiet: bool) -> None:
        """Draw only on a terminal; elsewhere say each task once, so that a log stays short."""
        self._quiet = quiet
        self._live = not quiet and sys.stderr.isatty() and not is_dumb()
        self._progress: Any = None
        self._task_id: Any = None
        self._task = ""
        self._logged = 0.0

    def __call__(self, task: str, done: int, total: int, figures: dict[str, float]) -> None:
        """Report `done` of `total` steps of `task`."""
        if self._quiet:
            return
        task = printable(task)
        if self._live:
            if self._progress is None:
                self._start()
            if task.split(",")[0] != self._task.split(",")[0]:
                self._task_id = self._progress.add_task(task, total=total)
            text = task + "".join(f", {key} {value:.4f}" for key, value in figures.items())
            self._progress.update(self._task_id, completed=done, total=total, description=text)
        else:
            self._log(task)
        self._task = task

    def _log(self, task: str) -> None:
        """Name each task once in a log, and where it stands if it takes long."""
        now = time.monotonic()
        is_new = task.split(",")[0] != self._task.split(",")[0]
        if is_new or (task != self._task and now - self._logged > LOG_SECONDS):
            tell(f"{task} ...")
            self._logged = now

    def _start(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        console = terminal(stderr=True)
        columns: list[ProgressColumn] = [
            # What does not fit is cut here, and not from the count or the time.
            TextColumn(
                "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)
            ),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        ]
        if console.width >= WIDE:
            # Where there is little room, it goes to the task and its figures.
            columns[1:1] = [BarColumn(min(40, max(10, console.width - 100)))]
            columns.append(TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True, expand=True)
        self._progress.start()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._progress is not None:
            self._progress.stop()


@contextlib.contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Bar]:
    """Yield a `Bar` and close it whatever happens."""
    bar = Bar(quiet=quiet)
    try:
        yield bar
    finally:
        bar.close()
