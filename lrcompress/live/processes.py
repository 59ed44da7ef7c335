"""Which of several processes this is, as the environment says; starts no engine.

The variables are those that `keras.distribution.initialize` reads. A batch system's own are not
sought: a program that finds itself among others unasked would wait for them.
"""

from __future__ import annotations

import json
import os

from lrcompress.errors import TrainingError

ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
NUMBER = "KERAS_DISTRIBUTION_NUM_PROCESSES"
INDEX = "KERAS_DISTRIBUTION_PROCESS_ID"
# What `--distribute` and `distribute=` take.
CHOICES = ("auto", "none", "data")


def read_processes() -> tuple[int, int]:
    """Return this process's number, from 0, and how many there are: (0, 1) if it is alone.

    Raises:
        TrainingError: If the variables do not go together.
    """
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
    """Return whether another process writes and prints for this one.

    Args:
        choice: One of `CHOICES`; with none each process is on its own.
    """
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
