"""What the environment asks for: Keras' backend, and which of several processes this is.

The variables of processes are those that `keras.distribution.initialize` reads. A batch system's own are not
sought: a program that finds itself among others unasked would wait for them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from lrcompress.errors import TrainingError, did_you_mean, one_line

BACKENDS = ("tensorflow", "jax", "torch")
ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
NUMBER = "KERAS_DISTRIBUTION_NUM_PROCESSES"
INDEX = "KERAS_DISTRIBUTION_PROCESS_ID"
# What `--distribute` and `distribute=` take.
CHOICES = ("auto", "none", "data")


def start() -> None:
    """Import Keras, or say why it cannot start: above all because its backend is misspelt or missing."""
    try:
        import keras  # noqa: F401
    except Exception as error:  # Keras and its engines raise anything here
        name, where = _backend()
        msg = (
            f"Keras cannot start with backend {name!r}, {where} ({type(error).__name__}: {one_line(error)}); expected "
            f"one of {', '.join(BACKENDS)} that is installed: set KERAS_BACKEND to it.{did_you_mean(name, BACKENDS)}"
        )
        raise TrainingError(msg, code="backend") from error


def _backend() -> tuple[str, str]:
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


def read_processes() -> tuple[int, int]:
    """Return this process's number, from 0, and how many there are: (0, 1) if it is alone."""
    addresses = [word for word in os.environ.get(ADDRESSES, "").split(",") if word.strip()]
    number, index = _whole(NUMBER), _whole(INDEX)
    if number is None:
        # One address is that of the first process, and says nothing of how many there are.
        number = len(addresses) if len(addresses) > 1 else 1
    if number <= 1:
        return 0, 1
    if not addresses or len(addresses) not in (1, number):
        msg = f"{ADDRESSES} names {len(addresses)} addresses for {number} processes; expected the first one's, or all."
        raise TrainingError(msg, code="processes")
    if index is None or index >= number:
        found = "is not set" if index is None else f"is {index}"
        msg = f"{INDEX} {found}; expected a number of its own for each of {number} processes, 0 to {number - 1}."
        raise TrainingError(msg, code="processes")
    return index, number


def is_follower(choice: str) -> bool:
    """Return whether another process writes and prints for this one; with ``none`` each is on its own."""
    return choice != "none" and read_processes()[0] > 0


def tensorflow_workers() -> int:
    """Return how many workers `TF_CONFIG` names."""
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG", "{}"))["cluster"]
        return sum(len(cluster.get(kind, ())) for kind in ("chief", "worker"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0


def _whole(name: str) -> int | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not text.isdecimal():
        msg = f"{name} is {text!r}; expected a whole number."
        raise TrainingError(msg, code="processes")
    return int(text)
