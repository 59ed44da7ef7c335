"""What became of a whole network: its layers, and how they were chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from lrcompress.records.results import Document

# On which inputs errors were measured: of a data set, made from the network itself, or on none.
Inputs = Literal["data set", "synthetic", "none"]


@dataclass(frozen=True)
class ChangedLayer(Document):
    """One layer that got smaller in one of its forms.

    Attributes:
        name: The layer's name, kept by the last of those that stand for it.
        path: The name behind those of the nested models the layer stands in.
        kind: Kind of layer: Dense, convolution, ...
        form: In which form it got smaller: rank, channels, units, ...
        size: Its rank, units, key_dim, ... in that form.
        largest: The size at which the form computes what the layer did.
        parameters_before: Weights of the layers that the form changes.
        parameters_after: The same now.
        multiplications_before: Of these layers for one sample; None where shapes are not known.
        multiplications_after: The same now.
        error: Squared error of the layer's responses relative to their variance; where nothing was
            measured, of its kernel relative to its norm.
        share: What it alone adds to the error of the outputs; None where nothing was measured.
        method: ``"svd"``, ``"data-aware"`` or ``"data-aware, corrected"``.
        first_names: Names of the new layers before it.
    """

    name: str
    path: str
    kind: str
    form: str
    size: int
    largest: int
    parameters_before: int
    parameters_after: int
    multiplications_before: int | None
    multiplications_after: int | None
    error: float
    share: float | None
    method: str
    first_names: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """The size, as single layers call it."""
        return self.size


@dataclass(frozen=True)
class Network(Document):
    """How the layers of a network were chosen under one budget.

    Attributes:
        layers: Which layers were asked for: ``all``, families, or names.
        budget: ``name``, ``value``, and whether it is the ``default``; None where the weights alone
            decided without any.
        multiple: Sizes are multiples of this where they can be.
        inputs: On which inputs errors were measured.
        samples: How many of them calibrated; None without.
        predicted: Sum of the layers' shares in the error of the outputs; None where nothing was measured.
        measured: ``output_error``, ``agreement`` in percent and ``drop`` in points of the whole network on
            inputs that did not calibrate; None where nothing was measured.
        curves: The sensitivity of each layer by path: its ``class_name`` and ``parameters``, and by form the
            ``parameters`` of all layers that it changes and the candidates as columns: ``size``,
            ``parameters_saved``, ``multiplications_saved``, ``error`` of the network with that layer
            alone changed, and whether it was ``measured`` or interpolated.
        kept: Why other layers stayed as they are, by path.
    """

    layers: tuple[str, ...]
    budget: dict[str, Any] | None
    multiple: int
    inputs: Inputs
    samples: int | None
    predicted: float | None
    measured: dict[str, float | None] | None
    curves: dict[str, dict[str, Any]] = field(repr=False)
    kept: dict[str, str] = field(repr=False)
