"""What a command shows: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from lrcompress.errors import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# A pipe has no width: nothing should wrap there.
PIPE_WIDTH = 100_000
# Between two lines on the same task, where nobody watches a bar.
LOG_SECONDS = 15.0
# Columns from which on progress has a bar.
WIDE = 80
# What stands between lines and tabs, which are no names' but the layout's.
_BETWEEN = re.compile(r"[^\n\t\x20-\x7e]+")


def make_streams_safe() -> None:
    """Print also what the encoding of stdout lacks, and run also where stdout or stderr is closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Its number would go to the next file that is opened, and into that what libraries say.
            os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115  # a device, kept open
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


class Escaping:
    """A stream on which no text drives the terminal, whoever writes it: a library, a warning.

    What rich draws goes to `stream` itself, made of text that was escaped before.
    """

    def __init__(self, stream: Any) -> None:  # noqa: ANN401  # any text stream
        """Take the stream that it writes to."""
        self.stream = stream

    def write(self, text: str) -> int:
        """Write text; lines and tabs stay, other control characters are spelt out."""
        self.stream.write(_BETWEEN.sub(lambda match: printable(match[0]), text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """Be the stream in all else."""
        return getattr(self.stream, name)


@contextlib.contextmanager
def escaping() -> Iterator[None]:
    """Let nothing but what this module draws reach the terminal raw."""
    before = sys.stdout, sys.stderr
    ours = sys.stdout, sys.stderr = Escaping(before[0]), Escaping(before[1])
    try:
        yield
        # What a full device refuses shows here, and not after the end.
        sys.stdout.flush()
    finally:
        # What somebody else has put there meanwhile is not ours to take away.
        sys.stdout = before[0] if sys.stdout is ours[0] else sys.stdout
        sys.stderr = before[1] if sys.stderr is ours[1] else sys.stderr


def show(parts: list[RenderableType]) -> None:
    """Print a result for people on stdout: it fits a terminal, and is plain text anywhere else."""
    if sys.stdout.isatty():
        terminal().print(*parts)
        return
    from rich.console import Console

    console = Console(width=PIPE_WIDTH, highlight=False, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(*parts)
    # Tables are padded to their width, which a file or a page has no use for.
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def terminal(*, stderr: bool = False) -> Console:
    """Return the terminal; with NO_COLOR, or where TERM is dumb, nothing is bold or in colour."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=getattr(stream, "stream", stream),
        highlight=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        # Rich would take a dumb terminal for 80 columns wide, whatever it is.
        width=shutil.get_terminal_size().columns if is_dumb() else None,
        height=25 if is_dumb() else None,
    )


def is_dumb() -> bool:
    """Return whether the terminal understands no codes at all."""
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def show_json(document: Any) -> None:  # noqa: ANN401  # a dictionary, or a list of them
    """Print one JSON document on stdout."""
    click.echo(_safe_json(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)))


def _safe_json(text: str) -> str:
    """Return the same document without a character that drives a terminal: JSON has its own escapes."""
    return _BETWEEN.sub(
        lambda match: "".join(json.dumps(c)[1:-1] if printable(c) != c else c for c in match[0]),
        text,
    )


def note(text: str, *, quiet: bool) -> None:
    """Print a message on stderr, on one line."""
    if not quiet:
        _tell(printable(text))


def _tell(line: str) -> None:
    """Print a line on stderr; where that is full or closed, the work is still worth doing."""
    with contextlib.suppress(OSError):
        click.echo(line, err=True)


def show_error(code: str, message: str, *, as_json: bool) -> None:
    """Print an error: one line on stderr, and with --json a document on stdout."""
    line = printable(" ".join(message.split()))
    if as_json:
        show_json({"schema_version": 1, "error": {"code": code, "message": line}})
    _tell(f"Error: {line}")


def drop_stdout() -> None:
    """Send what stdout still holds nowhere, so that the end of the process does not stumble over it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
            _tell(f"{task} ...")
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
