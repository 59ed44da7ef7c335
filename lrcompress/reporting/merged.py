"""Text of `merge`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.errors import printable
from lrcompress.reporting.tables import plain, table
from lrcompress.reporting.words import count, size

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_merge(result: dict[str, Any]) -> list[RenderableType]:
    """Show what `merge` did."""
    layers = result["layers"]
    titles = []
    for layer in layers:
        m, n = layer["kernel_shape"]
        shapes = f"Dense {m} x {layer['rank']} x {n} -> {m} x {n}"
        titles.append(printable(f"{layer['path']}: {shapes}"))
    rows = [
        [
            f"parameters, {layer['path'] if len(layers) > 1 else 'layer'}",
            count(layer["parameters_before"]),
            count(layer["parameters_after"]),
        ]
        for layer in layers
    ]
    rows += [
        [
            "parameters, model",
            count(result["parameters_before"]),
            count(result["parameters_after"]),
        ],
        ["file", size(result["bytes_before"]), size(result["bytes_after"])],
    ]
    gone = ", ".join(layer["first_name"] for layer in layers)
    lines = [f"removed: {gone}, multiplied into the layer that follows"]
    if result["optimizer_bytes"]:
        lines.append(f"{size(result['optimizer_bytes'])} of optimizer state are dropped")
    lines.append(f"wrote {result['output']}")
    return [table("\n".join(titles), ["", "before", "after"], rows), plain(lines)]
