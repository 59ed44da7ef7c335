"""Hidden folders in which files are made before they are whole; the system tells which are in use.

A lock is released by the system if its process dies. A file that merely exists would outlive a
killed process, and telling whether that still runs is guesswork, the more so across machines.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lrcompress.errors import OutputError
from lrcompress.files.interrupts import uninterrupted

if TYPE_CHECKING:
    from filelock import BaseFileLock

# A workspace is called .lrcompress-XXXXXXXX.partial. It holds the lock of its process, what is
# made, and a folder that is being replaced, under its own name.
_PREFIX, _SUFFIX, _LOCK = ".lrcompress-", ".partial", "lock"
NEW, OLD = "new", "old"
# Some network folders know no locks: there, one process at a time is the user's own care.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
# Of making a file in a folder that others remove while it is empty.
_MOST_TRIES = 1_000


@contextlib.contextmanager
def locked(path: Path, *, wait: bool, certain: bool = False) -> Iterator[bool]:
    """Hold the lock of a file and yield whether it is held; without locks it is, or with `certain` is not."""
    # It takes a while to load, which `--help` has no use for.
    from filelock import FileLock

    # Never a file that merely exists in the place of a lock.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    held = _acquire(lock, path, wait=wait, certain=certain)
    try:
        yield held
    finally:
        if held:
            # While it is still held, so that nobody else's file is removed. Windows keeps it.
            with contextlib.suppress(OSError):
                path.unlink()
            lock.release(force=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _acquire(lock: BaseFileLock, path: Path, *, wait: bool, certain: bool) -> bool:
    from filelock import Timeout

    for left in reversed(range(_MOST_TRIES)):
        with _writing_in(path.parent):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire(blocking=wait)
            except Timeout:
                # Unless the holder has removed it meanwhile: that lock means nothing any more.
                if path.exists():
                    return False
            except FileNotFoundError:
                # Another process has just removed the folder that it left empty.
                if not left:
                    raise
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                return not certain
            else:
                return True
    return False


@contextlib.contextmanager
def _writing_in(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"Cannot write in folder {folder} ({error.strerror}); give another --output."
        raise OutputError(msg, code="output_folder") from error


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder of this process alone, with empty ones called NEW and OLD; it goes in the end."""
    tidy(folder)
    made: Path | None = None
    with contextlib.ExitStack() as lock:
        try:
            with _writing_in(folder), uninterrupted():
                # Again where who tidies up was quicker than the lock.
                while made is None or not lock.enter_context(locked(made / _LOCK, wait=False)):
                    made = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=folder))
                for name in (NEW, OLD):
                    (made / name).mkdir()
            yield made
        finally:
            with uninterrupted():
                if made is not None:
                    _clear(made)
                    lock.close()
                    # Windows keeps a file that is open.
                    shutil.rmtree(made, ignore_errors=True)


def longest_name(folder: Path, name: str) -> Path:
    """Return a path as long as that of a new file in a workspace."""
    return folder / f"{_PREFIX}{'x' * 8}{_SUFFIX}" / NEW / name


def tidy(folder: Path) -> None:
    """Remove what killed processes of this user left in a folder, as far as that can be told."""
    for left in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError, OutputError):
            info = left.lstat()
            is_mine = not hasattr(os, "getuid") or info.st_uid == os.getuid()
            if stat.S_ISDIR(info.st_mode) and is_mine:
                with locked(left / _LOCK, wait=False, certain=True) as abandoned:
                    if abandoned:
                        _clear(left)


def _clear(workspace: Path) -> None:
    """Put back what was to be replaced and was not, and remove the rest but for the lock."""
    for old in (workspace / OLD).glob("*"):
        place = workspace.parent / old.name
        if not os.path.lexists(place):
            with contextlib.suppress(OSError):
                old.replace(place)
    for name in (NEW, OLD):
        shutil.rmtree(workspace / name, ignore_errors=True)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a body for this folder."""
    with locked(folder / f"{_PREFIX}records{_SUFFIX}" / _LOCK, wait=True):
        yield


@contextlib.contextmanager
def temporary_files_together() -> Iterator[None]:
    """Have all temporary files of this process in one workspace, those of libraries too."""
    before = tempfile.tempdir
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, OutputError):
            folder = stack.enter_context(workspace(Path(tempfile.gettempdir())))
            tempfile.tempdir = str(folder / NEW)
        try:
            yield
        finally:
            tempfile.tempdir = before
