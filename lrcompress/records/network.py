"""What became of a whole network: its layers, how they were chosen, and what the whole job came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lrcompress.records.results import Document, Shown, figure_of

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


@dataclass(repr=False)
class CompressResult(Shown):
    """What `compress` did.

    Attributes:
        input: The original file, untouched; None for a model in memory.
        output: The compressed model; None for a model in memory, unless one was asked for.
        record: Its run record, likewise.
        report: The page that tells of it, likewise.
        exported: The exported file; None where none was asked for.
        stage: What the output is: ``factorized``, or ``finetuned`` where fine-tuning helped.
        parameters_before: Of the whole model.
        parameters_after: Likewise.
        bytes_before: File size without optimizer state.
        bytes_after: Likewise.
        budget: What was asked for: ``name``, ``value``, and whether it is the ``default``.
        inputs: On which inputs layers were chosen: ``data set``, ``synthetic`` (made from the network's
            BatchNormalization), or ``none``: nothing was measured.
        estimated: ``output_error``, ``agreement`` and ``drop`` on inputs that did not calibrate, before
            fine-tuning; None where nothing was measured.
        measured_before: The original on the test data; None without data.
        measured_after: The output on them.
        drop: The second against the first, paired on the same samples; see docs/run-record.md.
        finetune: Whether fine-tuning was ``kept``, and ``why``; None without data.
        export: The exported file's entry in the record: ``bytes_after``, ``errors``, ``latency``, ``original``.
        warnings: What the user should know.
        seconds: Wall time of each step that was done.
        model: The compressed Keras model, where the input was a model in memory.
    """

    LIVE = ("model",)

    input: Path | None
    output: Path | None
    record: Path | None
    report: Path | None
    exported: Path | None
    stage: str
    parameters_before: int
    parameters_after: int
    bytes_before: int
    bytes_after: int
    budget: dict[str, Any] | None
    inputs: str
    estimated: dict[str, Any] | None
    measured_before: dict[str, Any] | None
    measured_after: dict[str, Any] | None
    drop: dict[str, Any] | None
    finetune: dict[str, Any] | None
    export: dict[str, Any] | None
    warnings: list[str]
    seconds: dict[str, float] = field(default_factory=dict)
    model: Any = None

    def facts(self) -> dict[str, str]:
        """Return what was gained, lost and written."""
        found = {"parameters": f"{self.parameters_before:,} to {self.parameters_after:,}"}
        if self.measured_before is not None:
            both = (self.measured_before, self.measured_after)
            found["test data"] = " to ".join(map(figure_of, both))
        elif self.inputs == "none":
            found["test data"] = "nothing was measured"
        if self.exported is not None:
            found["exported"] = str(self.exported)
        return found | {"output": str(self.output or "in memory")}
