"""Open a model file of either format within limits, as text plus an HDF5 file of weights."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from struct import calcsize, unpack
from typing import Literal

import h5py

from lrcompress.errors import LRCompressError, ModelFileError, UnsupportedModelError, one_line
from lrcompress.modelfile.hdf5.arrays import Index, text
from lrcompress.modelfile.hdf5.index import read_index
from lrcompress.modelfile.hdf5.space import ReadWindow
from lrcompress.modelfile.untrusted import MAX_CONFIG_BYTES, decoding, sniffed

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# What all members become together when they are unpacked. Keras packs nothing, and weights stay
# below 2:1; the spare lets tiny files of zeros pass, because they are harmless.
_SPARE_BYTES = 2**24
_SPARE_RATIO = 10
MAX_MEMBERS = 10_000
# Python reads a whole list of members, a thousand bytes of memory for each, before it can be asked.
_MAX_LIST_BYTES = 2**21
_HEADER = "<4s22xHH"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class OpenModel:
    """An open model file; `weights` is the HDF5 file itself or a member, `raw` are its bytes."""

    format: Literal["hdf5", "keras"]
    config: str | bytes
    metadata: bytes | None
    weights: h5py.File
    raw: ReadWindow
    index: Index
    archive: zipfile.ZipFile | None


_KEPT: ContextVar[dict[Path, OpenModel]] = ContextVar("kept", default={})  # noqa: B039  # never changed


@contextlib.contextmanager
def opened(path: Path, *, index: Index | None = None) -> Iterator[OpenModel]:
    """Open a whole-model file for reading, once all structures of its weights are checked."""
    if path in _KEPT.get():
        yield _KEPT.get()[path]
        return
    archive, metadata = None, None
    with contextlib.ExitStack() as stack:
        kind, whole = stack.enter_context(sniffed(path))
        if kind == "keras":
            archive = stack.enter_context(_zip(whole, path))
        with decoding(path):
            if archive is not None:
                _check_members(archive, path)
                config: str | bytes = archive.read(CONFIG)
                metadata = archive.read(METADATA) if METADATA in archive.namelist() else b"{}"
                raw = stack.enter_context(_member(archive, whole, path))
            else:
                raw = ReadWindow(whole, 0, path.stat().st_size)
            if index is None:
                index = read_index(raw, path, backslashes=archive is not None)
        file = stack.enter_context(open_hdf5(path if archive is None else raw, path))
        if archive is None:
            with decoding(path):
                config = _legacy_config(file, path)
        yield OpenModel(kind, config, metadata, file, raw, index, archive)


@contextlib.contextmanager
def kept_open(path: Path) -> Iterator[None]:
    """Open a model file once for all that reads it in a ``with`` block."""
    with opened(path) as model:
        token = _KEPT.set({**_KEPT.get(), path: model})
        try:
            yield
        finally:
            _KEPT.reset(token)


def check_sum(model: OpenModel, path: Path) -> None:
    """Compare the weights of an archive with their checksum, which reading in place skips."""
    if model.archive is not None and model.raw.crc() != model.archive.getinfo(WEIGHTS).CRC:
        msg = f"{path} is damaged (bad checksum of {WEIGHTS}); save or download it again."
        raise ModelFileError(msg, code="truncated")


@contextlib.contextmanager
def open_hdf5(source: Path | ReadWindow, path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file, or say that it is cut short."""
    try:
        file = h5py.File(source, "r")
    except Exception as error:
        reason = one_line(error, 200)
        msg = f"{path} cannot be opened as HDF5 ({reason}); save or download it again."
        raise ModelFileError(msg, code="truncated") from error
    try:
        yield file
    except BaseException:
        with contextlib.suppress(Exception):  # what went wrong first is what is told
            file.close()
        raise
    with decoding(path):
        file.close()


def _legacy_config(file: h5py.File, path: Path) -> str:
    """Return the model config of an HDF5 file, or say what the file holds instead."""
    config = text(file.attrs["model_config"]) if "model_config" in file.attrs else None
    if config is not None:
        return config
    new_style = any(name in file for name in ("layers", "_layer_checkpoint_dependencies", "vars"))
    if new_style or any(name.startswith("layer_names") for name in file.attrs):
        named = path.name.endswith(".weights.h5")
        raise _only_weights(
            path, "a .weights.h5 has no architecture" if named else "no model_config"
        )
    msg = (
        f"{path} is HDF5 but not a Keras model (no model_config); "
        'expected a file written by model.save("model.keras").'
    )
    raise ModelFileError(msg, code="not_keras")


@contextlib.contextmanager
def _zip(file: BufferedReader, path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        listed = end[zipfile._ECD_SIZE] if end else 0  # type: ignore[attr-defined]
        if listed > _MAX_LIST_BYTES:
            raise _hostile(path, f"a list of members of {listed} bytes")
        archive = zipfile.ZipFile(file)
    except LRCompressError:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    with archive:
        yield archive


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse archives that are not Keras models or that no Keras version writes."""
    infos, size = archive.infolist(), path.stat().st_size
    names = Counter(info.filename for info in infos)
    if len(infos) > MAX_MEMBERS:
        raise _hostile(path, f"{len(infos)} members")
    grown, end = 0, 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        _check_member(info, path, size)
        if info.header_offset < end:
            raise _hostile(path, f"a member {info.filename!r} inside another")
        end = info.header_offset + calcsize(_HEADER) + info.compress_size
        grown += info.file_size
    if grown > _SPARE_BYTES + _SPARE_RATIO * size:
        raise _hostile(path, f"members that expand to {grown} bytes")
    for name, count in names.items():
        if count > 1:
            raise _hostile(path, f"two members named {name!r}")
    if any(name.endswith(".npz") for name in names):
        msg = (
            f"{path} keeps its weights as .npz, which can hide a pickle; "
            'open it in its own Keras and save it again with model.save("model.keras").'
        )
        raise UnsupportedModelError(msg, code="npz_weights")
    if CONFIG not in names and WEIGHTS in names:
        raise _only_weights(path, f"no {CONFIG}")
    if CONFIG not in names or WEIGHTS not in names:
        other = "a PyTorch file" if any(n.endswith("/data.pkl") for n in names) else "an archive"
        msg = f"{path} is {other} without {CONFIG} and {WEIGHTS}; expected a .keras file."
        raise ModelFileError(msg, code="not_keras")


def _check_member(info: zipfile.ZipInfo, path: Path, size: int) -> None:
    """Refuse one member of an archive of `size` bytes, by what the archive says of it."""
    name = info.filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or ":" in name or "\0" in name:
        raise _hostile(path, f"a member named {name!r}")
    if info.flag_bits & 1:
        raise _hostile(path, f"an encrypted member {name!r}")
    if info.compress_type not in _METHODS:
        raise _hostile(path, f"a member {name!r} packed by method {info.compress_type}")
    # Reading sets aside what a member claims to take, before any of it is read.
    if info.header_offset + info.compress_size > size:
        raise _damaged(path, f"{name!r} ends behind it")
    # A member cut so would be copied without its end, and without its checksum compared.
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        raise _damaged(path, f"{name!r} has two sizes")
    if name in (CONFIG, METADATA) and info.file_size > MAX_CONFIG_BYTES:
        raise _hostile(path, f"a {name} of {info.file_size} bytes")


@contextlib.contextmanager
def _member(archive: zipfile.ZipFile, whole: BufferedReader, path: Path) -> Iterator[ReadWindow]:
    """Yield the weights as a file that HDF5 can seek in: in place, or unpacked to disk, never into memory."""
    info = archive.getinfo(WEIGHTS)
    if info.compress_type == zipfile.ZIP_STORED:
        whole.seek(info.header_offset)
        header = whole.read(calcsize(_HEADER)).ljust(calcsize(_HEADER), b"\0")
        signature, *lengths = unpack(_HEADER, header)
        if signature != b"PK\x03\x04":
            raise _damaged(path, "bad local header")
        yield ReadWindow(whole, whole.tell() + sum(lengths), info.file_size)
    else:
        with tempfile.TemporaryFile() as unpacked, archive.open(info) as packed:
            try:
                shutil.copyfileobj(packed, unpacked, 2**20)
                unpacked.flush()
            except OSError as error:
                msg = (
                    f"{path} is compressed, and cannot be unpacked into {tempfile.gettempdir()} "
                    f"({error.strerror or error}); free some space there or set TMPDIR."
                )
                raise ModelFileError(msg, code="unpacking") from error
            yield ReadWindow(unpacked, 0, info.file_size)


def _damaged(path: Path, what: object) -> ModelFileError:
    msg = f"{path} is a damaged archive ({what}); save or download it again."
    return ModelFileError(msg, code="truncated")


def _hostile(path: Path, what: str) -> ModelFileError:
    msg = f"{path} holds {what}; Keras never writes that: refused, get it from its source again."
    return ModelFileError(msg, code="hostile")


def _only_weights(path: Path, what: str) -> UnsupportedModelError:
    msg = (
        f"{path} holds only weights ({what}); lrcompress needs the architecture too: save the whole model with "
        'model.save("model.keras"), or add --architecture model.json, which holds model.to_json().'
    )
    return UnsupportedModelError(msg, code="weights_only")
