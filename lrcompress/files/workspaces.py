"""Hidden folders in which files are made before they are whole; the system tells which are in use."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lrcompress.errors import OutputError
from lrcompress.files.interrupts import uninterrupted
from lrcompress.files.locking import locked

# A workspace is called .lrcompress-XXXXXXXX.partial. It holds the lock of its process, what is
# made, and a folder that is being replaced, under its own name.
_PREFIX, _SUFFIX, _LOCK = ".lrcompress-", ".partial", "lock"
NEW, OLD = "new", "old"


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder of this process alone, with empty ones called NEW and OLD; it goes in the end.

    Raises:
        OutputError: If it cannot be made.
    """
    tidy(folder)
    made: Path | None = None
    with contextlib.ExitStack() as lock:
        try:
            with _made_in(folder), uninterrupted():
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


@contextlib.contextmanager
def _made_in(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"Cannot write in folder {folder} ({error.strerror}); give another --output."
        raise OutputError(msg, code="output_folder") from error


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
    """Wait until no other process is in such a body for this folder.

    Raises:
        OutputError: If the folder is not writable.
    """
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
