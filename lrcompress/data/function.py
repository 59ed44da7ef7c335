"""Data that a user's own function returns, ``package.module:function``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lrcompress.data import in_memory
from lrcompress.data.reader import ARRAYS, is_there
from lrcompress.errors import DatasetError, one_line


def imported(spec: str) -> Callable[..., Any]:
    """Return the function at ``package.module:function``; importing a module may raise anything."""
    module, _, name = spec.partition(":")
    # A command line does not put the current directory on the path as `python script.py` does.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


class Function:
    """A function without arguments, importable from the current directory."""

    says = "package.module:function"

    def serves(self, word: Any) -> bool:
        """Return whether a word holds a colon and is no path."""
        return isinstance(word, str) and ":" in word and not is_there(Path(word))

    def read(self, word: str, folder: Path | None, seed: int) -> tuple[str, dict[str, Any]]:
        """Call the function."""
        try:
            function = imported(word)
        except Exception as error:  # importing a module runs it
            module, _, name = word.partition(":")
            msg = (
                f"Cannot import {name!r} from {module!r} ({one_line(error)}); expected "
                "package.module:function, importable from the current directory."
            )
            raise DatasetError(msg) from error
        try:
            found = function()
        except Exception as error:  # whatever the user's own code says
            msg = (
                f"{word} failed ({type(error).__name__}: {one_line(error)}); expected a function "
                f"without arguments that returns the arrays {', '.join(ARRAYS)}."
            )
            raise DatasetError(msg) from error
        try:
            return word, in_memory.read(found)
        except DatasetError as error:
            msg = f"{word} returned {type(found).__name__}: {error}"
            raise DatasetError(msg, code=error.code) from error
