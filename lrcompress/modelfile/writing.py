"""Put a planned model on the disk, in either format, with the same bytes every time."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import h5py

from lrcompress.errors import ModelFileError
from lrcompress.modelfile.container import CONFIG, METADATA, WEIGHTS, OpenModel
from lrcompress.modelfile.decoding import decoding
from lrcompress.modelfile.hdf5 import Index
from lrcompress.modelfile.plan import Plan, write_plan

# The first date a zip archive can hold: a real one would make two runs differ.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_FULL = tuple(getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EFBIG"))


def write_model(source: OpenModel, index: Index, plan: Plan, path: Path, original: Path) -> None:
    """Write the new file.

    Args:
        source: The old file, open.
        index: All objects of its weights.
        plan: What the new file holds.
        path: Where to write; an empty file is there.
        original: The old file's name, for messages.

    Raises:
        OSError: If the disk is full.
        ModelFileError: If the old file cannot be read to its end.
    """
    with _copying(original):
        _write(source, index, plan, path)


def _write(source: OpenModel, index: Index, plan: Plan, path: Path) -> None:
    """Write one HDF5 file, or the members of an archive one after the other."""
    if source.archive is None:
        with h5py.File(path, "w") as target:
            write_plan(plan, source.weights, index, target)
        return
    # The weights pass through a nameless file next to the output, so that memory never holds
    # them all and an interruption leaves nothing behind.
    with (
        tempfile.TemporaryFile(dir=path.parent) as weights,
        zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive,
    ):
        with h5py.File(weights, "w") as target:
            write_plan(plan, source.weights, index, target)
        weights.seek(0)
        for info in sorted(source.archive.infolist(), key=_member_order):
            if info.is_dir():
                continue
            entry = zipfile.ZipInfo(plan.member(info.filename), _EPOCH)
            entry.external_attr = 0o644 << 16
            with archive.open(entry, "w", force_zip64=info.file_size > 2**31) as member:
                if info.filename in plan.members:
                    member.write(plan.members[info.filename])
                elif info.filename == WEIGHTS:
                    shutil.copyfileobj(weights, member, 2**20)
                else:
                    _copy_member(source.archive, info, member)


def _copy_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: IO[bytes]) -> None:
    """Copy a member piece by piece; its checksum is checked on the way."""
    with archive.open(info) as member:
        shutil.copyfileobj(member, target, 2**20)


def _member_order(info: zipfile.ZipInfo) -> tuple[int, str]:
    """Sort members as Keras writes them: metadata, config, weights, then assets by name."""
    known = (METADATA, CONFIG, WEIGHTS)
    place = known.index(info.filename) if info.filename in known else len(known)
    return place, info.filename


@contextlib.contextmanager
def _copying(path: Path) -> Iterator[None]:
    """Tell a full disk, which `replacing` reports, from an input that cannot be read."""
    try:
        with decoding(path):
            yield
    except ModelFileError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and (cause.errno in _FULL or "No space" in str(cause)):
            raise cause from None
        raise
