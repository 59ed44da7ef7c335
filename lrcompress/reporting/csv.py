"""A report as CSV: one row a stage, or one a stage and output."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from lrcompress.errors import printable
from lrcompress.reporting.layers import changed_layers

COLUMNS = (
    "stage", "path", "sha256", "bytes", "bytes_reduction", "parameters", "parameters_reduction",
    "layer_parameters", "layer_reduction", "rank", "output", "measure", "value", "value_low",
    "value_high", "loss", "samples", "difference", "difference_low", "difference_high", "p_value",
)  # fmt: skip


def render(story: dict[str, Any]) -> str:
    """Return the stages of a run as comma-separated values, lines ending in a line feed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in _rows(story):
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return text.getvalue()


def _rows(story: dict[str, Any]) -> Iterator[dict[str, Any]]:
    whole = sum(layer["parameters_before"] for layer in story["layers"])
    smaller = sum(layer["parameters_after"] for layer in story["layers"])
    ranks = " ".join(
        str(layer["rank" if layer.get("form") is None else "size"]) for layer in story["layers"]
    )
    keys = ("path", "sha256", "bytes", "bytes_reduction", "parameters", "parameters_reduction")
    for stage in story["stages"]:
        row = {"stage": stage["name"], **{key: stage.get(key) for key in keys}}
        if stage["name"] == "original":
            row["layer_parameters"] = whole
        else:
            row |= {"layer_parameters": smaller, "rank": ranks}
            if whole and not changed_layers(story):
                row["layer_reduction"] = (whole - smaller) / whole
        paired = stage.get("drop")
        if stage.get("measure") != "outputs":
            lost = paired if isinstance(paired, dict) else {"difference": stage["drop_points"]}
            yield row | _measured(stage, lost)
            continue
        drops = paired["outputs"] if isinstance(paired, dict) else {}
        for name, found in stage["outputs"].items():
            yield row | {"output": name} | _measured(found, drops.get(name, {}))


def _measured(found: dict[str, Any], lost: dict[str, Any]) -> dict[str, Any]:
    measure = found.get("measure", "error_rate")
    return {
        "measure": measure if found.get(measure) is not None else None,
        **{f"value{end}": found.get(f"{measure}{end}") for end in ("", "_low", "_high")},
        **{key: found.get(key) for key in ("loss", "samples")},
        **{key: lost.get(key) for key in ("difference", "p_value")},
        **{f"difference_{end}": lost.get(end) for end in ("low", "high")},
    }


def _cell(value: object) -> object:
    """Return a cell; a name that a spreadsheet would compute is shown as text."""
    if not isinstance(value, str):
        return value
    value = printable(value)
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value
