"""Dense: x A + b, where A is the kernel (inputs, units)."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrcompress.kinds import terms
from lrcompress.kinds.activations import activation_name
from lrcompress.kinds.flatten import behind_flatten, merged_flatten
from lrcompress.kinds.linear import (
    LinearForm,
    drawn_steps,
    gather_rows,
    refuse_kernel,
    with_constant,
)
from lrcompress.kinds.protocol import (
    Array,
    Arrays,
    Batch,
    Form,
    Halves,
    Place,
    Refusal,
    Serialized,
    View,
)
from lrcompress.kinds.units import Units, gather_outputs, has_consumers, is_elementwise


class Dense:
    """A kernel and perhaps a bias, of Keras 1 to 3."""

    name = "Dense"
    family = "dense"
    linear = True
    classes = frozenset({"Dense", "TimeDistributedDense"})
    per_step = frozenset({"TimeDistributedDense"})

    def refuse(self, layer: Serialized) -> Refusal | None:
        """Refuse a kernel that is quantized, or is not all there is to it."""
        return refuse_kernel(layer)

    def views(self, layer: Serialized) -> tuple[View, ...]:
        """Return the kernel, where it and the bias are what the config says."""
        biased = _has_bias(layer.config)
        shapes = [array.shape for array in layer.arrays]
        if len(shapes) != 1 + biased or len(shapes[0]) != 2:
            return ()
        m, n = shapes[0]
        fits = n > 0 and terms.units(layer.config) in (n, None) and shapes[1:] == [(n,)] * biased
        return (View("", (m, n), n if biased else 0),) if fits else ()

    def matrix(self, view: View, arrays: Sequence[Array]) -> Array:
        """Return the kernel."""
        return arrays[0]

    def bias(self, view: View, arrays: Sequence[Array]) -> Array | None:
        """Return the bias, if there is one."""
        return arrays[1] if view.bias else None

    def arrays(self, view: View, matrix: Array, bias: Array | None) -> tuple[Array | None, ...]:
        """Return kernel and bias."""
        return (matrix, bias) if view.bias or bias is not None else (matrix,)

    def refit(self, layer: Serialized, arrays: tuple[Array | None, ...]) -> Serialized:
        """State the units, whether there is a bias, and no initializer that holds an array."""
        config, kernel, biased = copy.deepcopy(layer.config), arrays[0], len(arrays) > 1
        keras1 = "output_dim" in config and "units" not in config
        units = "output_dim" if keras1 else "units"
        if kernel is not None and config.get(units) != kernel.shape[1]:
            config[units] = kernel.shape[1]
        use_bias = (
            "bias" if (keras1 or "bias" in config) and "use_bias" not in config else "use_bias"
        )
        if bool(config.get(use_bias, True)) != biased:
            config[use_bias] = biased
        for initializer in ("kernel_initializer", "init"):
            # It would not fit, and is never used.
            if terms.holds_array(terms.as_dict(config.get(initializer)).get("config")):
                config[initializer] = "glorot_uniform"
        return Serialized(layer.class_name, config, arrays)

    def split(
        self, view: View, layer: Serialized, halves: Halves, name: str
    ) -> tuple[Serialized, ...]:
        """Return a linear Dense without a bias, nothing on its weights, and the Dense that takes it in."""
        left, right, bias = halves
        first = self.refit(layer, (left,))
        first.config.update(name=name, activation="linear")
        first.config.update({key: None for key in terms.REGULARIZERS if key in first.config})
        return first, self.refit(layer, self.arrays(view, right, bias))

    def join(self, layers: tuple[Serialized, ...]) -> View | None:
        """Return B C of two where the first is linear and has r <= min(m, n) units.

        A wider first layer is no factor of low rank: its designer only left out an activation.
        """
        first, second = layers
        views = (*self.views(first), *self.views(second))
        linear = activation_name(first.config.get("activation")) == "linear"
        if len(views) < 2 or not linear or first.class_name != second.class_name:
            return None
        (m, rank), (inputs, n) = (view.shape for view in views)
        if rank != inputs or rank > min(m, n):
            return None
        return View("", (m, n), n if any(view.bias for view in views) else 0)

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return two Dense in a row, what comes before a Flatten that feeds the layer, and fewer units."""
        views = self.views(place.layer)
        if not views:
            return ()
        elementwise = is_elementwise(place.layer.config.get("activation"))
        narrow = elementwise and has_consumers(place, views[0].shape[1])
        own = (_Units(self, place),) if narrow else ()
        return (_Rank(self, place), *behind_flatten(self, place), *own)

    def gather(self, place: Place, arrays: Arrays, batch: Batch, seen: Any | None) -> Any:
        """Add the inputs and outputs of a batch to their moments."""
        return gather_outputs(place, arrays, batch, gather_rows(self, place, arrays, batch, seen))

    def inlets(self, layer: Serialized) -> tuple[tuple[int, int], ...]:
        """Return the kernel's first axis."""
        return ((0, 0),) if self.views(layer) else ()

    def kernel(self, layer: Serialized, arrays: tuple[Array, ...]) -> Array:
        """Return the kernel."""
        return arrays[0]

    def with_kernel(
        self, place: Place, arrays: Arrays, kernel: Array, shift: Array | None
    ) -> dict[str, tuple[Array, ...]]:
        """Return another kernel and the bias."""
        own = (kernel, *arrays[place.path][1:])
        return with_constant(place, arrays, own, 1 if len(own) > 1 else None, shift)

    def rows(self, place: Place, batch: Batch) -> Array:
        """Return its inputs, of sequences some steps of each."""
        return drawn_steps(batch)

    def merged(self, layers: tuple[Serialized, ...]) -> Serialized | None:
        """Return the Dense of B C that a linear one and the one behind it are.

        Behind a Flatten it may also take in the 1x1 convolution before that.
        """
        if len(layers) > 2:
            return merged_flatten(self, layers)
        if len(layers) != 2 or any(layer.class_name not in self.classes for layer in layers):
            return None
        view = self.join(layers)
        if view is None:
            return None
        (left, *before), (right, *after) = (layer.arrays for layer in layers)
        kernel = left.astype(np.float64) @ right
        bias = [before[0].astype(np.float64) @ right] if before else []
        if after:
            bias = [after[0] + bias[0] if bias else after[0]]
        return self.refit(layers[1], (kernel, *bias))


class _Rank(LinearForm):
    """A linear Dense of r units, and the Dense that takes it in."""

    @property
    def _shape(self) -> tuple[int, int]:
        m, n = self.place.layer.arrays[0].shape
        return m, n

    @property
    def largest(self) -> int:
        """Return the full rank."""
        return min(self._shape)

    def parameters(self, size: int) -> int:
        """Return r (m + n) and the bias."""
        m, n = self._shape
        return size * (m + n) + self.before - m * n

    def multiplications(self, size: int) -> int | None:
        """Return r (m + n) at each step."""
        return _times(self.place, size * sum(self._shape))

    def build(
        self, factors: tuple[Array, ...], arrays: tuple[Array, ...]
    ) -> tuple[Serialized, ...]:
        """Return both."""
        kind, layer = Dense(), self.place.layer
        view = kind.views(layer)[0]
        name = f"{layer.config.get('name', 'dense')}_lowrank"
        bias = arrays[1] if len(arrays) > 1 else None
        return kind.split(view, layer, (factors[0], factors[1], bias), name)


def _times(place: Place, each: int) -> int | None:
    """Return multiplications for one sample, of so many at each step; None where steps are not known."""
    steps = (place.output_shape or (None,))[:-1]
    known = [step for step in steps if step is not None]
    return math.prod(known) * each if place.output_shape and len(known) == len(steps) else None


class _Units(Units):
    """A Dense of fewer units."""

    @property
    def largest(self) -> int:
        """Return all units."""
        return int(self.place.layer.arrays[0].shape[1])

    def sized(self, size: int) -> list[tuple[int, ...]]:
        """Return the shapes of kernel and bias."""
        return [(*array.shape[:-1], size) for array in self.place.layer.arrays]

    def narrowed(self, arrays: tuple[Array, ...], chosen: Array) -> Serialized:
        """Return the Dense of some units."""
        return Dense().refit(self.place.layer, tuple(array[..., chosen] for array in arrays))


def _has_bias(config: dict[str, Any]) -> bool:
    """Return whether a Dense has a bias (Keras 1: bias); it has unless the config says no."""
    return bool(config.get("use_bias", config.get("bias", True)))
