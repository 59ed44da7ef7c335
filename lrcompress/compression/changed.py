"""What a compressed network is told as: its layers, its curves, and what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lrcompress.compression.network import (
    Compressed,
    CurvePoint,
    NetworkRequest,
)
from lrcompress.compression.run import Ready
from lrcompress.files import names
from lrcompress.modelfile import ModelFile, Written
from lrcompress.records.network import ChangedLayer, Inputs, Network

# Sizes of one form that a record keeps: a curve is smooth.
_MOST = 12


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
    methods = {change.method for change in found.layers}

    def layers(written: Written) -> list[ChangedLayer]:
        return [
            replace(layer, first_names=written.first_names.get(layer.path, layer.first_names))
            for layer in found.layers
        ]

    return Ready(
        ending=names.LOWRANK,
        write=write,
        layers=layers,
        method=methods.pop() if len(methods) == 1 else "several",
        reason=_REASONS[inputs],
        remarks=found.remarks,
        network=Network(
            layers=request.layers,
            budget=_budget(request.budget, default=is_default),
            multiple=request.multiple,
            inputs=inputs,
            samples=samples,
            predicted=found.predicted,
            measured=measured(found),
            curves=curves(model, found.curves),
            kept=dict(found.kept),
        ),
    )


def _budget(budget: tuple[str, float] | None, *, default: bool) -> dict[str, object] | None:
    return None if budget is None else {"name": budget[0], "value": budget[1], "default": default}


_REASONS: dict[Inputs, str] = {
    "data set": "the data tell what the outputs lose",
    "synthetic": "synthetic inputs tell what the outputs lose",
    "none": "without data the weights alone decide",
}


def measured(found: Compressed) -> dict[str, float | None] | None:
    """Return what the compressed network does on inputs that did not calibrate."""
    outcome = found.measured
    if outcome is None:
        return None
    return {
        "output_error": outcome.output_error,
        "agreement": outcome.agreement,
        "drop": outcome.drop,
    }


def curves(
    model: ModelFile, found: Mapping[str, Sequence[CurvePoint]]
) -> dict[str, dict[str, object]]:
    """Return the candidates of each layer as JSON has them, by form as columns, thinned where there are many."""
    known = {layer.path: layer for layer in model.layers}
    return {
        path: {
            "class_name": known[path].class_name,
            "parameters": known[path].parameters,
            "forms": {
                form: _columns([p for p in points if p.form == form])
                for form in dict.fromkeys(point.form for point in points)
            },
        }
        for path, points in found.items()
    }


def _columns(points: Sequence[CurvePoint]) -> dict[str, object]:
    finite = sorted((p for p in points if math.isfinite(p.error)), key=lambda p: p.size)
    step, last = math.ceil(len(finite) / _MOST), len(finite) - 1
    kept = [p for i, p in enumerate(finite) if (last - i) % step == 0 or p.measured]
    names = ("size", "parameters_saved", "multiplications_saved", "error", "measured")
    columns = {name: [getattr(point, name) for point in kept] for name in names}
    return {"parameters": points[0].parameters, **columns}
