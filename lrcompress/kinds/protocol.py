"""What a layer kind is: which matrices stand in a layer, and which stock layers compute the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# B (m, r), C (r, n) and the bias; None: the layer's own stays.
Halves = tuple[Array, Array, Array | None]
# Doubles at a time: of a head with a million outputs the product alone fills gigabytes.
_BLOCK = 2**22


@dataclass(frozen=True)
class Serialized:
    """One stock layer: what a config and a weights file say of it.

    Attributes:
        class_name: Its Keras class, wrappers peeled.
        config: Its config; not to be changed.
        arrays: Its arrays in Keras' order: where they are stored, so that shapes are known, or new
            values; None for one that stays as it is stored.
    """

    class_name: str
    config: dict[str, Any] = field(compare=False, repr=False)
    arrays: tuple[Any, ...] = ()


@dataclass(frozen=True)
class View:
    """One matrix A (m, n) inside a layer; (layer path, part) is its address everywhere: a site.

    Attributes:
        part: ``""`` where a layer is one matrix; else what tells it from the layer's others.
        shape: (m, n).
        bias: Entries of the bias that stays with the last layer, 0 without one.
        argument: Which input of the layer A is applied to.
    """

    part: str
    shape: tuple[int, int]
    bias: int
    argument: int = 0


class Refusal(NamedTuple):
    """Why a layer is not touched: an error's code, and its sentence behind the layer's name."""

    code: str
    why: str


class Kind(Protocol):
    """A family of Keras classes in JSON and arrays; `lrcompress.kinds.KINDS` lists them.

    Attributes:
        name: What messages call it.
        classes: Keras' class names, of all versions.
        per_step: Those of them that act on each step of a sequence.
    """

    name: str
    classes: frozenset[str]
    per_step: frozenset[str]

    def refuse(self, layer: Serialized) -> Refusal | None:
        """Return why a layer cannot be factorized, judged by its config; None where it can be."""
        ...

    def views(self, layer: Serialized) -> tuple[View, ...]:
        """Return the matrices of a layer, from shapes alone; none where its arrays do not fit its config."""
        ...

    def matrix(self, view: View, arrays: Sequence[Array]) -> Array:
        """Return A; each array is read when it is asked for."""
        ...

    def bias(self, view: View, arrays: Sequence[Array]) -> Array | None:
        """Return the bias that is added to what A gives."""
        ...

    def arrays(self, view: View, matrix: Array, bias: Array | None) -> tuple[Array | None, ...]:
        """Return A in the layer's own arrays, a bias with it or the stored one (None)."""
        ...

    def refit(self, layer: Serialized, arrays: tuple[Array | None, ...]) -> Serialized:
        """Return the same layer around other arrays: its config states their sizes."""
        ...

    def split(
        self, view: View, layer: Serialized, halves: Halves, name: str
    ) -> tuple[Serialized, ...]:
        """Return the stock layers that stand for one; the last keeps its name, new ones have `name` if wrapped."""
        ...

    def join(self, layers: tuple[Serialized, ...]) -> View | None:
        """Return the one matrix that layers in a row make up, None where they do not."""
        ...


def product(left: Array, right: Array, dtype: str) -> Array:
    """Return B C, the matrix of two layers, computed in float64 and rounded once.

    Infinite where the type cannot hold a value.
    """
    made = np.empty((left.shape[0], right.shape[1]), dtype)
    wide = right.astype(np.float64)
    rows = max(1, _BLOCK // max(1, right.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):  # the caller checks, with a sentence
        for start in range(0, len(made), rows):
            made[start : start + rows] = left[start : start + rows].astype(np.float64) @ wide
    return made


def folded(before: Array, right: Array, after: Array | None, dtype: str) -> Array:
    """Return b1 C + b2, the bias of two layers, computed in float64 and rounded once."""
    with np.errstate(over="ignore", invalid="ignore"):
        made = before.astype(np.float64) @ right.astype(np.float64)
        return (made if after is None else made + after).astype(dtype)
