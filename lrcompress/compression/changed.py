"""What a compressed network is told as: its layers, its curves, and what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lrcompress.compression.network import Compressed, NetworkRequest
from lrcompress.compression.network.candidates import Option
from lrcompress.compression.run import Ready
from lrcompress.files import names
from lrcompress.modelfile import ModelFile, Written
from lrcompress.records.network import ChangedLayer, Inputs, Network

# Sizes of one form that a record keeps: a curve is smooth.
_MOST = 12
# Of its columns, and what an option calls them.
_COLUMNS = {
    "size": "size", "parameters_saved": "saved", "multiplications_saved": "faster", "error": "error",
    "measured": "measured",
}  # fmt: skip
_MEASURED = ("output_error", "agreement", "drop")


def ready(
    model: ModelFile,
    found: Compressed,
    request: NetworkRequest,
    write: Callable[[Path, bool], Written],
    inputs: Inputs,
    samples: int | None,
    *,
    is_default: bool,
) -> Ready:
    """Return a compressed network as what is ready to be written."""
    outcome = found.measured
    budget = dict(zip(("name", "value"), request.budget, strict=True)) if request.budget else None

    def layers(written: Written) -> list[ChangedLayer]:
        return [
            replace(layer, first_names=written.first_names.get(layer.path, layer.first_names))
            for layer in found.layers
        ]

    return Ready(
        ending=names.LOWRANK,
        write=write,
        layers=layers,
        reason=_REASONS[inputs],
        remarks=found.remarks,
        network=Network(
            layers=request.layers,
            budget=budget and budget | {"default": is_default},
            multiple=request.multiple,
            inputs=inputs,
            samples=samples,
            predicted=found.predicted,
            measured=None if outcome is None else {key: getattr(outcome, key) for key in _MEASURED},
            curves=curves(model, found.curves),
            kept=dict(found.kept),
        ),
    )


_REASONS: dict[Inputs, str] = {
    "data set": "the data tell what the outputs lose",
    "synthetic": "synthetic inputs tell what the outputs lose",
    "none": "without data the weights alone decide",
}


def curves(model: ModelFile, found: Mapping[str, Sequence[Option]]) -> dict[str, dict[str, object]]:
    """Return the candidates of each layer as JSON has them, by form as columns, thinned where there are many."""
    known = {layer.path: layer for layer in model.layers}
    return {
        path: {
            "class_name": known[path].class_name,
            "parameters": known[path].parameters,
            "forms": {
                form: _columns([p for p in points if p.form.name == form])
                for form in dict.fromkeys(point.form.name for point in points)
            },
        }
        for path, points in found.items()
    }


def _columns(points: Sequence[Option]) -> dict[str, object]:
    finite = sorted((p for p in points if math.isfinite(p.error)), key=lambda p: p.size)
    step, last = math.ceil(len(finite) / _MOST), len(finite) - 1
    kept = [p for i, p in enumerate(finite) if (last - i) % step == 0 or p.measured]
    columns = {name: [getattr(p, key) for p in kept] for name, key in _COLUMNS.items()}
    return {"parameters": points[0].form.before, **columns}
