"""What kinds share that apply one matrix to rows: two stock layers in a row, the rows they see, their constants."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.protocol import Array, Arrays, Batch, LinearKind, Place, Serialized, Solution
from lrcompress.lowrank import singular_values, truncated_svd
from lrcompress.lowrank.responses import (
    RowMoments,
    errors_by_size,
    relative_error,
    relative_error_of,
    response_basis,
)

# Positions (steps, pixels) that are drawn from each sample: more of them gained nothing.
POSITIONS = 24
# Kernels of more entries are worked on without copies of them.
LARGE = 2**22
# What a new Dense has of the layer behind it.
_KEPT = ("trainable", "dtype")


class LinearForm:
    """Two layers B (m, r) and C (r, n) for a layer's matrix A, or more by other factors.

    A subclass says how they become stock layers (`build`) and what they cost.
    """

    name = "rank"
    narrows = False
    takes_metric = True

    def __init__(self, kind: Any, place: Place) -> None:  # a `LinearKind`, with what its forms need
        """Of a layer at its place."""
        self.kind, self.place = kind, place
        self.touches = (place.path, *((place.shift.path,) if place.shift else ()))
        self._known: tuple[Arrays, Array] | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences for the user."""
        return ()

    @property
    def new_name(self) -> str:
        """What a layer that comes before this one is called."""
        return f"{self.place.layer.config.get('name', 'layer')}_lowrank"

    @property
    def before(self) -> int:
        """The layer's weights."""
        return sum(array.size for array in self.place.layer.arrays)

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

    def build(
        self, factors: tuple[Array, ...], arrays: tuple[Array, ...]
    ) -> tuple[Serialized, ...]:
        """Return the stock layers; `arrays` are the layer's own with the constant in its bias."""
        raise NotImplementedError

    def factors(
        self, kernel: Array, seen: RowMoments | None, sizes: Sequence[int]
    ) -> dict[int, tuple[Array, ...]]:
        """Return B = A V and C = V^T at some ranks, of the affine map whose responses are nearest."""
        if seen is None and kernel.size > LARGE:
            every = {size: truncated_svd(kernel, size) for size in sizes}
            return {size: (factors.B, factors.C) for size, factors in every.items()}
        _, basis = response_basis(kernel, seen)
        wide = kernel.astype(np.float64)
        return {size: (wide @ basis[:, :size], basis[:, :size].T) for size in sizes}

    def product(self, factors: tuple[Array, ...]) -> Array:
        """Return the matrix (m, n) that factors make up."""
        left, right = factors
        return left @ right

    def errors(self, arrays: Arrays, seen: Any) -> Array:
        """Return the share of the responses' energy that is lost at each rank."""
        return errors_by_size(self.energy(arrays, seen))

    def energy(self, arrays: Arrays, seen: RowMoments | None) -> Array:
        """Return the energy of the responses in each of their directions, the largest first."""
        if self._known is not None and self._known[0] is arrays and seen is None:
            return self._known[1]
        kernel = self.kind.kernel(self.place.layer, arrays[self.place.path])
        if seen is not None or kernel.size <= LARGE:
            return response_basis(self._weighed(kernel, seen), seen)[0]
        # It takes long, and other forms of the layer need it too.
        found = singular_values(kernel) ** 2
        self._known = arrays, found
        return found

    def solve(self, arrays: Arrays, seen: Any, sizes: Sequence[int]) -> dict[int, Solution]:
        """Return the layer in factors of some sizes, the constant re-fitted where there are rows."""
        kernel = self.kind.kernel(self.place.layer, arrays[self.place.path])
        found = self._factors(kernel, seen, sizes)
        if seen is None:
            errors = self.errors(arrays, None) if kernel.size > LARGE else None
            return {
                size: self._solution(
                    arrays, found[size], None,
                    relative_error(kernel, self.product(found[size]), None)
                    if errors is None else float(errors[size - 1]),
                )
                for size in sizes
            }  # fmt: skip
        error_of = relative_error_of(kernel, seen)
        solutions = {}
        for size in sizes:
            small = self.product(found[size])
            shift = seen.mean @ (kernel - small)
            solutions[size] = self._solution(arrays, found[size], shift, error_of(small))
        return solutions

    def _metric(self, seen: RowMoments | None) -> Array | None:
        """Return by what errors of the responses are weighed."""
        if seen is None or not seen.is_whole or not self.takes_metric:
            return None
        return seen.metric

    def _weighed(self, kernel: Array, seen: RowMoments | None) -> Array:
        """Return A R, whose responses all count alike."""
        metric = self._metric(seen)
        return kernel if metric is None else kernel.astype(np.float64) @ metric

    def _factors(
        self, kernel: Array, seen: RowMoments | None, sizes: Sequence[int]
    ) -> dict[int, tuple[Array, ...]]:
        """Return the factors of A from those of A R: the last gives the responses, and takes R^-1."""
        found = self.factors(self._weighed(kernel, seen), seen, sizes)
        metric = self._metric(seen)
        if metric is None:
            return found
        back = np.linalg.inv(metric)
        return {size: (*some[:-1], some[-1] @ back) for size, some in found.items()}

    def _solution(
        self, arrays: Arrays, factors: tuple[Array, ...], shift: Array | None, error: float
    ) -> Solution:
        kind: LinearKind = self.kind
        place = self.place

        def in_place() -> dict[str, tuple[Array, ...]]:
            return kind.with_kernel(place, arrays, self.product(factors), shift)

        def layers() -> dict[str, tuple[Serialized, ...]]:
            # Of these arrays only the constants count.
            own = kind.kernel(place.layer, arrays[place.path])
            shifted = kind.with_kernel(place, arrays, own, shift)
            found = {place.path: self.build(factors, shifted[place.path])}
            other = place.shift
            if other is not None and other.path in shifted:
                found[other.path] = (replace(other.layer, arrays=shifted[other.path]),)
            return found

        return Solution(error, layers, in_place, self.remarks)


def bare_dense(config: dict[str, Any], name: str, units: int, *, keras1: bool) -> dict[str, Any]:
    """Return the config of a linear Dense without a bias that goes with a layer's own config."""
    made: dict[str, Any] = {"name": name, "activation": "linear"}
    made |= {"output_dim": units, "bias": False} if keras1 else {"units": units, "use_bias": False}
    # An embedding of early Keras 2 states the type of its words.
    kept = ("trainable",) if (terms.compute_dtype(config) or "").startswith("int") else _KEPT
    return made | {key: copy.deepcopy(config[key]) for key in kept if key in config}


def gather_rows(
    kind: Any, place: Place, arrays: Arrays, batch: Batch, seen: Any | None
) -> RowMoments:
    """Add the rows of a batch to the moments of a linear kind."""
    if seen is None:
        seen = RowMoments(kind.kernel(place.layer, arrays[place.path]))
    found: RowMoments = seen
    found.update(kind.rows(place, batch))
    return found


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
    chosen = draw.integers(0, length, (samples, POSITIONS))
    rows = steps[np.arange(samples)[:, None], chosen].reshape(-1, steps.shape[-1])
    if batch.mask is None:
        return rows
    mask = batch.mask.reshape(samples, length)
    return rows[mask[np.arange(samples)[:, None], chosen].reshape(-1)]


def with_constant(
    place: Place, arrays: Arrays, own: tuple[Array, ...], bias: int | None, shift: Array | None
) -> dict[str, tuple[Array, ...]]:
    """Return a layer's new arrays, a constant added to its bias or taken from the normalization's mean behind it.

    Lost where nothing can take it; `bias` is the number of the bias among `own`, the layer's new arrays.
    """
    if shift is None:
        return {place.path: own}
    if bias is not None:
        changed = list(own)
        changed[bias] = own[bias] + shift.reshape(own[bias].shape)
        return {place.path: tuple(changed)}
    if place.shift is None:
        return {place.path: own}
    normal = list(arrays[place.shift.path])
    normal[-2] = normal[-2] - shift  # the moving mean; the moving variance is the last
    return {place.path: own, place.shift.path: tuple(normal)}
