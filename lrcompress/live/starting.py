"""Starting Keras, with the backend that the environment asks for."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lrcompress.errors import TrainingError, did_you_mean, one_line

BACKENDS = ("tensorflow", "jax", "torch")


def start() -> None:
    """Import Keras.

    Raises:
        TrainingError: If it cannot start, above all because its backend is misspelt or missing.
    """
    try:
        import keras  # noqa: F401
    except Exception as error:  # Keras and its engines raise anything here
        name, where = asked_for()
        reason = one_line(error)
        msg = (
            f"Keras cannot start with backend {name!r}, {where} ({type(error).__name__}: {reason}); expected "
            f"one of {', '.join(BACKENDS)} that is installed: set KERAS_BACKEND to it.{did_you_mean(name, BACKENDS)}"
        )
        raise TrainingError(msg, code="backend") from error


def asked_for() -> tuple[str, str]:
    """Return the backend that Keras takes, and what says so: the environment, or Keras' own settings."""
    name = os.environ.get("KERAS_BACKEND")
    if name:
        return name, "as KERAS_BACKEND says"
    home = os.environ.get("KERAS_HOME")
    path = (Path(home) if home else Path.home() / ".keras") / "keras.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["backend"]), f"as {path} says"
    except (OSError, ValueError, KeyError, TypeError):
        return "tensorflow", "the default"
