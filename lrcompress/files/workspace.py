"""Hidden folders in which files are made before they are whole, and what ends the work meanwhile.

The system tells which folders are in use: it releases a lock if its process dies. A file that merely
exists would outlive a killed process, and telling whether that still runs is guesswork, the more so
across machines. Every signal that asks to end is met as Control-C is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from lrcompress.errors import OutputError

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
            except (FileNotFoundError, FileExistsError):
                # Another process has just removed the folder that it left empty, before or after we saw it.
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


# SIGHUP, the terminal is gone, is unknown to Windows.
_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
_HELD_BACK = (signal.SIGINT, *_ENDING)


class Ended(KeyboardInterrupt):
    """A signal asks to end: where code made from text is run, Python ends itself at plain KeyboardInterrupt."""


@contextlib.contextmanager
def ended_like_control_c() -> Iterator[None]:
    """Raise `Ended` at Control-C, and where SIGTERM or SIGHUP would end the process at once (not under `nohup`).

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
