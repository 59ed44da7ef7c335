"""Files that this process made of models in its memory: they hold the caller's own code, not a stranger's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_made: ContextVar[tuple[tuple[Path, Any], ...]] = ContextVar("made", default=())


@contextlib.contextmanager
def made_of(model: Any, *places: Path) -> Iterator[None]:  # noqa: ANN401  # a Keras model, which this room cannot name
    """Take files for copies of a model in memory, or what was made of them, while the context lasts.

    Args:
        model: The Keras model.
        places: The files, or folders of them that nobody else writes to.
    """
    added = tuple((place.absolute(), model) for place in places)
    token = _made.set((*added, *_made.get()))
    try:
        yield
    finally:
        _made.reset(token)


def model_of(path: Path) -> Any | None:  # noqa: ANN401
    """Return the model in memory that a file was made of; None for a file like any other."""
    path = path.absolute()
    return next(
        (model for place, model in _made.get() if place == path or place in path.parents), None
    )
