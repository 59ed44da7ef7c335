"""The nouns of this room: a model file, its layers and sites, a replacement, what was written."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from numpy.typing import NDArray

from lrcompress.errors import UnsupportedModelError
from lrcompress.kinds import HeadKind, Serialized, View
from lrcompress.modelfile.graph import Container, LayerPath
from lrcompress.modelfile.hdf5.arrays import Index, StoredArray
from lrcompress.records.provenance import Origin


@dataclass(frozen=True)
class LayerInfo:
    """One layer as the file describes it."""

    name: str
    path: str  # behind the names of the nested models it stands in: encoder/dense_1
    class_name: str
    parameters: int  # those of nested layers included
    units: int | None  # size of its output's last axis where the config states it


@dataclass(frozen=True)
class SiteLayer:
    """A layer of a site: where it stands, the matrix in it, and what it says of itself, its arrays as stored."""

    name: str
    path: str
    view: View
    serialized: Serialized = field(repr=False)


@dataclass(frozen=True)
class Site:
    """A matrix that can be factorized: in one layer, or in two that are one of kernel B C under the second's name."""

    name: str  # that of the wrapper where TimeDistributed wraps it
    path: str  # behind the names of the nested models it stands in: encoder/dense_1
    kernel_shape: tuple[int, int]  # (m, n): inputs, units
    dtype: str  # that is stored: float32, float16, bfloat16 or float64
    use_bias: bool  # of two layers, whether either has one
    activation: str  # its own; where that is linear, the next layer's if that makes probabilities
    keeps_order: bool  # whether the largest unit stays the only largest up to the output
    following: tuple[str, ...]  # class names up to the next site, while the output takes one way
    per_step: bool  # on inputs of more than two dimensions, or under TimeDistributed
    layers: tuple[SiteLayer, ...] = field(repr=False)
    kind: HeadKind = field(repr=False, compare=False)
    part: str = ""  # which matrix of its layer; empty where that is one matrix

    @property
    def softmax(self) -> bool:
        """Whether softmax along the units is applied to its kernel's output, or its logarithm."""
        return self.activation in ("softmax", "log_softmax")

    @property
    def rank(self) -> int | None:
        """Rank r at which it is split already, None of a single layer."""
        return self.layers[0].view.shape[1] if len(self.layers) > 1 else None

    @property
    def input_path(self) -> str:
        """Path of the layer that takes in what the kernel of shape (m, n) is applied to."""
        return self.layers[0].path

    @property
    def stored_parameters(self) -> int:
        """Number of weights that are stored now, biases included."""
        return sum(array.size for layer in self.layers for array in layer.serialized.arrays)


class Numbering(NamedTuple):
    """How one version of Keras names the groups that hold layers in an archive, and counts them."""

    prefix: str = "layers"
    doubled: bool = False  # layers with weights take two numbers, the second one unused


NUMBERING = Numbering()
# What the groups and arrays of random generators are called.
SEEDS = ("seed_generator", "random_generator")


def is_seed(path: str) -> bool:
    """Return whether an array is the state of a random generator, which Keras does not count."""
    return any(part.startswith(SEEDS) for part in path.split("/"))


@dataclass(frozen=True)
class Weights:
    """Where the weights of each layer are stored, and why they do not fit the architecture, if so."""

    index: Index
    # Canonical array paths in Keras' order; a nested model's own entry holds those of all its layers.
    of_layer: dict[LayerPath, tuple[str, ...]]
    # Archives only: the group of each layer, and how they are named and counted.
    groups: dict[LayerPath, str] = field(default_factory=dict)
    numbering: Numbering = NUMBERING
    # HDF5 files only: the saved order of layers, and the saved names of each outer layer's weights.
    layer_names: tuple[str, ...] = ()
    weight_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str | None = None

    def paths(self, path: LayerPath) -> tuple[str, ...]:
        """Return where the arrays of a layer stand that are there; states of random generators are none."""
        known = self.index.arrays
        return tuple(p for p in self.of_layer.get(path, ()) if p in known and not is_seed(p))

    def arrays(self, path: LayerPath) -> tuple[StoredArray, ...]:
        """Return the arrays of a layer that are there, in Keras' order."""
        return tuple(self.index.arrays[p] for p in self.paths(path))


@dataclass(frozen=True)
class ModelFile:
    """The structure of a Keras model file; no array has been read and no handle is open."""

    path: Path
    format: Literal["hdf5", "keras"]  # whatever its suffix says
    keras_version: str | None  # None where it does not say
    class_name: str
    input_shapes: list[list[int | None]] | None  # batch included; free axes are None
    parameters: int  # as `count_params` of Keras: those of the model itself
    size: int
    optimizer_bytes: int
    origin: Origin  # what it says of its training data, as far as it is believed
    layers: tuple[LayerInfo, ...]  # in config order, those of a nested model after it
    compile_config: dict[str, Any] | None
    config: dict[str, Any] = field(repr=False)  # never changed
    tree: Container | None = field(repr=False)  # None of a subclass without a list of layers
    weights: Weights = field(repr=False)
    stamp: tuple[int, int] = field(repr=False)  # size and time, by which a later change is noticed

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every matrix that can be factorized, in config order; two layers that are one matrix are one."""
        found = ((p, s) for p, s in self.found.items() if not isinstance(s, UnsupportedModelError))
        return tuple(site for path, sites in found for site in sites if site.path == path)

    @property
    def refused(self) -> dict[str, UnsupportedModelError]:
        """Why the other layers of the known kinds cannot be factorized, by path."""
        return {p: why for p, why in self.found.items() if isinstance(why, UnsupportedModelError)}

    @cached_property
    def found(self) -> dict[str, tuple[Site, ...] | UnsupportedModelError]:
        """The sites in which each layer of a known kind is, by path, or why it cannot be factorized."""
        from lrcompress.modelfile.find import describe_sites

        return describe_sites(self)

    @cached_property
    def end(self) -> End:
        """What the model ends in."""
        from lrcompress.modelfile.end import find_end

        return find_end(self)


@dataclass(frozen=True)
class End:
    """The layers of known kinds that end a model, by path, and why they are not exactly one, if so."""

    heads: tuple[str, ...]
    error: UnsupportedModelError | None = None


@dataclass(frozen=True, eq=False)
class Replacement:
    """What to put in the place of one site of kernel (m, n), rounded to its stored type on writing."""

    layer: Site  # as found in the same model file
    first: NDArray[Any]  # (m, r)
    second: NDArray[Any]  # (r, n), of the layer that keeps the name
    bias: NDArray[Any] | None = None  # None keeps the stored one, or b1 C + b2 of two layers


@dataclass(frozen=True)
class Written:
    """What has been put in place."""

    path: Path
    size: int
    sha256: str
    optimizer_bytes: int  # of the old file
    optimizer_bytes_after: int  # of the new one, which does without
    parameters: int  # of the new model
    parameters_of: dict[str, int]  # of each of its layers by path, nested ones included
    # By the path of a changed layer, those before it that make it up with it, or did.
    first_names: dict[str, tuple[str, ...]]
    warnings: tuple[str, ...]  # sentences for the user
