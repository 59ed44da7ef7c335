"""Text of `evaluate` and `datasets`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lrcompress.reporting.tables import drop, plain, table
from lrcompress.reporting.words import count, rate

if TYPE_CHECKING:
    from rich.console import RenderableType


def render_evaluate(results: list[dict[str, Any]]) -> list[RenderableType]:
    """Show what `evaluate` measured."""
    rows = [
        [
            entry["model"],
            rate(entry),
            "-" if entry["difference"] is None else drop({"drop": entry["difference"]}),
            "-" if entry["difference"] is None else f"{entry['difference']['p_value']:.3g}",
            f"{entry['loss']:.4f}",
            count(entry["samples"]),
        ]
        for entry in results
    ]
    columns = ["model", "test error [95 %]", "against the first", "p (McNemar)", "loss", "samples"]
    note = f"scaling {results[0]['scaling']}; {results[0]['device']}"
    return [table("Evaluation", columns, rows), plain([note])]


def render_datasets(entries: list[dict[str, Any]]) -> list[RenderableType]:
    """Show the data sets and where each was found or would be sought."""
    rows = [
        [
            entry["name"],
            entry["description"],
            entry["found"] or f"not found; sought as {entry['name']}.npz, then downloaded by Keras",
        ]
        for entry in entries
    ]
    folders = ", ".join(entries[-1]["searched"])
    return [
        table("Data sets", ["name", "what it is", "where"], rows, left=3),
        plain([f"searched: {folders}"]),
    ]
