"""Turn bytes of unknown origin into JSON within limits, and any failure into one of our errors."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrcompress.errors import LRCompressError, ModelFileError, printable
from lrcompress.records.text import deeper

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
