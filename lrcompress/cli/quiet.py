"""Keeping what libraries have to say off the terminal."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator

from lrcompress.cli.console import note
from lrcompress.errors import LRCompressWarning


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
            warnings.showwarning = functools.partial(_show, warnings.showwarning, set())
            yield
    finally:
        logging.disable(before)


def _show(
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
