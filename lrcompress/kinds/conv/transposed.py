"""Transposed convolutions: as a convolution's, with their kernel spread from each pixel."""

from __future__ import annotations

from lrcompress.kinds.conv.convolution import Convolution, Filters, known_window
from lrcompress.kinds.conv.shared_forms import Inputs, RowsColumns
from lrcompress.kinds.conv.window import TRANSPOSED
from lrcompress.kinds.protocol import Array, Arrays, Form, Place, Serialized, Tensors


class TransposedConvolution(Convolution):
    """The same of zeros between the pixels: its kernel (*window, outputs, channels) is spread from each pixel."""

    classes = TRANSPOSED

    def forms(self, place: Place) -> tuple[Form, ...]:
        """Return the forms that make sense; an output shape that is written out stays with the layer alone."""
        own = super().forms(place)
        forms = [form for form in own if not isinstance(form, (RowsColumns, Filters))]
        if "output_shape" in place.layer.config:
            return tuple(form for form in forms if isinstance(form, Inputs))
        return tuple(forms)

    def inlets(self, layer: Serialized) -> tuple[tuple[int, int], ...]:
        """Return none: what is added to all inputs is not the same at all outputs."""
        return ()

    def kernel(self, layer: Serialized, arrays: Tensors) -> Array:
        """Return A."""
        return arrays[0].swapaxes(-1, -2).reshape(-1, known_window(layer).outputs)

    def with_kernel(
        self, place: Place, arrays: Arrays, kernel: Array, shift: Array | None
    ) -> Arrays:
        """Return another kernel and the bias."""
        found = super().with_kernel(place, arrays, kernel, shift)
        own, *bias = found[place.path]
        return {**found, place.path: (own.swapaxes(-1, -2), *bias)}
