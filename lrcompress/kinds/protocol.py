"""What a layer kind is: in which forms a layer gets smaller, and which stock layers compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# Arrays in a row: those of a layer in Keras' order, or the factors of its matrix.
Tensors = tuple[Array, ...]
# B (m, r), C (r, n) and the bias; None: the layer's own stays.
Halves = tuple[Array, Array, Array | None]
# Doubles at a time: of a head with a million outputs the product alone fills gigabytes.
_BLOCK = 2**22


@dataclass(frozen=True)
class Serialized:
    """One stock layer: what a config and a weights file say of it."""

    class_name: str  # wrappers peeled
    config: dict[str, Any] = field(compare=False, repr=False)  # not to be changed
    # In Keras' order: where they are stored, so that shapes are known, or new values; None for one that stays.
    arrays: tuple[Any, ...] = ()


# Stock layers in a row, and those that stand for each layer that changes, by its path.
Layers = tuple[Serialized, ...]
Edits = Mapping[str, Layers]


@dataclass(frozen=True)
class View:
    """One matrix A (m, n) inside a layer; (layer path, part) is its address everywhere: a site."""

    part: str  # ``""`` where a layer is one matrix; else what tells it from the layer's others
    shape: tuple[int, int]
    bias: int  # entries of the bias that stays with the last layer, 0 without one


class Refusal(NamedTuple):
    """Why a layer is not touched: an error's code, and its sentence behind the layer's name."""

    code: str
    why: str


# The arrays of some layers by path, each layer's in Keras' order.
Arrays = Mapping[str, Tensors]


class Batch(NamedTuple):
    """What went through a layer in one call: by argument, (samples, ...), and what came out."""

    # In the order of its call's arguments; where a query, value and key are one tensor, that one once for each.
    inputs: Tensors
    output: Array
    mask: Array | None = None  # which steps of the first input count, (samples, steps); None: all
    seed: int = 0  # of the positions drawn: the same batch of another network is given the same
    # What is added to the output before anything else than a normalization is done with it, in units of the output;
    # None where nothing is, or it is not known yet.
    beside: Array | None = None
    # Of a ReLU that alone takes in the output, or its sum with `beside`: by unit the sign with which it does, and the
    # value from which on; None where there is no such ReLU.
    knee: tuple[Array, Array] | None = None


@dataclass(frozen=True)
class Place:
    """A layer where it stands in its model."""

    path: str
    kind: Kind | None
    layer: Serialized  # wrappers peeled; its arrays tell shapes and types
    per_step: bool = False  # whether a wrapper applies it at each step of a sequence
    # Without the batch axis, None where the file does not tell; an axis may be None.
    input_shapes: tuple[tuple[int | None, ...], ...] | None = None
    output_shape: tuple[int | None, ...] | None = None
    # The BatchNormalization that alone takes its output, at once: it can take a constant for a layer without bias.
    shift: Place | None = None
    # The layer that alone feeds it and feeds nothing else, if there is one; dropout is passed over.
    before: Place | None = None
    # The layers that take in its output where each is known; empty where one is not, or the output is the model's.
    # Layers that hand on the features one by one (dropout, averages over positions, Flatten) are passed over; whatever
    # else stands between is itself in `after`. Of no kind where a layer there must stay as it is.
    after: tuple[Place, ...] = ()
    # The layers in a row, each acting on each feature by itself, through which its output goes at once:
    # normalizations, activations, maxima; and what `after` is of the last of them, of the layer itself without any.
    between: tuple[Place, ...] = ()
    beyond: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Solution:
    """A layer, and others with it, made smaller."""

    # Squared, of the responses relative to their variance (without data, of the kernel relative to its norm).
    error: float
    # The last of each keeps the name and place, those before it are new; arrays are values, or None for the stored one.
    layers: Callable[[], Edits] = field(repr=False, compare=False)
    # Arrays of full size that compute the same in the layers as they were.
    in_place: Callable[[], Arrays] = field(repr=False, compare=False)
    # Sentences for the user: what settings that stay mean from now on.
    remarks: tuple[str, ...] = ()
    # Of a layer that gets narrower, which of its outputs are left, where these are what they were.
    kept: Array | None = field(default=None, repr=False, compare=False)


class Form(Protocol):
    """One way to make a layer smaller, of sizes 1 to `largest`, at which it computes the same.

    Attributes:
        name: ``"channels"``, ``"rows x columns"``, ``"units"``, ... ; unique in its layer.
        touches: Paths of the layers that it changes, its own first.
        narrows: Whether the layer stays one and gets narrower (units, key_dim), so that another
            form can follow; such forms are chosen first.
    """

    name: str
    touches: tuple[str, ...]
    narrows: bool

    @property
    def largest(self) -> int:
        """The size at which it is exact."""

    @property
    def before(self) -> int:
        """The weights of the layers whose number of weights it changes, as they are."""

    def parameters(self, size: int) -> int:
        """Return the weights of the same layers at a size."""

    def multiplications(self, size: int) -> int | None:
        """Return the multiplications of these layers for one sample; None where shapes are not known."""

    def errors(self, arrays: Arrays, seen: Any) -> Array:
        """Return the relative squared error at each size, (largest,), falling to 0: quick, perhaps a bound."""

    def solve(self, arrays: Arrays, seen: Any, sizes: Sequence[int]) -> dict[int, Solution]:
        """Return the best of some sizes for full-size arrays (of `touches`); `seen` None: without data."""


class Kind(Protocol):
    """A family of Keras classes in JSON and arrays; `KINDS` of `lrcompress.kinds.registry` lists them.

    Attributes:
        name: What messages call it.
        family: Its word for ``--layers``: dense, conv, recurrent, embedding, attention.
        classes: Keras' class names, of all versions.
        linear: Whether it applies one matrix to rows of its input and adds a bias, so that
            `kernel`, `with_kernel` and `rows` are there.
    """

    name: str
    family: str
    classes: frozenset[str]
    linear: bool

    def refuse(self, layer: Serialized) -> Refusal | None:
        """Return why a layer cannot be factorized, judged by its config; None where it can be."""

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return the forms of a layer; none where its arrays do not fit its config, or are too small."""

    def gather(self, place: Place, arrays: Arrays, batch: Batch, seen: Any | None) -> Any:
        """Add one batch to what the forms need of the data (`seen`, None at first), and return it."""

    def merged(self, layers: Layers) -> Serialized | None:
        """Return the one layer that layers in a row are (values in their arrays), None where they are not one."""


class LinearKind(Kind, Protocol):
    """A kind that applies one matrix A (m, n) to rows of its input: A takes a correction as a whole."""

    def kernel(self, layer: Serialized, arrays: Tensors) -> Array:
        """Return A, (m, n)."""

    def with_kernel(
        self, place: Place, arrays: Arrays, kernel: Array, shift: Array | None
    ) -> Arrays:
        """Return the layer's arrays with another A, a constant (n,) added to its responses where one can be."""

    def rows(self, place: Place, batch: Batch) -> Array:
        """Return the vectors that A is applied to, (k, m): some of them, drawn by the batch's seed."""

    def beside(self, place: Place, batch: Batch) -> Array | None:
        """Return what is added to the responses of `rows`, (k, n); None where nothing is, or it is not known."""


class HeadKind(Protocol):
    """A kind that may end a model: its layers are found, described, split and joined one by one.

    Attributes:
        name: What messages call it.
        classes: Keras' class names, of all versions.
        per_step: Those of them that are applied at each step of a sequence.
    """

    name: str
    classes: frozenset[str]
    per_step: frozenset[str]

    def refuse(self, layer: Serialized) -> Refusal | None:
        """Return why a layer cannot be factorized, judged by its config; None where it can be."""

    def views(self, layer: Serialized) -> tuple[View, ...]:
        """Return the matrices of a layer, from shapes alone; none where its arrays do not fit its config."""

    def matrix(self, view: View, arrays: Sequence[Array]) -> Array:
        """Return A; each array is read when it is asked for."""

    def bias(self, view: View, arrays: Sequence[Array]) -> Array | None:
        """Return the bias that is added to what A gives."""

    def arrays(self, view: View, matrix: Array, bias: Array | None) -> tuple[Array | None, ...]:
        """Return A in the layer's own arrays, a bias with it or the stored one (None)."""

    def refit(self, layer: Serialized, arrays: tuple[Array | None, ...]) -> Serialized:
        """Return the same layer around other arrays: its config states their sizes."""

    def split(self, view: View, layer: Serialized, halves: Halves, name: str) -> Layers:
        """Return the stock layers that stand for one; the last keeps its name, new ones have `name` if wrapped."""

    def join(self, layers: Layers) -> View | None:
        """Return the one matrix that layers in a row make up, None where they do not."""


def product(left: Array, right: Array, dtype: str) -> Array:
    """Return B C, the matrix of two layers, computed in float64 and rounded once, infinite where the type overflows."""
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
