"""What `compress` returns: what the whole job came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrcompress.records.results import Shown, figure_of


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
