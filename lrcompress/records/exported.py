"""What became of an exported model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lrcompress.events import command
from lrcompress.files import sha256
from lrcompress.records.results import Shown
from lrcompress.records.runs import RunRecord, now


@dataclass(frozen=True, repr=False)
class ExportResult(Shown):
    """What `export` wrote, and what it does in its runtime.

    Attributes:
        input: The Keras model file, untouched; None for a model in memory.
        output: The exported file; a folder for a SavedModel.
        format: ``litert``, ``onnx`` or ``saved-model``.
        int8: Whether its weights are 8-bit integers, but for small ones; ``"full"`` if all that it computes is.
        bytes_before: Size of the input without optimizer state.
        bytes_after: Size of the output, of all its files.
        layers: An entry for each layer that is factors: ``path``, ``first_path``, ``kernel_shape``, ``rank``
            and ``factors``: ``two`` (or ``three``) where all are in the output and their product is not,
            ``one`` where the product is, ``unknown`` where neither is found.
        runtime: What ran the output, with its version.
        threads: How many it was given; None where it takes as many as it sees fit.
        inputs: What both models ran on: ``dataset`` and ``scaling``, or ``why_random``.
        difference: Of the outputs: ``samples``, ``largest_difference``, ``largest_output`` and
            ``agreement``, how often both predict the same, in percent.
        errors: On labelled test data: ``keras``, ``exported`` and their paired ``difference``, as
            `evaluate` has them; None without labels.
        latency: Seconds at one sample a call: ``median``, ``q1``, ``q3``, ``runs``.
        original: The original, exported the same way: ``model``, ``bytes_before``, ``bytes_after``,
            ``latency``, and ``speed``, how many times as fast the output is; None without one.
        device: What computed.
        cores: How many cores the process might use.
        versions: Of Keras and its engine.
        record: The run record that took the result in; None where the model is of no run.
        full_integer: With ``int8="full"``: ``inputs`` and ``outputs`` with their ``name``, ``dtype``, ``scale`` and
            ``zero_point`` (a number is ``scale * (integer - zero_point)``), ``float_operations``, those that
            LiteRT has in float32 only, and ``calibration_samples``; None otherwise.
    """

    HEAD: ClassVar[dict[str, Any]] = Shown.HEAD | {"kind": "export"}

    input: Path | None
    output: Path
    format: str
    int8: bool | str
    bytes_before: int
    bytes_after: int
    layers: tuple[dict[str, Any], ...]
    runtime: str
    threads: int | None
    inputs: dict[str, Any]
    difference: dict[str, Any]
    errors: dict[str, Any] | None
    latency: dict[str, Any]
    original: dict[str, Any] | None
    device: str
    cores: int
    versions: dict[str, str]
    record: Path | None = None
    full_integer: dict[str, Any] | None = None

    def facts(self) -> dict[str, str]:
        """Return what was written, and how far its outputs are off."""
        bits = {False: "", True: ", 8-bit weights", "full": ", 8-bit integers throughout"}
        return {
            "format": f"{self.format}{bits[self.int8]}",
            "file": f"{self.bytes_before:,} to {self.bytes_after:,} bytes",
            "largest difference of outputs": f"{self.difference['largest_difference']:.3g}",
            "latency": f"{1e3 * self.latency['median']:.3g} ms",
            "output": str(self.output),
        }

    def entry(self, record: RunRecord) -> dict[str, Any]:
        """Return what a run record keeps of it."""
        found = self.to_json()
        left_out = ("schema_version", "kind", "input", "output", "record")
        kept = {key: value for key, value in found.items() if key not in left_out}
        if self.original is not None:
            kept["original"] = found["original"] | {
                "model": record.relative(Path(self.original["model"]))
            }
        return kept | {
            "path": record.relative(self.output),
            "model": record.relative(self.input or Path()),
            "sha256": sha256(self.output) if self.output.is_file() else None,
            "command": command(),
            "time": now(),
        }
