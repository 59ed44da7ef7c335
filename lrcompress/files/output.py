"""What a file is, its SHA-256, and outputs that appear whole or not at all, never in the place of something else."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lrcompress.errors import OutputError
from lrcompress.files.workspace import NEW, OLD, longest_name, tidy, uninterrupted, workspace

_PIECE_BYTES = 2**21
# A table of results with which samples were wrong has a few megabytes.
LARGEST_DOCUMENT = 2**28


def regular(path: Path, most: int | None = None) -> Path:
    """Return a path that leads to a regular file of `most` bytes: a pipe would be waited for, a device has no end."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if most is not None and found.st_size > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return path


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in pieces."""
    return _hash(path, threading.Event())


@contextlib.contextmanager
def sha256_meanwhile(path: Path) -> Iterator[Callable[[], str]]:
    """Hash a file while the body runs; yield what waits for the SHA-256, or raises the `OSError` of reading."""
    stop, found = threading.Event(), []

    def run() -> None:
        # Asked again, `sha256` meets the same error where it can be handled.
        with contextlib.suppress(OSError):
            found.append(_hash(path, stop))

    def result() -> str:
        thread.join()
        return found[0] if found else sha256(path)

    thread = threading.Thread(target=run, name=f"sha256 of {path.name}", daemon=True)
    thread.start()
    try:
        yield result
    finally:
        stop.set()
        thread.join()


def _hash(path: Path, stop: threading.Event) -> str:
    # Its library is most of what `lrcompress --help` would load.
    import hashlib

    digest = hashlib.sha256()
    with regular(path).open("rb", buffering=0) as file:
        while not stop.is_set() and (piece := file.read(_PIECE_BYTES)):
            digest.update(piece)
    return digest.hexdigest()


def check_output(path: Path, *, inputs: tuple[Path, ...] = (), overwrite: bool = False) -> None:
    """Refuse an output path before any work is done; `inputs` are not overwritten through links either."""
    _check_place(path)
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            msg = f"Output {path} is the input itself; give another name with --output."
            raise OutputError(msg, code="output_is_input")
    _check_kind(path)
    if os.path.lexists(path) and not overwrite:
        raise _exists(path)


def check_output_folder(
    path: Path,
    what_else: Callable[[Path], str | None],
    *,
    inputs: tuple[Path, ...] = (),
    overwrite: bool = False,
) -> None:
    """Refuse an output folder early; `what_else` names what is in one that is there and would be lost."""
    real = _real(path)
    _check_place(real)
    if not os.path.lexists(real):
        return
    for kept in (*inputs, Path()):
        whole = Path(os.path.realpath(kept))
        if real.resolve() in (whole, *whole.parents):
            what = "the current folder" if kept == Path() else f"the input {kept}"
            msg = f"Output {path} is or holds {what}; give another name with --output."
            raise OutputError(msg, code="output_is_input")
    found = what_else(real)
    if found is not None:
        msg = f"Output {path} exists and holds {found}; give another name with --output."
        raise OutputError(msg, code="output_exists")
    if not overwrite:
        raise _exists(path)


def _exists(path: Path) -> OutputError:
    msg = f"Output {path} already exists; pass --overwrite to replace it, or another --output."
    return OutputError(msg, code="output_exists")


def _real(path: Path) -> Path:
    """Return a folder's path without dots and links, but for a link that its name is itself."""
    is_dots = path.name in ("", "..")
    return Path(
        os.path.realpath(path if is_dots else path.parent), *([] if is_dots else [path.name])
    )


def _check_place(path: Path) -> None:
    """Refuse a name that cannot be, and a folder that is missing or not writable."""
    folder = path.parent
    try:
        str(path).encode()
        for longest in (path, longest_name(folder, path.name)):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                longest.lstat()
    except (OSError, ValueError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)
        reason = getattr(error, "strerror", reason)
        msg = f"Output {path} cannot be the name of a file ({reason}); give another with --output."
        raise OutputError(msg, code="output_name") from error
    if not folder.is_dir():
        msg = f"Output folder {folder} does not exist; create it, or give another --output."
        raise OutputError(msg, code="output_folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f"Output folder {folder} is not writable; give another --output."
        raise OutputError(msg, code="output_folder")
    tidy(folder)


def _check_kind(path: Path) -> None:
    """Refuse what is there and no file: it is never replaced."""
    if path.is_dir():
        msg = f"Output {path} is a directory; give a file name with --output."
        raise OutputError(msg, code="output_is_directory")
    # A link such as /dev/stdout may lead to a file, and is none.
    is_stream = path.is_symlink() and str(path.readlink()).startswith("/proc/")
    if (path.exists() and not path.is_file()) or is_stream:
        msg = f"Output {path} is a pipe or a device; expected a file: give another name with --output."
        raise OutputError(msg, code="output_is_special")


class Pending:
    """Files that are written and not yet in their places."""

    def __init__(self, stack: contextlib.ExitStack, names: set[Path]) -> None:
        self.stack = stack  # closes their workspaces
        self.names = names
        # Of those that are written, where they are, and whether they replace what is there.
        self.files: dict[Path, tuple[Path, bool]] = {}

    def at(self, path: Path) -> Path:
        """Return where the file that will be `path` can be read."""
        return self.files[path][0] if path in self.files else path

    def place(self) -> None:
        """Put the files in their places: all, or none of those that are new there."""
        made: list[Path] = []
        try:
            for path, (temporary, overwrite) in self.files.items():
                with _written(path):
                    _place(temporary, path, overwrite=overwrite)
                if not overwrite:
                    made.append(path)
        except BaseException:
            for path in made:
                path.unlink(missing_ok=True)
            raise


_pending: ContextVar[Pending | None] = ContextVar("pending", default=None)


@contextlib.contextmanager
def together(*names: Path) -> Iterator[Pending]:
    """Put some files that are written in the body in their places at its end, and no signal between."""
    with contextlib.ExitStack() as stack:
        pending = Pending(stack, set(names))
        token = _pending.set(pending)
        try:
            yield pending
        finally:
            _pending.reset(token)
        with uninterrupted():
            pending.place()


@contextlib.contextmanager
def replacing(path: Path, *, overwrite: bool = False, like: Path | None = None) -> Iterator[Path]:
    """Yield an empty temporary file; on success flush it to disk and put it at `path`, else leave all as it was.

    It bears the same name, because Keras chooses the format by the suffix, and is not readable for
    more users than what it is made from (`like`), or than what it replaces.
    """
    outer = _pending.get()
    group: AbstractContextManager[Pending] = together(path)
    if outer is not None and path in outer.names:
        group = contextlib.nullcontext(outer)
    with _written(path), group as pending:
        temporary = pending.stack.enter_context(workspace(path.parent)) / NEW / path.name
        temporary.touch()
        yield temporary
        temporary.chmod(_mode(path, like, 0o666))
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        pending.files[path] = (temporary, overwrite)


@contextlib.contextmanager
def replacing_folder(
    path: Path,
    what_else: Callable[[Path], str | None],
    *,
    overwrite: bool = False,
    like: Path | None = None,
) -> Iterator[Path]:
    """As `replacing` with a folder; where the process is killed the next one puts the old folder back."""
    path = _real(path)
    with _written(path), workspace(path.parent) as beside:
        temporary = beside / NEW / path.name
        temporary.mkdir()
        yield temporary
        temporary.chmod(_mode(path, like, 0o777))
        with uninterrupted():
            if os.path.lexists(path):
                check_output_folder(path, what_else, overwrite=overwrite)
                # A folder cannot be renamed onto one that is not empty.
                path.replace(beside / OLD / path.name)
            temporary.replace(path)


def write_json(
    path: Path, document: dict[str, Any], *, overwrite: bool = False, like: Path | None = None
) -> None:
    """Write `document` to `path` as UTF-8 JSON, as `replacing` does; NaN is refused."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path, overwrite=overwrite, like=like) as temporary:
        # Of names that are not UTF-8, in command lines for example.
        temporary.write_bytes(text.encode("utf-8", "replace"))


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Let what the system says of writing end in one line."""
    try:
        yield
    except OSError as error:
        msg = f"Cannot write {path} ({error.strerror or error}); free some space or give another --output."
        raise OutputError(msg, code="output_write") from error


def _place(temporary: Path, path: Path, *, overwrite: bool) -> None:
    _check_kind(path)
    if overwrite:
        temporary.replace(path)
        return
    try:
        # Unlike renaming, this fails where a file has appeared meanwhile.
        os.link(temporary, path)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError:
        _place_without_link(temporary, path)


def _place_without_link(temporary: Path, path: Path) -> None:
    """Put a file in its place where the file system knows no second names."""
    try:
        path.open("xb").close()
    except FileExistsError as error:
        raise _exists(path) from error
    try:
        temporary.replace(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _mode(path: Path, like: Path | None, mode: int) -> int:
    """Return the permissions of an output: those of what it replaces, at most those of its source."""
    mask = os.umask(0)  # It can only be read by setting it.
    os.umask(mask)
    mode &= ~mask
    with contextlib.suppress(OSError):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode) & 0o777
    with contextlib.suppress(OSError):
        if like is not None:
            theirs = like.stat().st_mode
            # Of a folder, who may list it may also enter.
            mode &= 0o700 | theirs & 0o066 | (theirs & 0o044) >> 2
    return mode
