"""What is a file, its SHA-256, in a second thread where there is other work to do, and sizes as people write them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_PIECE_BYTES = 2**21
# A table of results with which samples were wrong has a few megabytes.
LARGEST_DOCUMENT = 2**28
# As everywhere else here 1 kB is 1,000 bytes; who means 1,024 says KiB.
_UNITS = {
    "": 1, "b": 1, "byte": 1, "bytes": 1,
    "k": 1e3, "kb": 1e3, "m": 1e6, "mb": 1e6, "g": 1e9, "gb": 1e9,
    "kib": 2**10, "mib": 2**20, "gib": 2**30,
}  # fmt: skip


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


def bytes_of(text: str) -> int:
    """Return a number of bytes above 0, or raise a ValueError.

    >>> bytes_of("200kB"), bytes_of("1.5 MiB"), bytes_of("4096")
    (200000, 1572864, 4096)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", text.lower().replace("_", ""))
    if match is None or match[2] not in _UNITS or not float(match[1]) > 0:
        msg = f"{text!r} is not a file size; expected for example 200kB, 1.5MB, 512KiB or a number of bytes"
        raise ValueError(msg)
    return round(float(match[1]) * _UNITS[match[2]])
