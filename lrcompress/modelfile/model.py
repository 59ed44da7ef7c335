"""The nouns of this room: a model file, its layers, a replacement, what was written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from lrcompress.errors import UnsupportedModelError
from lrcompress.modelfile.graph import Container
from lrcompress.modelfile.graph import Path as LayerPath
from lrcompress.modelfile.hdf5 import Index, StoredArray
from lrcompress.modelfile.numbering import Numbering
from lrcompress.records.provenance import Origin


@dataclass(frozen=True)
class LayerInfo:
    """One layer as the file describes it.

    Attributes:
        name: Its name.
        path: Its name behind those of the nested models it stands in: ``"encoder/dense_1"``.
        class_name: Its Keras class.
        parameters: Number of its weights, those of nested layers included. In HDF5 files the
            weights inside nested models are attributed by name.
        units: Size of its output's last axis where the config states it, else None.
    """

    name: str
    path: str
    class_name: str
    parameters: int
    units: int | None


@dataclass(frozen=True)
class Site:
    """A Dense layer that can be factorized, or two that are one already factorized.

    A pair computes x (B C) + b and is described as one layer of kernel B C: under the name of the
    second, whose place it takes in the model, with `first` set.

    Attributes:
        name: Its name; that of the wrapper where TimeDistributed wraps it.
        path: Its name behind those of the nested models it stands in: ``"encoder/dense_1"``.
        kernel_shape: (m, n): inputs, units. Of a pair, the shape of B C.
        dtype: Type the kernel is stored in: ``"float32"``, ``"float16"``, ``"bfloat16"`` or
            ``"float64"``.
        use_bias: Whether it has a bias of shape (n,). Of a pair, whether either layer has one.
        activation: What is applied to its kernel's output: its own activation, or, where that is
            linear, that of the next layer but for dropout if it makes probabilities of it; else
            ``"linear"``.
        keeps_order: Whether the largest unit stays the only largest up to the output.
        following: Class names of the layers after it, up to the next Dense, as far as its output
            takes one way only.
        per_step: Whether it acts on inputs of more than two dimensions (sequences, images), or
            under TimeDistributed; False also where the file does not tell.
        kernel: Where its kernel is stored. Of a pair, that of the second: C, (r, n).
        bias: Where its bias is stored, None without one. Of a pair, that of the second.
        first: Of a pair, the first layer by itself, kernel B (m, r); None of a single layer.
    """

    name: str
    path: str
    kernel_shape: tuple[int, int]
    dtype: str
    use_bias: bool
    activation: str
    keeps_order: bool
    following: tuple[str, ...]
    per_step: bool
    kernel: StoredArray = field(repr=False)
    bias: StoredArray | None = field(repr=False)
    first: Site | None = None

    @property
    def softmax(self) -> bool:
        """Whether softmax along the units is applied to its kernel's output, or its logarithm."""
        return self.activation in ("softmax", "log_softmax")

    @property
    def rank(self) -> int | None:
        """Rank r at which it is split already, None of a single layer."""
        return None if self.first is None else self.first.kernel_shape[1]

    @property
    def second(self) -> Site:
        """Of a pair, the second layer by itself, kernel C (r, n); a single layer itself."""
        if self.first is None:
            return self
        shape = (self.kernel.shape[0], self.kernel.shape[1])
        has_bias = self.bias is not None
        return replace(self, kernel_shape=shape, use_bias=has_bias, first=None)

    @property
    def input_path(self) -> str:
        """Path of the layer that takes in what the kernel of shape (m, n) is applied to."""
        return self.path if self.first is None else self.first.path

    @property
    def stored_parameters(self) -> int:
        """Number of weights that are stored now, biases included."""
        own = self.kernel.size + (0 if self.bias is None else self.bias.size)
        return own + (0 if self.first is None else self.first.stored_parameters)


@dataclass(frozen=True)
class Weights:
    """Where the weights of each layer are stored.

    Attributes:
        index: All objects of the HDF5 file.
        of_layer: Canonical array paths by layer, in Keras' order; a nested model's own entry holds
            those of all its layers.
        groups: Archives only: the group of each layer.
        numbering: Archives only: how their groups are named and counted.
        layer_names: HDF5 files only: the saved order of layers.
        weight_names: HDF5 files only: the saved names of each outer layer's weights.
        problem: Why the weights do not fit the architecture, None where they do.
    """

    index: Index
    of_layer: dict[LayerPath, tuple[str, ...]]
    groups: dict[LayerPath, str] = field(default_factory=dict)
    numbering: Numbering = Numbering()  # noqa: RUF009 - immutable
    layer_names: tuple[str, ...] = ()
    weight_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True)
class ModelFile:
    """The structure of a Keras model file; no array has been read and no handle is open.

    Attributes:
        path: The file.
        format: What it is, whatever its suffix says: ``"hdf5"`` or ``"keras"`` (a zip archive).
        keras_version: The version that wrote it, None where it does not say.
        class_name: ``"Sequential"``, ``"Functional"``, ``"Model"`` (functional, older) or the name
            of a custom class.
        input_shapes: Shape of each input with its batch axis (None where free), or None where the
            config does not tell.
        parameters: Number of weights as `count_params` of Keras gives it: without the optimizer,
            metrics and seed generators.
        size: Bytes of the file.
        optimizer_bytes: Bytes of stored optimizer state, 0 if none.
        origin: What the file says of its training data, as far as it is believed.
        layers: All layers in config order, those of a nested model after it.
        compile_config: Optimizer, loss and metrics as the file has them, None if not compiled.
        config: The architecture; never changed.
        tree: The same as a tree, None where the model is a subclass without a list of layers.
        weights: Where the weights are.
        stamp: Size and time of the file, by which a later change is noticed.
    """

    path: Path
    format: Literal["hdf5", "keras"]
    keras_version: str | None
    class_name: str
    input_shapes: list[list[int | None]] | None
    parameters: int
    size: int
    optimizer_bytes: int
    origin: Origin
    layers: tuple[LayerInfo, ...]
    compile_config: dict[str, Any] | None
    config: dict[str, Any] = field(repr=False)
    tree: Container | None = field(repr=False)
    weights: Weights = field(repr=False)
    stamp: tuple[int, int] = field(repr=False)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every matrix that can be factorized, in config order; two layers that are one matrix are one."""
        return self._survey[0]

    @property
    def refused(self) -> dict[str, UnsupportedModelError]:
        """Why the other layers of the known kinds cannot be factorized, by path."""
        return self._survey[1]

    @cached_property
    def _survey(self) -> tuple[tuple[Site, ...], dict[str, UnsupportedModelError]]:
        """Look for the sites once, when they are first asked for."""
        from lrcompress.modelfile.find import survey

        return survey(self)


@dataclass(frozen=True, eq=False)
class Replacement:
    """What to put in the place of one Dense layer, or of a pair, of kernel (m, n): rank r.

    Attributes:
        layer: The layer, as found in the same model file.
        first: (m, r) kernel of the new first layer.
        second: (r, n) kernel of the layer that keeps the name.
        bias: New (n,) bias, or None to keep the stored bytes (of a pair whose first layer has a
            bias: b1 C + b2 of before). Given only where the layer has one.

    All are rounded to the layer's stored type on writing.
    """

    layer: Site
    first: NDArray[Any]
    second: NDArray[Any]
    bias: NDArray[Any] | None = None


@dataclass(frozen=True)
class Written:
    """What `write_replaced` or `write_merged` has put in place.

    Attributes:
        path: The new file.
        size: Its bytes.
        sha256: Its SHA-256, in hexadecimal digits.
        optimizer_bytes: Bytes of optimizer state in the old file.
        optimizer_bytes_after: Bytes of it in the new file, which does without.
        parameters: Number of weights of the new model.
        first_names: Name of the first of two layers by path of the second: that is there, or that
            was there and is merged.
        warnings: Sentences about what the user may want to know.
    """

    path: Path
    size: int
    sha256: str
    optimizer_bytes: int
    optimizer_bytes_after: int
    parameters: int
    first_names: dict[str, str]
    warnings: tuple[str, ...]
