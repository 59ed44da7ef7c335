"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrcompress.errors import OutputError


def check_output(path: Path, *, inputs: tuple[Path, ...] = (), overwrite: bool = False) -> None:
    """Refuse an output path before any work is done.

    Args:
        path: Where the output would go.
        inputs: Files that must not be overwritten, also not through a link.
        overwrite: Whether an existing `path` may be replaced.

    Raises:
        OutputError: If `path` is a directory, is one of `inputs`, exists without `overwrite`,
            or its folder is missing or not writable.
    """
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            msg = f"Output {path} is the input itself; give another name with --output."
            raise OutputError(msg, code="output_is_input")
    if path.is_dir():
        msg = f"Output {path} is a directory; give a file name with --output."
        raise OutputError(msg, code="output_is_directory")
    if path.exists() and not overwrite:
        msg = f"Output {path} already exists; pass --overwrite to replace it, or another --output."
        raise OutputError(msg, code="output_exists")
    _check_place(path)


def check_output_folder(path: Path, marker: str, *, overwrite: bool = False) -> None:
    """Refuse an output that is a folder before any work is done.

    Args:
        path: The folder that would be made.
        marker: A file that tells a folder of this kind: no other folder is ever replaced.
        overwrite: Whether an existing one may be replaced.

    Raises:
        OutputError: If `path` exists and is something else or `overwrite` was not given, or its
            parent is missing or not writable.
    """
    if path.exists() and not (path / marker).is_file():
        msg = f"Output {path} exists and holds no {marker}; give another name with --output."
        raise OutputError(msg, code="output_exists")
    if path.exists() and not overwrite:
        msg = f"Output {path} already exists; pass --overwrite to replace it, or another --output."
        raise OutputError(msg, code="output_exists")
    _check_place(path)


def _check_place(path: Path) -> None:
    """Refuse a path whose folder is missing or not writable."""
    folder = path.parent
    if not folder.is_dir():
        msg = f"Output folder {folder} does not exist; create it, or give another --output."
        raise OutputError(msg, code="output_folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f"Output folder {folder} is not writable; give another --output."
        raise OutputError(msg, code="output_folder")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path`; on success flush it to disk and rename it to `path`.

    The sibling keeps the suffix, because Keras chooses the format by it. On any exception,
    KeyboardInterrupt included, the sibling is removed and `path` stays as it was.

    Raises:
        OutputError: If the file cannot be created or moved (no permission, disk full).
    """
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{path.stem}-", suffix=f".partial{path.suffix}", dir=path.parent
        )
    except OSError as error:
        msg = f"Cannot write in folder {path.parent} ({error.strerror}); give another --output."
        raise OutputError(msg, code="output_folder") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp creates 0600; a model file is shared like any other the user writes.
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        msg = f"Cannot write {path} ({error.strerror or error}); free some space or give another --output."
        raise OutputError(msg, code="output_write") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary sibling folder; on success rename it to `path`.

    On any exception, KeyboardInterrupt included, the sibling is removed and `path` stays as it was.

    Raises:
        OutputError: If the folder cannot be created or moved.
    """
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=".partial", dir=path.parent))
    except OSError as error:
        msg = f"Cannot write in folder {path.parent} ({error.strerror}); give another --output."
        raise OutputError(msg, code="output_folder") from error
    # A folder cannot be renamed onto one that is not empty: the old one steps aside for a moment.
    aside = temporary.with_suffix(".old")
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            path.replace(aside)
        try:
            temporary.replace(path)
        except BaseException:
            if aside.exists():
                aside.replace(path)
            raise
    except OSError as error:
        msg = f"Cannot write {path} ({error.strerror or error}); free some space or give another --output."
        raise OutputError(msg, code="output_write") from error
    finally:
        for left in (temporary, aside):
            shutil.rmtree(left, ignore_errors=True)


def remove_partial(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` left beside it.

    Only for a caller that alone writes this file.
    """
    # As many random characters as mkstemp takes: another file's name may begin alike.
    pattern = f".{glob.escape(path.stem)}-{'?' * 8}.partial{glob.escape(path.suffix)}"
    for left in path.parent.glob(pattern):
        left.unlink(missing_ok=True)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write `document` to `path` as UTF-8 JSON, atomically; NaN is refused because JSON has none."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
