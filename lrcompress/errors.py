"""Every error a user can cause, one class for each thing the caller can do about it.

A message is one line: what was received, what was expected, what to do.
`code` is a stable, machine-readable reason; `exit_code` is what the command line returns.
"""

from __future__ import annotations

import contextlib
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path


# Controls, format characters (those that change the direction of text among them), surrogates,
# private and unassigned characters, and separators of lines and paragraphs.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: object) -> str:
    r"""Return text on one line in which nothing drives a terminal: what would is spelt out.

    >>> print(printable("\x1b[31mred\n"))
    \x1b[31mred\n
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNSEEN else c
        for c in text
    )


def did_you_mean(given: str, names: Iterable[str], most: int = 1) -> str:
    """Return a sentence that suggests at most so many names near to a misspelt one, to end a message with.

    >>> did_you_mean("predcitions", ["conv2d", "predictions"])
    " Did you mean 'predictions'?"
    >>> did_you_mean("housing", ["mnist", "cifar10"])
    ''
    """
    import difflib

    near = difflib.get_close_matches(given, list(dict.fromkeys(names)), n=most)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def first_three(names: Sequence[str]) -> str:
    """Return names for a sentence: the first three, then how many more there are.

    >>> first_three(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def one_line(error: BaseException, most: int = 160) -> str:
    """Return what an error of another program says, on one line and cut short, for a message of ours.

    >>> one_line(ValueError("no such layer:     head"))
    'no such layer: head'
    >>> one_line(KeyError())
    'KeyError'
    """
    return " ".join(str(error).split())[:most] or type(error).__name__


class LRCompressError(Exception):
    """Base of every error raised on purpose by lrcompress; never raised itself."""

    code: str = "error"
    exit_code: int = 1

    def __init_subclass__(cls) -> None:
        """Name a class's code as the class: `ModelFileError` has the code ``model_file``; others inherit theirs."""
        if cls.__module__ == __name__ and "code" not in vars(cls):
            cls.code = "_".join(re.findall("[A-Z][a-z]+", cls.__name__)[:-1]).lower()

    def __init__(self, message: str, *, code: str | None = None) -> None:
        """Store the message and, if given, a more precise code."""
        super().__init__(message)
        if code is not None:
            self.code = code


@contextlib.contextmanager
def in_place_of(copy: Path, path: Path) -> Iterator[None]:
    """Let errors that name a temporary copy of the user's file name that file."""
    try:
        yield
    except LRCompressError as error:
        message = str(error).replace(str(copy), str(path))
        raise type(error)(message, code=error.code) from error


class RankError(LRCompressError, ValueError):
    """The rank, or the rule that should choose it, does not fit the kernel."""


class KernelError(LRCompressError, ValueError):
    """The kernel itself cannot be factorized: NaN, infinity, wrong dimensions."""


class ModelFileError(LRCompressError):
    """The file is not a readable Keras model file: missing, truncated, not Keras, hostile."""


class UnsupportedModelError(LRCompressError):
    """The file is a Keras model, but this layer of it cannot be factorized; the code says why."""


class VerificationError(LRCompressError):
    """The written file did not pass its own check; nothing was put in place."""


class OutputError(LRCompressError):
    """The output cannot be written: it exists, is the input, or its folder refuses."""


class DatasetError(LRCompressError):
    """The data set is missing, malformed, or does not fit the model."""


class UnknownDatasetError(DatasetError):
    """`--dataset` named nothing that lrcompress knows: a mistake on the command line."""

    exit_code = 2


class RunRecordError(LRCompressError):
    """There is no run record here, or it cannot be read."""


class TrainingError(LRCompressError):
    """Keras could not load, run or train the model."""


class NotFiniteError(TrainingError):
    """A model holds, or gives out, NaN or infinity."""


class MissingExtraError(LRCompressError):
    """An optional package is needed; the message names the extra to install."""


class LRCompressWarning(UserWarning):
    """What the user should know though the work went on; the command line prints it as a note."""
