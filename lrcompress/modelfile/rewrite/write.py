"""Put a planned model on the disk, in either format, with the same bytes every time."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py

from lrcompress.modelfile.container import CONFIG, METADATA, WEIGHTS, OpenModel
from lrcompress.modelfile.hdf5 import Index
from lrcompress.modelfile.rewrite.plan import Plan, write_plan
from lrcompress.modelfile.untrusted import decoding
from lrcompress.modelfile.window import WriteWindow

# The first date a zip archive can hold: a real one would make two runs differ.
_EPOCH = (1980, 1, 1, 0, 0, 0)
# Past 2 GiB a member needs a longer header, which stands in front of it before its size is known.
_LARGE_BYTES = 2**30
_PIECE_BYTES = 2**20


def write_model(source: OpenModel, index: Index, plan: Plan, path: Path, original: Path) -> None:
    """Write the new file.

    Args:
        source: The old file, open.
        index: All objects of its weights.
        plan: What the new file holds.
        path: Where to write; an empty file is there.
        original: The old file's name, for messages.

    Raises:
        OSError: If the new file cannot be written, because the disk is full for example.
        ModelFileError: If the old file cannot be read to its end.
    """

    def fill(window: WriteWindow) -> None:
        # Whatever fails in here is the old file's doing: the window never does.
        with decoding(original), h5py.File(window, "w") as target:
            _keep_structures(target)
            write_plan(plan, source.weights, index, target, window.check)

    def write_weights(start: int) -> tuple[int, int]:
        with path.open("r+b", buffering=0) as file:
            window = WriteWindow(file, start, summed=source.archive is not None)
            # Python raises Control-C in the first thread only: in a second one HDF5, whose calls
            # of the window would pass it on, is out of its reach.
            with ThreadPoolExecutor(1) as second:
                try:
                    second.submit(fill, window).result()
                except BaseException as error:
                    window.fail(error)
            window.check()
            return window.size, window.crc()

    if source.archive is None:
        write_weights(0)
        return
    with path.open("r+b") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for info in sorted(source.archive.infolist(), key=_member_order):
            if info.is_dir():
                continue
            entry = zipfile.ZipInfo(plan.member(info.filename), _EPOCH)
            entry.external_attr = 0o644 << 16
            if info.filename == WEIGHTS:
                new_bytes = sum(array.values.nbytes for array in plan.arrays.values())
                _add(archive, file, entry, info.file_size + new_bytes > _LARGE_BYTES, write_weights)
                continue
            with archive.open(entry, "w", force_zip64=info.file_size > _LARGE_BYTES) as member:
                if info.filename in plan.members:
                    member.write(plan.members[info.filename])
                else:
                    for piece in _pieces(source.archive, info, original):
                        member.write(piece)


def _keep_structures(file: h5py.File) -> None:
    """Let HDF5 write its structures at the end only.

    Otherwise it writes and reads again some of them on the way, and after a failed write it would
    read what is not there.
    """
    settings = file.id.get_mdc_config()
    settings.evictions_enabled = False
    # The sizes it would grow to and shrink to must stand still when nothing leaves.
    settings.incr_mode = settings.flash_incr_mode = settings.decr_mode = 0
    file.id.set_mdc_config(settings)


def _add(
    archive: zipfile.ZipFile,
    file: io.BufferedRandom,
    entry: zipfile.ZipInfo,
    large: bool,
    write: Callable[[int], tuple[int, int]],
) -> None:
    """Add a member that is written in place and in no order, which `ZipFile.open` cannot do.

    Args:
        archive: Open for writing.
        file: The file it writes.
        entry: Name and attributes of the member.
        large: Whether it may have 2 GiB or more.
        write: Given where the member begins, writes it and returns its size and its CRC-32.
    """
    entry.header_offset = archive.start_dir
    entry.CRC = 0
    file.seek(entry.header_offset)
    file.write(entry.FileHeader(zip64=large))
    file.flush()
    start = file.tell()
    entry.file_size, entry.CRC = write(start)
    entry.compress_size = entry.file_size
    file.seek(entry.header_offset)
    file.write(entry.FileHeader(zip64=large))
    archive.filelist.append(entry)
    archive.NameToInfo[entry.filename] = entry
    archive.start_dir = start + entry.file_size


def _pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Iterator[bytes]:
    """Yield a member of the old file piece by piece; its checksum is checked on the way."""
    with decoding(path), archive.open(info) as member:
        while piece := member.read(_PIECE_BYTES):
            yield piece


def _member_order(info: zipfile.ZipInfo) -> tuple[int, str]:
    """Sort members as Keras writes them: metadata, config, weights, then assets by name."""
    known = (METADATA, CONFIG, WEIGHTS)
    place = known.index(info.filename) if info.filename in known else len(known)
    return place, info.filename
