"""Locks between processes, which the system releases if a process dies.

A file that merely exists would outlive a killed process, and telling whether that still runs is
guesswork, the more so across machines that share a folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lrcompress.errors import OutputError

# Some network folders know no locks: there, one process at a time is the user's own care.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_POLL_SECONDS = 0.2
# Of making a file in a folder that others remove while it is empty.
_MOST_TRIES = 1_000


@contextlib.contextmanager
def locked(path: Path, *, wait: bool, certain: bool = False) -> Iterator[bool]:
    """Hold the lock that a file stands for; the file is there only while it is held.

    Args:
        path: The file; nothing is written into it.
        wait: Whether to wait for another holder, in this process or another.
        certain: Where the folder knows no locks, whether the lock counts as not held instead of
            as held.

    Yields:
        Whether the lock is held; always so with `wait`.

    Raises:
        OutputError: If the file cannot be made.
    """
    file = _take(path, wait=wait, certain=certain)
    try:
        yield file is not None
    finally:
        if file is not None:
            # While it is still held, so that nobody else's file is removed. Windows keeps it.
            with contextlib.suppress(OSError):
                path.unlink()
            # Closing lets the lock go.
            file.close()
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _take(path: Path, *, wait: bool, certain: bool) -> BinaryIO | None:
    while True:
        file = _open(path)
        try:
            if _acquire(file.fileno(), certain=certain):
                if _is_current(file, path):
                    return file
                # The holder before removed it meanwhile: its lock means nothing any more.
                file.close()
                continue
        except BaseException:
            file.close()
            raise
        file.close()
        if not wait:
            return None
        time.sleep(_POLL_SECONDS)


def _open(path: Path) -> BinaryIO:
    tries = 0
    while True:
        tries += 1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("a+b")
        except OSError as error:
            # Another process may have just removed the folder that it left empty.
            if isinstance(error, FileNotFoundError) and tries < _MOST_TRIES:
                continue
            msg = f"Cannot write in folder {path.parent} ({error.strerror}); give another --output."
            raise OutputError(msg, code="output_folder") from error


def _is_current(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _acquire(descriptor: int, *, certain: bool) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            # Of the open file, not of the process: two threads exclude each other too.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        if error.errno not in _NO_LOCKS:
            raise
        return not certain
    return True
