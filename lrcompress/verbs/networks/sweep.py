"""The sensitivity of every layer of a network: what the outputs lose where it alone is smaller."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrcompress.compression.changed import curves
from lrcompress.compression.network import NetworkRequest, look, undone
from lrcompress.errors import in_place_of
from lrcompress.modelfile import ModelFile, made_of, model_of
from lrcompress.records.network import Inputs
from lrcompress.records.results import Shown
from lrcompress.verbs.context import DataSource, open_live
from lrcompress.verbs.networks.compress import Given, synthetic_networks


@dataclass(frozen=True, repr=False)
class NetworkSweep(Shown):
    """What `sweep` found of several layers.

    Attributes:
        model: The file; None for a model in memory.
        layers: What was asked for: ``all``, families, names.
        parameters: Of the whole model.
        dataset: Name, scaling and sample counts; None without data.
        inputs: On which inputs errors were measured: ``data set``, ``synthetic`` or ``none``.
        samples: How many of them calibrated; None without.
        curves: The sensitivity of each layer by path, see docs/run-record.md.
        kept: Why other layers have none, by path.
        seconds: Wall time.
        warnings: What the user should know.
    """

    model: Path | None
    layers: tuple[str, ...]
    parameters: int
    dataset: dict[str, Any] | None
    inputs: Inputs
    samples: int | None
    curves: dict[str, dict[str, Any]] = field(repr=False)
    kept: dict[str, str] = field(repr=False)
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()

    def facts(self) -> dict[str, str]:
        """Return what was looked at, and on what."""
        return {"layers": str(len(self.curves)), "inputs": self.inputs}


def sweep_network(
    opened: ModelFile,
    words: tuple[str, ...],
    data: DataSource | None,
    samples: int | None,
    *,
    synthetic: bool,
    seed: int,
) -> NetworkSweep:
    """Measure the sensitivity of layers on data, on synthetic inputs, or by their weights alone."""
    started = time.perf_counter()
    given = Given("none")
    if data is not None:
        live = open_live(opened, data, samples)
        observe, used = live.network(counts=False)
        given = Given("data set", observe, used, live.described(used))
    elif synthetic:
        given = synthetic_networks(opened, seed)
    with tempfile.TemporaryDirectory() as folder, made_of(model_of(opened.path), Path(folder)):
        model, asked, said = undone(opened, NetworkRequest(words), given.observe, Path(folder))
        with in_place_of(model.path, opened.path):
            found, kept = look(model, asked.layers, given.observe)
    return NetworkSweep(
        model=opened.path,
        layers=words,
        parameters=opened.parameters,
        dataset=given.dataset,
        inputs=given.inputs,
        samples=given.samples,
        curves=curves(model, found),
        kept=dict(kept),
        seconds={"total": time.perf_counter() - started},
        warnings=(*given.remarks, *said),
    )
