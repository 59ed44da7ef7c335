"""What a command shows: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

# A pipe has no width: nothing should wrap there.
PIPE_WIDTH = 1_000
# Between two lines on the same task, where nobody watches a bar.
LOG_SECONDS = 15.0


def show(parts: list[RenderableType]) -> None:
    """Print a result for people on stdout."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console(highlight=False).print(*parts)
        return
    console = Console(width=PIPE_WIDTH, highlight=False)
    with console.capture() as capture:
        console.print(*parts)
    # Tables are padded to their width, which a file or a page has no use for.
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def show_json(document: Any) -> None:  # noqa: ANN401  # a dictionary, or a list of them
    """Print one JSON document on stdout."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def note(text: str, *, quiet: bool) -> None:
    """Print a message on stderr."""
    if not quiet:
        click.echo(text, err=True)


class Bar:
    """A progress bar that serves one task after another; silent where nobody watches."""

    def __init__(self, *, quiet: bool) -> None:
        """Draw only on a terminal; elsewhere say each task once, so that a log stays short."""
        self._quiet = quiet
        self._live = not quiet and sys.stderr.isatty()
        self._progress: Any = None
        self._task_id: Any = None
        self._task = ""
        self._logged = 0.0

    def __call__(self, task: str, done: int, total: int, figures: dict[str, float]) -> None:
        """Report `done` of `total` steps of `task`."""
        if self._quiet:
            return
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
            click.echo(f"{task} ...", err=True)
            self._logged = now

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )
        from rich.progress import TimeRemainingColumn as Eta

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            Eta(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
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


def keras_starter(
    *, quiet: bool, verbose: bool, distribute: str | None = None
) -> Callable[[], None]:
    """Return a function that starts Keras and says so, the first time that it is called.

    Args:
        quiet: Say nothing.
        verbose: Let the engine speak, too.
        distribute: For a command that can use several devices, what the user said of them.
    """
    return functools.cache(
        lambda: _start_keras(quiet=quiet, verbose=verbose, distribute=distribute or "none")
    )


def _start_keras(*, quiet: bool, verbose: bool, distribute: str) -> None:
    """Import Keras and its engine with their start-up notes held back, unless they are wanted.

    The notes come from native code that writes to file descriptor 2 before any setting is read; some
    of what lets several processes talk writes to 1, which belongs to the results.
    """
    note("Starting Keras ...", quiet=quiet)
    if verbose:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    else:
        for name in ("tensorflow", "absl"):
            logging.getLogger(name).setLevel(logging.ERROR)
    with nothing_on(1), contextlib.nullcontext() if verbose else nothing_on(2):
        backend = import_module("lrcompress.training.backend")
        device = backend.describe_device(distribute)
    note(f"Device: {device}", quiet=quiet)


@contextlib.contextmanager
def nothing_on(descriptor: int) -> Iterator[None]:
    """Send what is written to file descriptor 1 or 2 nowhere, also by native code."""
    (sys.stdout if descriptor == 1 else sys.stderr).flush()
    kept = os.dup(descriptor)
    try:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123  # a device, not a path
            os.dup2(nowhere.fileno(), descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
