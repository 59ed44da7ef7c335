"""The state of an unfinished training run in one file, written whole or not at all.

A NumPy archive: every array of the model, of its best weights so far and of the optimizer, and a
JSON header with the epochs done, their history, and what the run was asked to do. It lies beside
the output, and goes when the output is there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from lrcompress.errors import TrainingError
from lrcompress.files import regular, replacing
from lrcompress.records import parse
from lrcompress.records.schema import Look, checked

VERSION = 1
PARTS = ("weights", "best", "optimizer")
Weights = list[NDArray[Any]]


class _Header(Struct):
    version: Literal[1]
    identity: dict[str, Any]
    epoch: int
    best_epoch: int
    merit: tuple[float, ...]
    seconds: float
    fit_seconds: float
    history: Annotated[list[Look], Meta(min_length=1)]
    counts: dict[str, int]

    def __post_init__(self) -> None:
        if not all("kept" in look for look in self.history):
            msg = "Object missing required field `kept`"
            raise ValueError(msg)


@dataclass
class State:
    """Where a run stands; its weights and the optimizer's are in Keras' order."""

    epoch: int = 0  # epochs done
    # One entry a look at the model: the start, the re-fitted head, each epoch.
    history: list[dict[str, Any]] = field(default_factory=list)
    # The best on the validation part, 0 for the start, and how good it is: lower is better.
    best_epoch: int = 0
    merit: tuple[float, ...] = ()
    seconds: float = 0.0  # of training and validation
    fit_seconds: float = 0.0
    weights: Weights = field(default_factory=list)
    best: Weights = field(default_factory=list)
    optimizer: Weights = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file and what the run that it belongs to was asked to do."""

    path: Path
    # JSON values that must be equal for a run to go on: model, data, settings.
    identity: dict[str, Any]
    like: Path | None = None  # the model, whose permissions the file keeps

    def save(self, state: State) -> None:
        """Write a state in the place of the last one, which is still there if that fails."""
        header = dict(state.__dict__)
        parts = {name: header.pop(name) for name in PARTS}
        arrays: dict[str, Any] = {
            f"{name}{i}": a for name, many in parts.items() for i, a in enumerate(many)
        }
        counts = {name: len(many) for name, many in parts.items()}
        header |= {"version": VERSION, "identity": self.identity, "counts": counts}
        arrays["header"] = np.array(json.dumps(header))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        place = replacing(self.path, overwrite=True, like=self.like)
        with place as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    def load(self) -> State | None:
        """Return the state that an unfinished run left, refusing other runs'; None if there is no file."""
        if not self.path.exists():
            return None
        try:
            with (
                regular(self.path).open("rb") as file,
                np.load(file, allow_pickle=False) as archive,
            ):
                header = checked(parse(str(archive["header"])), _Header)
                found: dict[str, Any] = {
                    name: [archive[f"{name}{i}"] for i in range(header.counts[name])]
                    for name in PARTS
                }
                found |= {k: getattr(header, k) for k in State.__annotations__ if k not in PARTS}
                state = State(**found)
        except Exception as error:  # zipfile, its decompressors and NumPy raise a dozen kinds
            msg = f"{self.path} is not a checkpoint of this version; delete it to start over."
            raise TrainingError(msg, code="checkpoint_unreadable") from error
        # What JSON makes of a value is what the file can hold of it.
        ours, theirs = json.loads(json.dumps(self.identity)), header.identity
        differ = sorted(k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k))
        if differ:
            what = "; ".join(f"{k} was {theirs.get(k)}, now {ours.get(k)}" for k in differ)
            msg = (
                f"{self.path} belongs to a run of other settings ({what}); repeat its command, or "
                "leave --resume out and pass --overwrite."
            )
            raise TrainingError(msg, code="checkpoint_differs")
        return state


def assign(variables: list[Any], values: Weights) -> None:
    """Give Keras variables the values that were saved of them, or refuse others as `all_as_saved`."""
    now = [keras.ops.convert_to_numpy(variable) for variable in variables]
    for variable, value in zip(variables, all_as_saved(values, now), strict=True):
        variable.assign(value)


def all_as_saved(values: Weights, like: Weights) -> Weights:
    """Return saved arrays in the types of others, or refuse them: as many, of these shapes and types."""
    if [v.shape for v in values] == [a.shape for a in like]:
        # NumPy saves bfloat16 as two nameless bytes.
        found = [
            v.view(a.dtype) if v.dtype.kind == "V" and v.dtype.itemsize == a.dtype.itemsize else v
            for v, a in zip(values, like, strict=True)
        ]
        if [v.dtype for v in found] == [a.dtype for a in like]:
            return found
    msg = "The checkpoint's arrays are not this model's; delete it to start over."
    raise TrainingError(msg, code="checkpoint_differs")
