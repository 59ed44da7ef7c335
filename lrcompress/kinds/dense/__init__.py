"""Dense: as what ends a model, without any mathematics; made smaller in any way (kind), also behind a Flatten."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from lrcompress.kinds import terms
from lrcompress.kinds.protocol import Array, Halves, Layers, Serialized, View
from lrcompress.kinds.terms import activation_name


class DenseHead:
    """A kernel and perhaps a bias, of Keras 1 to 3, as the layer that ends a model."""

    name = "Dense"
    classes = frozenset({"Dense", "TimeDistributedDense"})
    per_step = frozenset({"TimeDistributedDense"})
    refuse = staticmethod(terms.refuse_kernel)

    def views(self, layer: Serialized) -> tuple[View, ...]:
        """Return the kernel, where it and the bias are what the config says."""
        # Keras 1: bias; there is one unless the config says no.
        biased = bool(layer.config.get("use_bias", layer.config.get("bias", True)))
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
        old = (keras1 or "bias" in config) and "use_bias" not in config
        use_bias = "bias" if old else "use_bias"
        if bool(config.get(use_bias, True)) != biased:
            config[use_bias] = biased
        terms.drop_arrays(config, terms.KERNEL_INITIALIZERS, "glorot_uniform")
        return Serialized(layer.class_name, config, arrays)

    def split(self, view: View, layer: Serialized, halves: Halves, name: str) -> Layers:
        """Return a linear Dense without a bias, nothing on its weights, and the Dense that takes it in."""
        left, right, bias = halves
        first = self.refit(layer, (left,))
        first.config.update(name=name, activation="linear")
        first.config.update({key: None for key in terms.REGULARIZERS if key in first.config})
        return first, self.refit(layer, self.arrays(view, right, bias))

    def join(self, layers: Layers) -> View | None:
        """Return B C of two where the first is linear and has r <= min(m, n) units."""
        first, second = layers
        views = (*self.views(first), *self.views(second))
        linear = activation_name(first.config.get("activation")) == "linear"
        if len(views) < 2 or not linear or first.class_name != second.class_name:
            return None
        (m, rank), (inputs, n) = (view.shape for view in views)
        # A wider first layer is no factor of low rank: its designer only left out an activation.
        if rank != inputs or rank > min(m, n):
            return None
        return View("", (m, n), n if any(view.bias for view in views) else 0)
