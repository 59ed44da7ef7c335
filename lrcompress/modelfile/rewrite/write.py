"""Put a planned model on the disk, in either format, with the same bytes every time."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py

from lrcompress.modelfile.container import CONFIG, METADATA, WEIGHTS, OpenModel
from lrcompress.modelfile.hdf5 import Index
from lrcompress.modelfile.hdf5.window import WriteWindow
from lrcompress.modelfile.rewrite.plan import Plan, write_plan
from lrcompress.modelfile.untrusted import decoding

# The first date a zip archive can hold: a real one would make two runs differ.
_EPOCH = (1980, 1, 1, 0, 0, 0)
# Past 2 GiB a member needs a longer header, which stands in front of it before its size is known.
_LARGE_BYTES = 2**30
_PIECE_BYTES = 2**20


def write_model(source: OpenModel, index: Index, plan: Plan, path: Path, original: Path) -> None:
    """Write the new file over the empty one at `path`.

    Args:
        source: The old file, open.
        index: All objects of its weights.
        plan: What the new file holds.
        path: Where to write.
        original: The old file's name, for messages.

    Raises:
        OSError: If the new file cannot be written, because the disk is full for example.
        ModelFileError: If the old file cannot be read to its end.
    """
    if source.archive is None:
        with path.open("r+b", buffering=0) as file:
            _write_weights(source, index, plan, file, original)
        return
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for info in sorted(source.archive.infolist(), key=_member_order):
            if info.is_dir():
                continue
            entry, size = zipfile.ZipInfo(plan.member(info.filename), _EPOCH), info.file_size
            entry.external_attr = 0o644 << 16
            if info.filename == WEIGHTS:
                size += sum(array.values.nbytes for array in plan.arrays.values())
            with archive.open(entry, "w", force_zip64=size > _LARGE_BYTES) as member:
                if info.filename == WEIGHTS:
                    # HDF5 writes in no order, and a zip archive in one: so beside it first.
                    with tempfile.TemporaryFile(dir=path.parent, buffering=0) as weights:
                        _write_weights(source, index, plan, weights, original)
                        weights.seek(0)
                        shutil.copyfileobj(weights, member, _PIECE_BYTES)
                elif info.filename in plan.members:
                    member.write(plan.members[info.filename])
                else:
                    for piece in _pieces(source.archive, info, original):
                        member.write(piece)


def _write_weights(
    source: OpenModel, index: Index, plan: Plan, file: io.FileIO, original: Path
) -> None:
    """Write the HDF5 file of the new weights."""
    window = WriteWindow(file)

    def fill() -> None:
        # Whatever fails in here is the old file's doing: the window never does.
        with decoding(original), h5py.File(window, "w") as target:
            _keep_structures(target)
            write_plan(plan, source.weights, index, target, window.check)

    # Python raises Control-C in the first thread only: in a second one HDF5, whose calls of the
    # window would pass it on, is out of its reach.
    with ThreadPoolExecutor(1) as second:
        try:
            second.submit(fill).result()
        except BaseException as error:
            window.fail(error)
    window.check()


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
