"""Try one file as a user would: inspect, factorize, modernize, merge, and look at what is left behind."""

from __future__ import annotations

import io
import json
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

import lrcompress
from lrcompress.cli.commands.inspect import render
from lrcompress.errors import LRCompressError, VerificationError

FINDINGS = (
    "traceback", "message", "hang", "memory", "crash", "verification", "left files", "input changed",
)  # fmt: skip
_RECORD = ".lrcompress.json"


class Outcome(NamedTuple):
    """What became of a case: a result or the name of a finding, and what it said."""

    result: str
    detail: str = ""
    seconds: float = 0.0


def try_file(path: Path, scratch: Path) -> Outcome:
    """Inspect, factorize, modernize and merge one file.

    Args:
        path: The file.
        scratch: An empty folder for the output and for temporary files.

    Returns:
        ``compressed``, ``refused: CODE`` or a finding, with the seconds of processor time.
    """
    before = path.read_bytes()
    started = time.process_time()
    tempfile.tempdir = str(scratch)
    # By content: the other format would be written through Keras, which is not what is tested.
    suffix = ".keras" if before.startswith(b"PK") else ".h5"
    result = _run(path, scratch / f"out{suffix}")
    seconds = time.process_time() - started
    left = {entry.name for entry in scratch.iterdir()}
    wanted = {f"out{suffix}", f"out{_RECORD}"} if result.result == "compressed" else set()
    if result.result not in FINDINGS:
        if left != wanted:
            result = Outcome("left files", f"after {result.result}: {sorted(left)}")
        elif path.read_bytes() != before:
            result = Outcome("input changed")
    return result._replace(seconds=seconds)


def _run(path: Path, output: Path) -> Outcome:
    """Show the file and compress it; then modernize and merge, of which only findings count."""

    def compress() -> None:
        _show(lrcompress.inspect(path))
        lrcompress.factorize(path, rank=1, method="svd", force=True, output=output)

    compressed = _attempt(compress)
    made = output.with_stem("made")
    others = [_attempt(lambda: lrcompress.modernize(path, output=made, overwrite=True))]
    # What was split may be merged; what is split in the file itself, as well.
    for source in (path, output) if compressed.result == "compressed" else (path,):
        others.append(_attempt(lambda: lrcompress.merge(source, output=made, overwrite=True)))  # noqa: B023
    if any(other.result == "compressed" for other in others):
        made.unlink()
    found = (outcome for outcome in (compressed, *others) if outcome.result in FINDINGS)
    return next(found, compressed)


def _attempt(action: Callable[[], object]) -> Outcome:
    """Do something with the file; an error of ours is an answer if it is one line."""
    try:
        action()
    except LRCompressError as error:
        if len(str(error).splitlines()) != 1:
            return Outcome("message", f"{_where(error)}\n{error.code}: {error}")
        if isinstance(error, VerificationError):  # a wrong file was made, though not kept
            return Outcome("verification", _where(error))
        if _is_out_of_memory(error):
            return Outcome("memory", _where(error))
        return Outcome(f"refused: {error.code}", str(error))
    except MemoryError as error:
        return Outcome("memory", _where(error))
    except Exception as error:
        return Outcome("traceback", _where(error))
    return Outcome("compressed")


def _show(document: dict[str, object]) -> None:
    """Print a description in both ways, to nowhere."""
    json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    sink = io.StringIO()
    Console(file=sink, width=1_000).print(*render(document))
    sink.getvalue().encode()


def _is_out_of_memory(error: BaseException) -> bool:
    """Return whether a refusal only hides that memory ran out."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _where(error: BaseException) -> str:
    """Return an exception with its traceback."""
    return "".join(traceback.format_exception(error))
