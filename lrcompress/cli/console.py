"""What a command shows: results on stdout, progress and notes on stderr, and nothing that libraries have to say."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import logging
import os
import re
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from lrcompress.errors import LRCompressWarning, printable

if TYPE_CHECKING:
    from rich.console import Console

    from lrcompress.reporting.tables import Parts

# A pipe has no width: nothing should wrap there.
PIPE_WIDTH = 100_000
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


def show(parts: Parts | str) -> None:
    """Print a result for people on stdout: it fits a terminal, and is plain text anywhere else."""
    if isinstance(parts, str):
        click.echo(parts, nl=False)
        return
    if sys.stdout.isatty():
        terminal().print(*parts)
        return
    from rich.console import Console

    console = Console(width=PIPE_WIDTH, highlight=False, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(*parts)
    # Tables are padded to their width, which a file or a page has no use for.
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def terminal() -> Console:
    """Return the terminal; with NO_COLOR, or where TERM is dumb, nothing is bold or in colour."""
    from rich.console import Console

    return Console(
        file=getattr(sys.stdout, "stream", sys.stdout),
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
    click.echo(json_text(document), nl=False)


def json_text(document: Any) -> str:  # noqa: ANN401
    """Return a JSON document without a character that drives a terminal: JSON has its own escapes."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return _BETWEEN.sub(
        lambda match: "".join(json.dumps(c)[1:-1] if printable(c) != c else c for c in match[0]),
        text,
    )


# Takes a line of progress away while a message is printed.
above_progress: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext


def note(text: str) -> None:
    """Print a message on stderr, on one line that a terminal breaks at words, unless the command is to be quiet."""
    context = click.get_current_context(silent=True)
    if context is not None and context.params.get("quiet"):
        return
    line = printable(text)
    # A command is left whole, to be copied.
    if sys.stderr.isatty() and not line.startswith("Next:"):
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
    tell(line)


def tell(line: str) -> None:
    """Print a line on stderr; where that is full or closed, the work is still worth doing."""
    with contextlib.suppress(OSError), above_progress():
        click.echo(line, err=True)


def show_error(code: str, message: str, *, as_json: bool) -> None:
    """Print an error: one line on stderr, and with --json a document on stdout."""
    line = printable(" ".join(message.split()))
    if as_json:
        show_json({"schema_version": 1, "error": {"code": code, "message": line}})
    tell(f"Error: {line}")


def drop_stdout() -> None:
    """Send what stdout still holds nowhere, so that the end of the process does not stumble over it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


@contextlib.contextmanager
def libraries_held_back(*, own_process: bool) -> Iterator[None]:
    """Keep warnings of libraries off the terminal, those they log and those they raise.

    They are for who writes programs; what a user should know lrcompress says itself, each note once.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            if own_process and not sys.warnoptions:
                warnings.simplefilter("ignore")
            # Not "once", which begins anew with each change of the filters.
            warnings.simplefilter("always", LRCompressWarning)
            warnings.showwarning = functools.partial(_show_warning, warnings.showwarning, set())
            yield
    finally:
        logging.disable(before)


def _show_warning(
    others: Callable[..., None], said: set[str], message: Warning | str, *about: object
) -> None:
    """Print what lrcompress warns of as a note, once; hand on what others do."""
    if not isinstance(message, LRCompressWarning):
        others(message, *about)
    elif str(message) not in said:
        said.add(str(message))
        note(f"Note: {message}")


def let_libraries_speak() -> None:
    """Undo `libraries_held_back`, for `--verbose`."""
    logging.disable(logging.NOTSET)
    if not sys.warnoptions:
        warnings.simplefilter("default")
