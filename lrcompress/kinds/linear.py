"""What kinds share that apply one matrix to rows: two stock layers in a row, the rows they see, their constants."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Batch,
    Layers,
    LinearKind,
    Place,
    Refusal,
    Serialized,
    Solution,
    Tensors,
)
from lrcompress.kinds.terms import activation_name
from lrcompress.lowrank import singular_values, truncated_svd
from lrcompress.lowrank.responses import (
    RowMoments,
    errors_by_size,
    relative_error_of,
    response_basis,
)

# Positions (steps, pixels) that are drawn from each sample: more of them gained nothing.
POSITIONS = 24
# Kernels of more entries are worked on without copies of them.
LARGE = 2**22
# What a new Dense has of the layer behind it.
_KEPT = ("trainable", "dtype")
# What is known of the rows; None without data.
Seen = RowMoments | None


class LinearLayer:
    """What kinds share that apply one matrix to the rows of their input, and gather these alone."""

    linear = True

    def refuse(self, layer: Serialized) -> Refusal | None:
        """Refuse a kernel that is quantized, or is not all there is to it."""
        return terms.refuse_kernel(layer)

    def gather(self, place: Place, arrays: Arrays, batch: Batch, seen: Any | None) -> Any:
        """Add the rows of a batch to their moments."""
        kind: Any = self
        if seen is None:
            seen = RowMoments(kind.kernel(place.layer, arrays[place.path]))
        seen.update(self.rows(place, batch))
        return seen

    def rows(self, place: Place, batch: Batch) -> Array:
        """Return its inputs, of sequences some steps of each."""
        return drawn_steps(batch)

    def beside(self, place: Place, batch: Batch) -> Array | None:
        """Return nothing: it is not known at the same positions."""
        return None


class LinearForm:
    """Two layers B (m, r) and C (r, n) for a layer's matrix A, or more by other factors."""

    name = "rank"
    narrows = False
    takes_metric = True

    def __init__(self, kind: Any, place: Place) -> None:  # a `LinearKind`, with what its forms need
        self.kind, self.place = kind, place
        self.touches = (place.path, *((place.shift.path,) if place.shift else ()))
        self.before: int = sum(array.size for array in place.layer.arrays)
        # What a layer that comes before this one is called.
        self.new_name = f"{place.layer.config.get('name', 'layer')}_lowrank"
        # Sentences for the user.
        self.remarks: tuple[str, ...] = ()
        self._known: tuple[Arrays, Array] | None = None

    @property
    def _shape(self) -> tuple[int, int]:
        """The shape of A."""
        raise NotImplementedError

    @property
    def largest(self) -> int:
        """Return the full rank."""
        return min(self._shape)

    def parameters(self, size: int) -> int:
        """Return r (m + n) and what stays as it is."""
        m, n = self._shape
        return size * (m + n) + self.before - m * n

    def build(self, factors: Tensors, arrays: Tensors) -> Layers:
        """Return the stock layers; `arrays` are the layer's own with the constant in its bias."""
        raise NotImplementedError

    def factors(self, kernel: Array, seen: Seen, sizes: Sequence[int]) -> dict[int, Tensors]:
        """Return B = A V and C = V^T at some ranks, of the affine map whose responses are nearest."""
        if seen is None and kernel.size > LARGE:
            every = {size: truncated_svd(kernel, size) for size in sizes}
            return {size: (factors.B, factors.C) for size, factors in every.items()}
        _, basis = response_basis(kernel, seen)
        wide = kernel.astype(np.float64)
        return {size: (wide @ basis[:, :size], basis[:, :size].T) for size in sizes}

    def product(self, factors: Tensors) -> Array:
        """Return the matrix (m, n) that factors make up."""
        whole = functools.reduce(np.matmul, factors)
        return whole.reshape(-1, whole.shape[-1])

    def kernel(self, arrays: Arrays) -> Array:
        """Return A of the layer's arrays."""
        found: Array = self.kind.kernel(self.place.layer, arrays[self.place.path])
        return found

    def errors(self, arrays: Arrays, seen: Any) -> Array:
        """Return the share of the responses' energy that is lost at each rank."""
        return errors_by_size(self.energy(arrays, seen))

    def energy(self, arrays: Arrays, seen: Seen) -> Array:
        """Return the energy of the responses in each of their directions, the largest first."""
        if self._known is not None and self._known[0] is arrays and seen is None:
            return self._known[1]
        kernel = self.kernel(arrays)
        if seen is not None or kernel.size <= LARGE:
            return response_basis(self._weighed(kernel, seen), seen)[0]
        # It takes long, and other forms of the layer need it too.
        found = singular_values(kernel) ** 2
        self._known = arrays, found
        return found

    def solve(self, arrays: Arrays, seen: Any, sizes: Sequence[int]) -> dict[int, Solution]:
        """Return the layer in factors of some sizes, the constant re-fitted where there are rows."""
        kernel = self.kernel(arrays)
        found = self._factors(kernel, seen, sizes)
        if seen is None and kernel.size > LARGE:
            errors = self.errors(arrays, None)
            return {s: self._solution(arrays, found[s], None, float(errors[s - 1])) for s in sizes}
        error_of = relative_error_of(kernel, seen)
        solutions = {}
        for size in sizes:
            small = self.product(found[size])
            shift = None if seen is None else seen.mean @ (kernel - small)
            solutions[size] = self._solution(arrays, found[size], shift, error_of(small))
        return solutions

    def _metric(self, seen: Seen) -> Array | None:
        """Return by what errors of the responses are weighed."""
        if seen is None or not seen.is_whole or not self.takes_metric:
            return None
        return seen.metric

    def _weighed(self, kernel: Array, seen: Seen) -> Array:
        """Return A R, whose responses all count alike."""
        metric = self._metric(seen)
        return kernel if metric is None else kernel.astype(np.float64) @ metric

    def _factors(self, kernel: Array, seen: Seen, sizes: Sequence[int]) -> dict[int, Tensors]:
        """Return the factors of A from those of A R: the last gives the responses, and takes R^-1."""
        found = self.factors(self._weighed(kernel, seen), seen, sizes)
        metric = self._metric(seen)
        if metric is None:
            return found
        back = np.linalg.inv(metric)
        return {size: (*some[:-1], some[-1] @ back) for size, some in found.items()}

    def _solution(
        self, arrays: Arrays, factors: Tensors, shift: Array | None, error: float
    ) -> Solution:
        kind: LinearKind = self.kind
        place = self.place

        def in_place() -> Arrays:
            return kind.with_kernel(place, arrays, self.product(factors), shift)

        def layers() -> dict[str, Layers]:
            # Of these arrays only the constants count.
            shifted = kind.with_kernel(place, arrays, self.kernel(arrays), shift)
            found = {place.path: self.build(factors, shifted[place.path])}
            return found | normalized(place, shifted)

        return Solution(error, layers, in_place, self.remarks)


def bare_dense(config: dict[str, Any], name: str, units: int, *, keras1: bool) -> dict[str, Any]:
    """Return the config of a linear Dense without a bias that goes with a layer's own config."""
    made: dict[str, Any] = {"name": name, "activation": "linear"}
    made |= {"output_dim": units, "bias": False} if keras1 else {"units": units, "use_bias": False}
    # An embedding of early Keras 2 states the type of its words.
    kept = ("trainable",) if (terms.compute_dtype(config) or "").startswith("int") else _KEPT
    return made | {key: copy.deepcopy(config[key]) for key in kept if key in config}


def bare_factor(layer: Serialized) -> Array | None:
    """Return the kernel of a Dense that is nothing else: linear, without a bias; None of others."""
    if layer.class_name != "Dense" or [len(array.shape) for array in layer.arrays] != [2]:
        return None
    kernel: Array = layer.arrays[0]
    return kernel if activation_name(layer.config.get("activation")) == "linear" else None


def drawn_steps(batch: Batch) -> Array:
    """Return inputs (samples, ..., m) as rows (k, m): of sequences some steps of each, none that is masked."""
    x = batch.inputs[0]
    if x.ndim == 2:
        return x
    steps = x.reshape(len(x), -1, x.shape[-1])
    samples, length = steps.shape[:2]
    if length <= POSITIONS:
        rows = steps.reshape(-1, steps.shape[-1])
        return rows if batch.mask is None else rows[batch.mask.reshape(-1)]
    draw = np.random.default_rng(batch.seed)
    chosen = np.arange(samples)[:, None], draw.integers(0, length, (samples, POSITIONS))
    rows = steps[chosen].reshape(-1, steps.shape[-1])
    if batch.mask is None:
        return rows
    return rows[batch.mask.reshape(samples, length)[chosen].reshape(-1)]


def with_constant(
    place: Place, arrays: Arrays, own: Tensors, bias: int | None, shift: Array | None
) -> dict[str, Tensors]:
    """Return a layer's new arrays, a constant added to its `bias` or taken from the normalization's mean behind it."""
    if shift is not None and bias is not None:
        changed = list(own)
        changed[bias] = own[bias] + shift.reshape(own[bias].shape)
        return {place.path: tuple(changed)}
    if shift is None or place.shift is None:  # lost where nothing can take it
        return {place.path: own}
    normal = list(arrays[place.shift.path])
    normal[-2] = normal[-2] - shift  # the moving mean; the moving variance is the last
    return {place.path: own, place.shift.path: tuple(normal)}


def normalized(place: Place, arrays: Arrays) -> dict[str, Layers]:
    """Return the normalization behind a layer with its new arrays, where it is there and has some."""
    other = place.shift
    if other is None or other.path not in arrays:
        return {}
    return {other.path: (replace(other.layer, arrays=arrays[other.path]),)}
