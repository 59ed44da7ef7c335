"""What bytes of unknown origin are, as JSON within limits, and any failure as one of our errors.

What a file is, is told from its first bytes: of 174 files in the wild three had a wrong suffix.
"""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

from lrcompress.errors import LRCompressError, ModelFileError, printable
from lrcompress.records import deeper

# The largest architecture found in the wild is 85 kB; 64 MB leaves room for Lambda byte code and
# vocabularies, and still parses in seconds.
MAX_CONFIG_BYTES = 64 * 2**20
# A nested model adds about six levels; real files stay below forty. The walks over a config are
# recursive, and this bound keeps them far from Python's own limit.
MAX_CONFIG_DEPTH = 200
# Small pieces take far more memory than letters: an object some 200 bytes, any other item up to 64.
# 2.5 million words of a vocabulary fit, or 20,000 layers.
MAX_CONFIG_MEMORY = 160_000_000
_BYTES_OF = {"[": 200, "{": 200, ",": 64}
# Python turns digits into a number in time that grows with their square.
_MOST_DIGITS = 1_000
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@contextlib.contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Convert whatever a hostile or damaged file raises, here and nowhere else, into a `ModelFileError`."""
    try:
        yield
    except LRCompressError as error:
        # Names out of the file stand in messages: no line break of theirs may break the line, and
        # no control sequence of theirs may reach a terminal.
        message = printable(str(error))
        if message == str(error):
            raise
        raise type(error)(message, code=error.code) from error
    except MemoryError as error:
        msg = f"{path} needs more memory to read than there is; it may be damaged or hostile."
        raise ModelFileError(msg, code="hostile") from error
    except Exception as error:
        detail = printable(" ".join(str(error).split()))[:200] or type(error).__name__
        msg = (
            f"{path} is damaged or not written by Keras ({detail}); "
            "expected a whole Keras model: save it again."
        )
        raise ModelFileError(msg, code="config") from error


def parse_json(text: str | bytes, path: Path, what: str) -> dict[str, Any]:
    """Parse a JSON object within the limits on size and depth."""
    if len(text) > MAX_CONFIG_BYTES:
        limit = MAX_CONFIG_BYTES // 2**20
        msg = f"{path} has a {what} of {len(text)} bytes; at most {limit} MiB are read."
        raise ModelFileError(msg, code="hostile")
    try:
        spelt = text if isinstance(text, str) else text.decode()
        if sum(cost * spelt.count(sign) for sign, cost in _BYTES_OF.items()) > MAX_CONFIG_MEMORY:
            msg = f"{path} has a {what} of more items than any model; refused."
            raise ModelFileError(msg, code="hostile")
        value = json.loads(spelt, parse_int=_integer)
        too_deep = deeper(value, MAX_CONFIG_DEPTH)
        if _SURROGATE.search(spelt):  # which nothing can print or write
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        too_deep = True
    except ValueError as error:
        msg = f"{path} has a {what} that is not JSON ({error}); save the model again."
        raise ModelFileError(msg, code="config") from error
    if too_deep:
        msg = f"{path} nests its {what} deeper than {MAX_CONFIG_DEPTH} levels; no model needs that."
        raise ModelFileError(msg, code="hostile")
    if not isinstance(value, dict):
        msg = f"{path} has a {what} that is a {type(value).__name__}; expected a JSON object."
        raise ModelFileError(msg, code="config")
    return value


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        msg = f"a number of {len(digits)} digits"
        raise ValueError(msg)
    return int(digits)


def dump_json(value: dict[str, Any]) -> str:
    """Return `value` as Keras itself would write it: default separators, ASCII, NaN allowed."""
    return json.dumps(value)


Format = Literal["hdf5", "keras"]
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# Keras goes by the suffix, whatever the content.
SUFFIXES = {"hdf5": (".h5", ".hdf5"), "keras": (".keras",)}
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
# HDF5 looks for its signature at 0, then at 512 and its doublings, behind a "user block".
HDF5_OFFSETS = (0, 512, 1024, 2048, 4096)
_RESAVE = 'save the whole model with model.save("model.keras").'


def sniff(path: Path) -> Format:
    """Return the container format of a file, or explain in the error what it is instead."""
    with sniffed(path) as (kind, _):
        return kind


@contextlib.contextmanager
def sniffed(path: Path) -> Iterator[tuple[Format, BufferedReader]]:
    """Yield the container format of a file and the file itself, opened for it and for what follows."""
    with _file(path) as file:
        yield _format(path, file), file


def _file(path: Path) -> BufferedReader:
    """Open a regular file, or explain in the error what it is instead."""
    try:
        if path.is_dir():
            raise _folder(path)
        if not path.exists():
            msg = f"{path} does not exist; expected a Keras model file (.keras, .h5 or .hdf5)."
            raise ModelFileError(msg, code="missing")
        if not path.is_file():
            msg = f"{path} is not a regular file; expected a Keras model file."
            raise ModelFileError(msg, code="not_keras")
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        msg = f"{path} cannot be read ({reason}); expected a Keras model file."
        raise ModelFileError(msg, code="missing") from error


def _format(path: Path, file: BufferedReader) -> Format:
    try:
        start = file.read(HDF5_OFFSETS[-1] + len(HDF5_MAGIC))
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror or error}); expected a Keras model file."
        raise ModelFileError(msg, code="missing") from error
    if not start:
        msg = f"{path} is empty; expected a Keras model file: save or download it again."
        raise ModelFileError(msg, code="empty_file")
    if any(start[offset:].startswith(HDF5_MAGIC) for offset in HDF5_OFFSETS):
        return "hdf5"
    if start.startswith(_ZIP_MAGICS):
        if not zipfile.is_zipfile(file):
            msg = f"{path} is a truncated archive (no end record); save or download it again."
            raise ModelFileError(msg, code="truncated")
        return "keras"
    raise _stranger(path, start)


def _folder(path: Path) -> ModelFileError:
    if (path / "saved_model.pb").is_file():
        msg = (
            f"{path} is a TensorFlow SavedModel folder; expected one model file: "
            'load it in its own Keras and save it with model.save("model.keras").'
        )
        return ModelFileError(msg, code="saved_model")
    msg = f"{path} is a folder; expected a Keras model file (.keras, .h5 or .hdf5)."
    return ModelFileError(msg, code="not_keras")


def _stranger(path: Path, start: bytes) -> ModelFileError:
    """Return the error for a file that is neither HDF5 nor zip, naming it where it is known."""
    if start[0] == 0x80 and len(start) > 1 and start[1] <= 5:
        msg = (
            f"{path} is a Python pickle; it is never opened, because a pickle can run code: "
            f"load it yourself and {_RESAVE}"
        )
        return ModelFileError(msg, code="pickle")
    if start.startswith(b"version https://git-lfs"):
        kind, advice = "a Git LFS pointer", "fetch the file itself with git lfs pull."
    elif path.name.endswith(".weights.json"):
        kind = "the list of the parts of sharded weights, without an architecture"
        advice = f"load them into the model and {_RESAVE}"
    elif start[4:8] == b"TFL3":
        kind, advice = "a TensorFlow Lite model", "give the Keras model it was converted from."
    elif start.startswith(b"\x1f\x8b"):
        kind, advice = "gzip-compressed", "unpack it first."
    elif start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        kind, advice = "a web page", "download the file itself."
    else:
        kind, advice = "neither HDF5 nor a .keras archive", _RESAVE
    msg = f"{path} is {kind}; expected a Keras model file: {advice}"
    return ModelFileError(msg, code="not_keras")
